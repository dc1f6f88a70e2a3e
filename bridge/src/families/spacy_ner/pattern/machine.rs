//! The machine that runs a pattern's program: backtracking, with a memory of what has failed where that pays.

use super::program::{Instruction, Look, Program};

/// Steps without a memory; most matches need a few dozens. Few in tests, so that these see both ways.
const FREE_STEPS: usize = if cfg!(test) { 20 } else { 2_000 };

#[cfg(test)]
thread_local! {
    /// Steps of all machines of this thread: how tests see that time grows no faster than texts, on any machine.
    static ALL_STEPS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// Steps that machines of this thread take while `run` runs.
#[cfg(test)]
pub(crate) fn steps_of(run: impl FnOnce()) -> u64 {
    let before = ALL_STEPS.get();
    run();
    ALL_STEPS.get() - before
}

/// A place in the program and one in the text, in bytes.
type State = (u32, usize);

/// Runs one program on one text, at any number of places.
pub(super) struct Machine<'a> {
    program: &'a Program,
    text: &'a str,
    /// States still to be tried where the current one fails.
    waiting: Vec<State>,
    /// Steps since the memory was last empty.
    steps: usize,
    failed: Option<Failed>,
    /// The byte behind all that was looked at: whatever comes from there on would not change what the runs gave. More than
    /// the text's length where they saw its end.
    reach: usize,
}

impl<'a> Machine<'a> {
    pub(super) fn new(program: &'a Program, text: &'a str) -> Self {
        let failed = program.may_stall.then(|| Failed::new(program, text));
        Self { program, text, waiting: Vec::new(), steps: 0, failed, reach: 0 }
    }

    /// Where the match that starts at a byte of the text ends.
    ///
    /// A split that was tried at a place and failed would fail again: with the memory of that, time is linear in the
    /// text for all places together.
    pub(super) fn run(&mut self, start: usize) -> Option<usize> {
        self.waiting.clear();
        let mut state = (0, start);
        loop {
            if let Some(end) = self.follow(state) {
                self.forget();
                return Some(end);
            }
            state = self.waiting.pop()?;
        }
    }

    /// The byte behind all that the runs so far looked at; more than the text's length where they saw its end.
    pub(super) fn reach(&self) -> usize {
        self.reach
    }

    /// Follows one state until it fails or matches.
    fn follow(&mut self, (mut at, mut place): State) -> Option<usize> {
        loop {
            self.steps += 1;
            #[cfg(test)]
            ALL_STEPS.set(ALL_STEPS.get() + 1);
            match self.program.instructions[at as usize] {
                Instruction::Set(set) => {
                    let next = self.text[place..].chars().next();
                    self.reach = self.reach.max(place + next.map_or(1, char::len_utf8));
                    let next = next?;
                    if !self.program.sets[set as usize].contains(next) {
                        return None;
                    }
                    place += next.len_utf8();
                }
                Instruction::Split { first, second, choice } => {
                    if self.tried(choice, place) {
                        return None;
                    }
                    self.waiting.push((second, place));
                    at = first;
                    continue;
                }
                Instruction::Jump(to) => {
                    at = to;
                    continue;
                }
                Instruction::Look(look) => {
                    let program = self.program;
                    if !self.holds(&program.looks[look as usize], place) {
                        return None;
                    }
                }
                Instruction::Start if place != 0 => return None,
                Instruction::End => {
                    self.reach = self.reach.max(place + 1);
                    if place != self.text.len() {
                        return None;
                    }
                }
                Instruction::Match => return Some(place),
                Instruction::Start => {}
            }
            at += 1;
        }
    }

    fn holds(&mut self, look: &Look, place: usize) -> bool {
        let start = match look.back {
            0 => Some(place),
            back => self.text[..place].char_indices().rev().nth(back as usize - 1).map(|(at, _)| at),
        };
        let matches = start.is_some_and(|start| {
            let mut machine = Machine::new(&look.program, self.text);
            let matches = machine.run(start).is_some();
            self.reach = self.reach.max(machine.reach);
            matches
        });
        matches != look.negative
    }

    /// Whether a split was tried at a place before; remembers it once the steps call for a memory.
    fn tried(&mut self, choice: u32, place: usize) -> bool {
        if self.failed.is_none() && self.steps > FREE_STEPS {
            self.failed = Some(Failed::new(self.program, self.text));
        }
        self.failed.as_mut().is_some_and(|failed| !failed.insert(choice, place))
    }

    /// After a match: what was tried last has not failed.
    fn forget(&mut self) {
        self.steps = 0;
        self.failed = self.program.may_stall.then(|| Failed::new(self.program, self.text));
    }
}

/// The splits tried so far, each with the place where it was.
struct Failed {
    bits: Vec<u64>,
    choices: usize,
}

impl Failed {
    fn new(program: &Program, text: &str) -> Self {
        let choices = program.choices as usize;
        Self { bits: vec![0; (choices * (text.len() + 1)).div_ceil(64)], choices }
    }

    /// Whether it was not there yet.
    fn insert(&mut self, choice: u32, place: usize) -> bool {
        let bit = place * self.choices + choice as usize;
        let (word, mask) = (&mut self.bits[bit / 64], 1 << (bit % 64));
        let is_new = *word & mask == 0;
        *word |= mask;
        is_new
    }
}
