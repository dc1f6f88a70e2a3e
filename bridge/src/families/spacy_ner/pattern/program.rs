//! Patterns as programs of a backtracking machine.

use std::sync::Arc;

use super::syntax::Node;
use crate::families::spacy_ner::characters::CharSet;

/// Instructions of one program at most: repetitions with bounds are written out.
const MAX_INSTRUCTIONS: usize = 100_000;

/// One step of the machine. Places are indices of instructions.
#[derive(Debug, Clone, Copy)]
pub(super) enum Instruction {
    /// Takes one character of the set with this index.
    Set(u32),
    /// Tries the first place, and where that fails the second; `choice` numbers the splits of a program.
    Split { first: u32, second: u32, choice: u32 },
    /// Goes on at a place.
    Jump(u32),
    /// Goes on where the look with this index holds.
    Look(u32),
    /// Goes on at the start of the string.
    Start,
    /// Goes on at the end of the string.
    End,
    /// The pattern has matched.
    Match,
}

/// A look at what comes before or behind.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) program: Program,
    /// How many characters it goes back first.
    pub(super) back: u32,
    pub(super) negative: bool,
}

/// A compiled pattern.
#[derive(Debug, Default)]
pub(super) struct Program {
    pub(super) instructions: Vec<Instruction>,
    pub(super) sets: Vec<Arc<CharSet>>,
    pub(super) looks: Vec<Look>,
    /// How many splits there are.
    pub(super) choices: u32,
    /// Whether something that may be empty is repeated without a bound.
    pub(super) may_stall: bool,
}

impl Program {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// That the program is too long.
    pub(super) fn new(node: &Node) -> Result<Self, String> {
        let mut program = Self::default();
        program.add(node)?;
        program.emit(Instruction::Match)?;
        Ok(program)
    }

    fn add(&mut self, node: &Node) -> Result<(), String> {
        match node {
            Node::Set(set) => {
                let set = self.set(set);
                self.emit(Instruction::Set(set)).map(|_| ())
            }
            Node::Concat(nodes) => nodes.iter().try_for_each(|node| self.add(node)),
            Node::Alternatives(nodes) => self.add_alternatives(nodes),
            Node::Repeat { node, min, max, greedy } => self.add_repeat(node, *min, *max, *greedy),
            Node::Look { node, behind, negative } => self.add_look(node, *behind, *negative),
            Node::Start => self.emit(Instruction::Start).map(|_| ()),
            Node::End => self.emit(Instruction::End).map(|_| ()),
        }
    }

    fn add_alternatives(&mut self, nodes: &[Node]) -> Result<(), String> {
        let Some((last, others)) = nodes.split_last() else { return Ok(()) };
        let mut ends = Vec::with_capacity(others.len());
        for node in others {
            let split = self.split()?;
            self.add(node)?;
            ends.push(self.emit(Instruction::Jump(0))?);
            self.aim(split, self.here(), true);
        }
        self.add(last)?;
        let end = self.here();
        ends.into_iter().for_each(|jump| self.instructions[jump] = Instruction::Jump(end));
        Ok(())
    }

    fn add_repeat(&mut self, node: &Node, min: u32, max: Option<u32>, greedy: bool) -> Result<(), String> {
        for _ in 0..min {
            self.add(node)?;
        }
        let Some(max) = max else { return self.add_loop(node, greedy) };
        let mut splits = Vec::new();
        for _ in min..max {
            splits.push(self.split()?);
            self.add(node)?;
        }
        let end = self.here();
        splits.into_iter().for_each(|split| self.aim(split, end, greedy));
        Ok(())
    }

    fn add_loop(&mut self, node: &Node, greedy: bool) -> Result<(), String> {
        self.may_stall |= node.may_be_empty();
        let split = self.split()?;
        self.add(node)?;
        self.emit(Instruction::Jump(split as u32))?;
        self.aim(split, self.here(), greedy);
        Ok(())
    }

    fn add_look(&mut self, node: &Node, behind: bool, negative: bool) -> Result<(), String> {
        let back = if behind { node.width().ok_or("a lookbehind has no fixed width")? } else { 0 };
        self.looks.push(Look { program: Self::new(node)?, back, negative });
        self.emit(Instruction::Look(self.looks.len() as u32 - 1)).map(|_| ())
    }

    /// A split whose first place is the next instruction; its other one is not known yet.
    fn split(&mut self) -> Result<usize, String> {
        let choice = self.choices;
        self.choices += 1;
        self.emit(Instruction::Split { first: self.here() + 1, second: 0, choice })
    }

    /// Gives a split its other place, which is tried second, or first.
    fn aim(&mut self, split: usize, other: u32, other_is_second: bool) {
        if let Instruction::Split { first, second, .. } = &mut self.instructions[split] {
            *second = other;
            if !other_is_second {
                std::mem::swap(first, second);
            }
        }
    }

    fn set(&mut self, set: &Arc<CharSet>) -> u32 {
        let known = self.sets.iter().position(|known| Arc::ptr_eq(known, set));
        known.unwrap_or_else(|| {
            self.sets.push(Arc::clone(set));
            self.sets.len() - 1
        }) as u32
    }

    fn here(&self) -> u32 {
        self.instructions.len() as u32
    }

    fn emit(&mut self, instruction: Instruction) -> Result<usize, String> {
        if self.instructions.len() == MAX_INSTRUCTIONS {
            return Err(format!("needs more than {MAX_INSTRUCTIONS} steps when its repetitions are written out"));
        }
        self.instructions.push(instruction);
        Ok(self.instructions.len() - 1)
    }
}
