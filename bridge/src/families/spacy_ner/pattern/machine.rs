//! A backtracking machine that runs the program of a compiled pattern. If there are many failed attempts, it remembers
//! them, and does not repeat them.

use super::program::{Instruction, Lookaround, Program};

/// The number of steps after which the machine starts to remember failed attempts. Most matches need fewer than a
/// hundred steps. In tests the number is low, so that they cover the machine with and without memory.
const STEPS_WITHOUT_MEMORY: usize = if cfg!(test) { 20 } else { 2_000 };

#[cfg(test)]
thread_local! {
    /// The number of steps that all machines of this thread took so far, and of the words of memory that they
    /// allocated. Tests use it to measure the run time independently of the computer's speed.
    static ALL_STEPS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

#[cfg(test)]
fn add_steps(steps: usize) {
    ALL_STEPS.set(ALL_STEPS.get() + steps as u64);
}

/// The number of steps that all machines of this thread take while a function runs.
#[cfg(test)]
pub(crate) fn steps_of(run: impl FnOnce()) -> u64 {
    let before = ALL_STEPS.get();
    run();
    ALL_STEPS.get() - before
}

/// A state of the machine: the index of an instruction, and an offset in bytes in the text.
type State = (u32, usize);

/// A state to try when the current one fails.
struct Pending {
    state: State,
    /// The length of the machine's path when the state was added.
    path: usize,
}

/// Runs one program on one text. The runs can start at several offsets of the text.
pub(super) struct Machine<'a> {
    program: &'a Program,
    text: &'a str,
    /// The offset at which the current run starts.
    start: usize,
    /// The states to try when the current one fails; the last one is tried first.
    pending: Vec<Pending>,
    /// The number of steps that the machine took so far.
    steps: usize,
    /// The memory of failed attempts; `None` while it is not needed.
    attempts: Option<Attempts>,
    /// The attempts in the memory that led to the current state. They have not failed yet.
    path: Vec<Attempt>,
    /// The offset at which a match must not end; `None` if it may end at any offset.
    forbidden_end: Option<usize>,
    /// The offset in bytes up to which the text was read so far, which [`reach`](Self::reach) returns.
    reach: usize,
}

impl<'a> Machine<'a> {
    pub(super) fn new(program: &'a Program, text: &'a str) -> Self {
        Self {
            program,
            text,
            start: 0,
            pending: Vec::new(),
            steps: 0,
            attempts: None,
            path: Vec::new(),
            forbidden_end: None,
            reach: 0,
        }
    }

    /// The offset at which the match that starts at a given offset ends; `None` if there is no match.
    ///
    /// A split that failed at an offset would fail there again. Because the memory prevents such attempts, the time for
    /// all start offsets together is linear in the length of the text. Callers must pass ascending offsets.
    pub(super) fn run(&mut self, start: usize) -> Option<usize> {
        self.forbidden_end = None;
        self.attempt(start)
    }

    /// Like [`run`](Self::run), for a match that is not empty.
    pub(super) fn run_forward(&mut self, start: usize) -> Option<usize> {
        self.forbidden_end = Some(start);
        self.attempt(start)
    }

    fn attempt(&mut self, start: usize) -> Option<usize> {
        self.start = start;
        self.pending.clear();
        self.path.clear();
        let mut state = (0, start);
        loop {
            if let Some(end) = self.follow(state) {
                self.forget_path();
                return Some(end);
            }
            let next = self.pending.pop()?;
            self.path.truncate(next.path);
            state = next.state;
        }
    }

    /// The offset in bytes up to which the runs so far have read the text: the rest of the text had no influence on
    /// their results. The offset exceeds the length of the text if a run depended on where the text ends.
    pub(super) fn reach(&self) -> usize {
        self.reach
    }

    /// Runs the machine from one state until it fails or matches. Returns the offset at which the match ends; `None` if
    /// the state fails.
    fn follow(&mut self, (mut instruction, mut offset): State) -> Option<usize> {
        loop {
            self.steps += 1;
            #[cfg(test)]
            add_steps(1);
            match self.program.instructions[instruction as usize] {
                Instruction::Set(set) => {
                    let next = self.text[offset..].chars().next();
                    self.reach = self.reach.max(offset + next.map_or(1, char::len_utf8));
                    let next = next?;
                    if !self.program.sets[set as usize].contains(next) {
                        return None;
                    }
                    offset += next.len_utf8();
                }
                Instruction::Split { first, second, choice } => {
                    if self.was_tried(choice, offset) {
                        return None;
                    }
                    self.pending.push(Pending { state: (second, offset), path: self.path.len() });
                    instruction = first;
                    continue;
                }
                Instruction::Jump(target) => {
                    instruction = target;
                    continue;
                }
                Instruction::Lookaround(index) => {
                    let program = self.program;
                    if !self.holds(&program.lookarounds[index as usize], offset) {
                        return None;
                    }
                }
                Instruction::Start if offset != 0 => return None,
                Instruction::End => {
                    self.reach = self.reach.max(offset + 1);
                    if offset != self.text.len() {
                        return None;
                    }
                }
                Instruction::Match if self.forbidden_end == Some(offset) => return None,
                Instruction::Match => return Some(offset),
                Instruction::Start => {}
            }
            instruction += 1;
        }
    }

    /// Whether the condition of a lookahead or lookbehind holds at an offset.
    fn holds(&mut self, lookaround: &Lookaround, offset: usize) -> bool {
        let start = match lookaround.back {
            0 => Some(offset),
            back => self.text[..offset].char_indices().rev().nth(back as usize - 1).map(|(start, _)| start),
        };
        let matches = start.is_some_and(|start| {
            let mut machine = Machine::new(&lookaround.program, self.text);
            let matches = machine.run(start).is_some();
            self.reach = self.reach.max(machine.reach);
            matches
        });
        matches != lookaround.negative
    }

    /// Whether a split instruction was already tried at an offset. Adds the attempt to the memory, which is only
    /// created after many steps.
    fn was_tried(&mut self, choice: u32, offset: usize) -> bool {
        if self.attempts.is_none() && (self.program.may_stall || self.steps > STEPS_WITHOUT_MEMORY) {
            self.attempts = Some(Attempts::new(self.program, self.start));
        }
        let Some(attempts) = &mut self.attempts else { return false };
        let is_new = attempts.insert((choice, offset));
        if is_new {
            self.path.push((choice, offset));
        }
        !is_new
    }

    /// Removes the attempts that led to a match from the memory. All others have failed and would fail again: the memory
    /// remains useful for the search of the next match.
    ///
    /// In a loop over the empty string, an attempt can also fail because it came back to an attempt of the path. Therefore
    /// the memory of a program with such a loop is cleared.
    fn forget_path(&mut self) {
        if self.program.may_stall {
            self.attempts = None;
        } else if let Some(attempts) = &mut self.attempts {
            self.path.iter().for_each(|&attempt| attempts.remove(attempt));
        }
    }
}

/// The index of a split among the splits of the program, and an offset in the text at which the split is tried.
type Attempt = (u32, usize);

/// The number of words of a page of the memory.
const PAGE_WORDS: usize = 64;

type Page = [u64; PAGE_WORDS];

/// The memory of attempts, as a bitmap: it has one bit for every pair of a split instruction and an offset in the text,
/// which is set if the machine has tried the split at that offset. Only those pages of the bitmap exist that have had a
/// bit that is set.
struct Attempts {
    choices: usize,
    /// The number of pages before the ones in `pages`, which belong to offsets before the start of the search.
    skipped: usize,
    pages: Vec<Option<Box<Page>>>,
}

impl Attempts {
    /// An empty memory for attempts at the offset `start` or after it.
    fn new(program: &Program, start: usize) -> Self {
        let choices = program.choices as usize;
        Self { choices, skipped: start * choices / (64 * PAGE_WORDS), pages: Vec::new() }
    }

    /// Records that a split instruction was tried at an offset. Returns whether this is the first time.
    fn insert(&mut self, attempt: Attempt) -> bool {
        let (word, mask) = self.bit(attempt);
        let is_new = *word & mask == 0;
        *word |= mask;
        is_new
    }

    fn remove(&mut self, attempt: Attempt) {
        let (word, mask) = self.bit(attempt);
        *word &= !mask;
    }

    /// The word that has the bit of an attempt, and a mask with this bit.
    fn bit(&mut self, (choice, offset): Attempt) -> (&mut u64, u64) {
        let bit = offset * self.choices + choice as usize;
        let (page, word) = (bit / (64 * PAGE_WORDS) - self.skipped, bit / 64 % PAGE_WORDS);
        if page >= self.pages.len() {
            self.pages.resize_with(page + 1, || None);
        }
        let page = self.pages[page].get_or_insert_with(|| {
            #[cfg(test)]
            add_steps(PAGE_WORDS);
            Box::new([0; PAGE_WORDS])
        });
        (&mut page[word], 1 << (bit % 64))
    }
}
