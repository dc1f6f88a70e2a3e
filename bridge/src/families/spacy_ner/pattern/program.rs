//! Compiles a pattern to a program for a backtracking machine.

use std::collections::HashMap;
use std::sync::Arc;

use super::syntax::Node;
use crate::families::spacy_ner::characters::CharSet;

/// An instruction of a program, which is one step of the backtracking machine. After an instruction, the machine
/// continues with the next one unless stated otherwise.
#[derive(Debug, Clone, Copy)]
pub(super) enum Instruction {
    /// Consumes one character if it is in the set with this index, else fails.
    Set(u32),
    /// Continues with the instruction at the index `first` and, if that fails, with the instruction at the index
    /// `second`. `choice` is the index of this split among the splits of the program.
    Split { first: u32, second: u32, choice: u32 },
    /// Continues with the instruction at this index.
    Jump(u32),
    /// Fails if the condition of the lookaround with this index does not hold.
    Lookaround(u32),
    /// Fails unless the current offset is the start of the string.
    Start,
    /// Fails unless the current offset is the end of the string.
    End,
    /// Ends the run of the machine: the pattern has matched.
    Match,
}

/// A lookahead or lookbehind, whose pattern has its own program.
#[derive(Debug)]
pub(super) struct Lookaround {
    pub(super) program: Program,
    /// How many characters before the current offset the lookaround's program starts; 0 for a lookahead.
    pub(super) back: u32,
    pub(super) negative: bool,
}

/// A pattern as a list of instructions for the backtracking machine.
#[derive(Debug, Default)]
pub(super) struct Program {
    pub(super) instructions: Vec<Instruction>,
    pub(super) sets: Vec<Arc<CharSet>>,
    /// The index in `sets` of each set, by its address; only used while the program is compiled.
    indices: HashMap<usize, u32>,
    pub(super) lookarounds: Vec<Lookaround>,
    /// The number of `Split` instructions of the program.
    pub(super) choices: u32,
    /// Whether the pattern has an unbounded repetition of a node that can match the empty string. Such a loop would
    /// never end if the machine did not remember its attempts.
    pub(super) may_stall: bool,
}

impl Program {
    /// Compiles the syntax tree of a pattern. [`parse`](super::syntax::parse) has limited its size.
    pub(super) fn new(node: &Node) -> Self {
        let mut program = Self::default();
        program.add(node);
        program.emit(Instruction::Match);
        program.indices = HashMap::new();
        program
    }

    fn add(&mut self, node: &Node) {
        match node {
            Node::Set(set) => {
                let set = self.set(set);
                self.emit(Instruction::Set(set));
            }
            Node::Concat(nodes) => nodes.iter().for_each(|node| self.add(node)),
            Node::Alternatives(nodes) => self.add_alternatives(nodes),
            Node::Repeat { node, min, max, greedy } => self.add_repeat(node, *min, *max, *greedy),
            Node::Lookaround { node, behind, negative } => self.add_lookaround(node, *behind, *negative),
            Node::Start => {
                self.emit(Instruction::Start);
            }
            Node::End => {
                self.emit(Instruction::End);
            }
        }
    }

    fn add_alternatives(&mut self, nodes: &[Node]) {
        let Some((last, others)) = nodes.split_last() else { return };
        let mut ends = Vec::with_capacity(others.len());
        for node in others {
            let split = self.split();
            self.add(node);
            ends.push(self.emit(Instruction::Jump(0)));
            self.set_target(split, self.next_index(), true);
        }
        self.add(last);
        let end = self.next_index();
        ends.into_iter().for_each(|jump| self.instructions[jump] = Instruction::Jump(end));
    }

    fn add_repeat(&mut self, node: &Node, min: u32, max: Option<u32>, greedy: bool) {
        for _ in 0..min {
            self.add(node);
        }
        let Some(max) = max else { return self.add_loop(node, greedy) };
        let mut splits = Vec::new();
        for _ in min..max {
            splits.push(self.split());
            self.add(node);
        }
        let end = self.next_index();
        splits.into_iter().for_each(|split| self.set_target(split, end, greedy));
    }

    fn add_loop(&mut self, node: &Node, greedy: bool) {
        self.may_stall |= node.may_be_empty();
        let split = self.split();
        self.add(node);
        self.emit(Instruction::Jump(split as u32));
        self.set_target(split, self.next_index(), greedy);
    }

    /// Adds a lookaround. The parser refuses lookbehinds without a fixed width.
    fn add_lookaround(&mut self, node: &Node, behind: bool, negative: bool) {
        let back = if behind { node.width().unwrap_or(0) } else { 0 };
        self.lookarounds.push(Lookaround { program: Self::new(node), back, negative });
        self.emit(Instruction::Lookaround(self.lookarounds.len() as u32 - 1));
    }

    /// Adds a split between the next instruction and a target instruction, which [`set_target`](Self::set_target) sets
    /// later.
    fn split(&mut self) -> usize {
        let choice = self.choices;
        self.choices += 1;
        self.emit(Instruction::Split { first: self.next_index() + 1, second: 0, choice })
    }

    /// Sets the target instruction of a split, and whether the machine tries the target second or first.
    fn set_target(&mut self, split: usize, target: u32, is_second: bool) {
        if let Instruction::Split { first, second, .. } = &mut self.instructions[split] {
            *second = target;
            if !is_second {
                std::mem::swap(first, second);
            }
        }
    }

    /// The index of a set of characters among the program's sets, to which it is added if it is new.
    fn set(&mut self, set: &Arc<CharSet>) -> u32 {
        *self.indices.entry(Arc::as_ptr(set).addr()).or_insert_with(|| {
            self.sets.push(Arc::clone(set));
            self.sets.len() as u32 - 1
        })
    }

    /// The index of the instruction that will be added next.
    fn next_index(&self) -> u32 {
        self.instructions.len() as u32
    }

    /// Adds an instruction and returns its index.
    fn emit(&mut self, instruction: Instruction) -> usize {
        self.instructions.push(instruction);
        self.instructions.len() - 1
    }
}
