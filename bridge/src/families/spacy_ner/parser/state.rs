//! The state of an arc-eager parser and its moves. In comments, `S0` is the top of the stack, and `B0` and `B1` are the
//! first two tokens of the buffer.

/// The index that stands for a missing token.
const NONE: u32 = u32::MAX;

/// A kind of move. The name of a move in the artifact begins with the letter of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `S` (shift): pushes `B0` to the stack.
    Shift,
    /// `D` (reduce): pops `S0`. If the token has no head and is not the only one on the stack, it returns to the
    /// buffer.
    Reduce,
    /// `L` (left arc): attaches `S0` to the head `B0` and pops it.
    Left,
    /// `R` (right arc): attaches `B0` to the head `S0` and pushes it.
    Right,
    /// `B` (break): a sentence starts at `B1`.
    Break,
}

impl Kind {
    pub(super) const COUNT: usize = 5;
}

/// A stack, a buffer and the arcs between the tokens of one document.
#[derive(Debug)]
pub(super) struct State {
    stack: Vec<u32>,
    /// The tokens that returned from the stack to the front of the buffer; the last of them is `B0`.
    returned: Vec<u32>,
    /// The first token of the buffer that was never on the stack.
    next: u32,
    /// The number of tokens of the document.
    length: u32,
    heads: Vec<u32>,
    labels: Vec<u16>,
    /// For each token, whether a sentence starts there.
    is_start: Vec<bool>,
    /// For each token, whether it returned from the stack to the buffer and therefore cannot be shifted again.
    unshiftable: Vec<bool>,
    /// For each head, the child on its left that was attached last.
    last_left: Vec<u32>,
    /// For each head, the child on its right that was attached last.
    last_right: Vec<u32>,
    /// For each child, the child that was attached to the same head on the same side just before it.
    sibling: Vec<u32>,
}

impl State {
    pub(super) fn new(length: usize) -> Self {
        let none = || vec![NONE; length];
        Self {
            stack: Vec::new(),
            returned: Vec::new(),
            next: 0,
            length: length as u32,
            heads: none(),
            labels: vec![0; length],
            is_start: vec![false; length],
            unshiftable: vec![false; length],
            last_left: none(),
            last_right: none(),
            sibling: none(),
        }
    }

    /// Whether the stack and the buffer are empty.
    pub(super) fn is_final(&self) -> bool {
        self.stack.is_empty() && self.buffer_len() == 0
    }

    /// The head of every token (`None` for a root), and the label of every token (undefined for a root).
    pub(super) fn into_arcs(self) -> (Vec<Option<u32>>, Vec<u16>) {
        (self.heads.into_iter().map(some).collect(), self.labels)
    }

    /// The tokens whose features determine the scores of the moves; `None` if the state has no such token.
    pub(super) fn tokens(&self) -> [Option<u32>; 8] {
        let (b0, s0) = (self.buffer(0), self.stacked(0));
        let child = |children: &[u32], head: Option<u32>| head.and_then(|head| some(children[head as usize]));
        [
            b0,
            self.buffer(1),
            s0,
            self.stacked(1),
            self.stacked(2),
            child(&self.last_left, b0),
            child(&self.last_left, s0),
            child(&self.last_right, s0),
        ]
    }

    /// Which kinds of moves are valid in this state, by the index of the kind.
    pub(super) fn valid(&self) -> [bool; Kind::COUNT] {
        let (b0, b1) = (self.buffer(0), self.buffer(1));
        let is_start = |token: Option<u32>| token.is_some_and(|token| self.is_start[token as usize]);
        let has_stack = !self.stack.is_empty();
        let unshiftable = b0.is_some_and(|token| self.unshiftable[token as usize]);
        let attach = has_stack && b0.is_some() && !is_start(b0);
        let mut valid = [false; Kind::COUNT];
        valid[Kind::Shift as usize] = !has_stack || (b1.is_some() && !is_start(b0) && !unshiftable);
        valid[Kind::Reduce as usize] = has_stack;
        valid[Kind::Left as usize] = attach;
        valid[Kind::Right as usize] = attach;
        valid[Kind::Break as usize] = b1.is_some() && b1 == b0.map(|token| token + 1) && !is_start(b1);
        valid
    }

    /// Applies a move to the state, in which it has to be valid.
    pub(super) fn apply(&mut self, kind: Kind, label: u16) {
        match (kind, self.stacked(0), self.buffer(0)) {
            (Kind::Shift, _, Some(_)) => self.push(),
            (Kind::Reduce, Some(s0), _) => self.reduce(s0),
            (Kind::Left, Some(s0), Some(b0)) => {
                self.attach(s0, b0, label);
                self.unshiftable[b0 as usize] = false;
                self.stack.pop();
            }
            (Kind::Right, Some(s0), Some(b0)) => {
                self.attach(b0, s0, label);
                self.push();
            }
            (Kind::Break, _, Some(b0)) => self.is_start[b0 as usize + 1] = true,
            _ => {}
        }
    }

    fn reduce(&mut self, s0: u32) {
        let is_done = self.heads[s0 as usize] != NONE || self.stack.len() == 1;
        self.stack.pop();
        if !is_done {
            self.unshiftable[s0 as usize] = true;
            self.returned.push(s0);
        }
    }

    fn push(&mut self) {
        let token = self.returned.pop().unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        });
        self.stack.push(token);
    }

    /// Sets the head of a token. If the token already has a head, it is detached from that head first.
    fn attach(&mut self, child: u32, head: u32, label: u16) {
        let index = child as usize;
        let old = self.heads[index];
        if old != NONE {
            let last = if child < old { &mut self.last_left } else { &mut self.last_right };
            if last[old as usize] == child {
                last[old as usize] = self.sibling[index];
            }
        }
        let last = if child < head { &mut self.last_left } else { &mut self.last_right };
        self.sibling[index] = std::mem::replace(&mut last[head as usize], child);
        (self.heads[index], self.labels[index]) = (head, label);
    }

    /// The token at a depth of the stack; the top has the depth 0.
    fn stacked(&self, depth: usize) -> Option<u32> {
        self.stack.iter().rev().nth(depth).copied()
    }

    /// The token at an index of the buffer; the front has the index 0.
    fn buffer(&self, index: usize) -> Option<u32> {
        match self.returned.iter().rev().nth(index) {
            Some(token) => Some(*token),
            None => Some(self.next + (index - self.returned.len()) as u32).filter(|token| *token < self.length),
        }
    }

    /// The number of tokens in the buffer.
    fn buffer_len(&self) -> usize {
        (self.length - self.next) as usize + self.returned.len()
    }
}

fn some(token: u32) -> Option<u32> {
    (token != NONE).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The letters of the kinds of moves that are valid in a state.
    fn valid(state: &State) -> String {
        state.valid().into_iter().zip("SDLRB".chars()).filter_map(|(valid, letter)| valid.then_some(letter)).collect()
    }

    /// The state of a document of `length` tokens after some moves.
    fn after(length: usize, moves: &[Kind]) -> State {
        let mut state = State::new(length);
        for &kind in moves {
            assert!(state.valid()[kind as usize], "{kind:?} in {state:?}");
            state.apply(kind, kind as u16);
        }
        state
    }

    use Kind::{Break, Left, Reduce, Right, Shift};

    #[test]
    fn moves_attach_tokens_of_the_stack_and_the_buffer() {
        let state = after(3, &[Shift, Left, Shift, Right]);
        assert_eq!(state.tokens(), [None, None, Some(2), Some(1), None, None, None, None]);
        assert_eq!(valid(&state), "D");
        let state = after(3, &[Shift, Left, Shift, Right, Reduce]);
        assert_eq!(state.tokens(), [None, None, Some(1), None, None, None, Some(0), Some(2)]);
        let state = after(3, &[Shift, Left, Shift, Right, Reduce, Reduce]);
        assert!(state.is_final());
        let (heads, labels) = state.into_arcs();
        assert_eq!((heads, labels), (vec![Some(1), None, Some(1)], vec![Left as u16, 0, Right as u16]));
    }

    #[test]
    fn a_token_without_a_head_goes_back_to_the_buffer() {
        let state = after(3, &[Shift, Shift, Reduce]);
        assert_eq!(state.tokens(), [Some(1), Some(2), Some(0), None, None, None, None, None]);
        // Token 1 returned from the stack to the buffer. Therefore the move shift is invalid. Right arc is valid
        // because it attaches the token. After the move left arc, the token is the head of another token and may be
        // shifted again.
        assert_eq!(valid(&state), "DLRB");
        let state = after(3, &[Shift, Shift, Reduce, Left]);
        assert_eq!(state.tokens(), [Some(1), Some(2), None, None, None, Some(0), None, None]);
        assert!(!state.unshiftable[1]);
        assert_eq!(valid(&after(4, &[Shift, Shift, Reduce, Right])), "SDLRB");
    }

    #[test]
    fn nothing_is_attached_to_a_sentence_start() {
        let state = after(3, &[Shift, Break]);
        assert_eq!(valid(&state), "SDLR");
        assert_eq!(valid(&after(3, &[Shift, Break, Shift])), "D");
        assert_eq!(valid(&State::new(1)), "S");
        // The move break is invalid, because the first two tokens of the buffer are not adjacent in the text.
        let state = after(4, &[Shift, Shift, Right, Reduce, Reduce]);
        assert_eq!((&state.tokens()[..2], valid(&state).as_str()), (&[Some(1), Some(3)][..], "DLR"));
    }

    #[test]
    fn a_new_head_replaces_the_old_one() {
        let state = after(3, &[Shift, Right]);
        assert_eq!(state.last_right[0], 1);
        let state = after(3, &[Shift, Right, Left]);
        assert_eq!((state.heads[1], state.last_right[0], state.last_left[2]), (2, NONE, 1));
        // After token 2 is detached from token 0, token 1, which was attached before it, is the last right child of
        // token 0 again.
        let state = after(4, &[Shift, Right, Reduce, Right, Left]);
        assert_eq!((state.heads[2], state.last_right[0], state.last_left[3]), (3, 1, 2));
    }
}
