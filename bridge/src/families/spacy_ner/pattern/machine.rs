//! A backtracking machine that runs the program of a compiled pattern. If there are many failed attempts, it remembers
//! them, and does not repeat them.

use super::program::{Instruction, Lookaround, Program};

/// The number of steps after which the machine starts to remember failed attempts. Most matches need fewer than a
/// hundred steps. In tests the number is low, so that they cover the machine with and without memory.
const STEPS_WITHOUT_MEMORY: usize = if cfg!(test) { 20 } else { 2_000 };

#[cfg(test)]
thread_local! {
    /// The number of steps that all machines of this thread took so far. Tests use it to measure the run time
    /// independently of the computer's speed.
    static ALL_STEPS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
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

/// Runs one program on one text. The runs can start at several offsets of the text.
pub(super) struct Machine<'a> {
    program: &'a Program,
    text: &'a str,
    /// The states to try when the current one fails; the last one is tried first.
    pending: Vec<State>,
    /// The number of steps that the machine took since the last match.
    steps: usize,
    /// The memory of failed attempts; `None` while it is not needed.
    attempts: Option<Attempts>,
    /// The offset in bytes up to which the text was read so far, which [`reach`](Self::reach) returns.
    reach: usize,
}

impl<'a> Machine<'a> {
    pub(super) fn new(program: &'a Program, text: &'a str) -> Self {
        let attempts = program.may_stall.then(|| Attempts::new(program, text));
        Self { program, text, pending: Vec::new(), steps: 0, attempts, reach: 0 }
    }

    /// The offset at which the match that starts at a given offset ends; `None` if there is no match.
    ///
    /// A split that failed at an offset would fail there again. Because the memory prevents such attempts, the time for all
    /// start offsets together is linear in the length of the text.
    pub(super) fn run(&mut self, start: usize) -> Option<usize> {
        self.pending.clear();
        let mut state = (0, start);
        loop {
            if let Some(end) = self.follow(state) {
                self.clear_memory();
                return Some(end);
            }
            state = self.pending.pop()?;
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
            ALL_STEPS.set(ALL_STEPS.get() + 1);
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
                    self.pending.push((second, offset));
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
        if self.attempts.is_none() && self.steps > STEPS_WITHOUT_MEMORY {
            self.attempts = Some(Attempts::new(self.program, self.text));
        }
        self.attempts.as_mut().is_some_and(|attempts| !attempts.insert(choice, offset))
    }

    /// Clears the memory of failed attempts after a match, because it also has the attempts that led to the match.
    fn clear_memory(&mut self) {
        self.steps = 0;
        self.attempts = self.program.may_stall.then(|| Attempts::new(self.program, self.text));
    }
}

/// The memory of failed attempts, as a bitmap: it has one bit for every pair of a split instruction and an offset in
/// the text, which is set if the machine has tried the split at that offset.
struct Attempts {
    bits: Vec<u64>,
    choices: usize,
}

impl Attempts {
    fn new(program: &Program, text: &str) -> Self {
        let choices = program.choices as usize;
        Self { bits: vec![0; (choices * (text.len() + 1)).div_ceil(64)], choices }
    }

    /// Records that a split instruction was tried at an offset. Returns whether this is the first time.
    fn insert(&mut self, choice: u32, offset: usize) -> bool {
        let bit = offset * self.choices + choice as usize;
        let (word, mask) = (&mut self.bits[bit / 64], 1 << (bit % 64));
        let is_new = *word & mask == 0;
        *word |= mask;
        is_new
    }
}
