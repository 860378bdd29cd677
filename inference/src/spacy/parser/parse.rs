//! Owns the state of a parse: what each transition does to it, which are allowed, and where sentences start.

use super::{Action, FEATURES, NOBODY};

/// The state of a parse.
#[derive(Debug)]
pub(in crate::spacy) struct Parse {
    /// The first token that was never taken from the buffer.
    next: usize,
    stack: Vec<usize>,
    /// Tokens that were put back in front of the buffer, the foremost last.
    put_back: Vec<usize>,
    tokens: Vec<TokenState>,
}

#[derive(Debug, Clone, Copy)]
struct TokenState {
    head: usize,
    /// The child added last on each side.
    last_left: usize,
    last_right: usize,
    /// The child of the same head and side added before this one.
    sibling_before: usize,
    unshiftable: bool,
    sentence_start: bool,
}

impl Parse {
    /// The parse of a document of `count` tokens, at its start.
    pub(in crate::spacy) fn new(count: usize) -> Self {
        let token = TokenState {
            head: NOBODY,
            last_left: NOBODY,
            last_right: NOBODY,
            sibling_before: NOBODY,
            unshiftable: false,
            sentence_start: false,
        };
        let mut tokens = vec![token; count];
        if let Some(first) = tokens.first_mut() {
            first.sentence_start = true;
        }
        Self {
            next: 0,
            stack: Vec::new(),
            put_back: Vec::new(),
            tokens,
        }
    }

    /// Whether it is known of the token `until`, and of each before it, if it starts a sentence.
    ///
    /// It is where nothing is on the stack or put back and `until` is no later than the next token: only tokens there
    /// and in the buffer get another head, so each token taken so far has its last one. Going from head to head, it
    /// ends at a token taken, its root, or at the next token, whose root is not among those taken: for the question
    /// whether two neighbours have one root the next token stands in for its own.
    #[inline(always)]
    pub(in crate::spacy) fn is_settled(&self, until: usize) -> bool {
        self.stack.is_empty() && self.put_back.is_empty() && until <= self.next
    }

    /// Whether each token starts a sentence, as far as [`Self::is_settled`] says or the parse is done: its root is not
    /// the root of the token before.
    pub(in crate::spacy) fn sentence_starts(&self) -> Vec<bool> {
        let roots = self.roots();
        (0..roots.len())
            .map(|token| token == 0 || roots[token] != roots[token - 1])
            .collect()
    }

    fn roots(&self) -> Vec<usize> {
        let mut roots = vec![NOBODY; self.tokens.len()];
        let mut path = Vec::new();
        for token in 0..self.tokens.len() {
            let mut at = token;
            while roots[at] == NOBODY && self.tokens[at].head != NOBODY {
                path.push(at);
                at = self.tokens[at].head;
            }
            let root = if roots[at] == NOBODY { at } else { roots[at] };
            roots[at] = root;
            for passed in path.drain(..) {
                roots[passed] = root;
            }
        }
        roots
    }

    #[inline(always)]
    fn stack(&self, depth: usize) -> usize {
        if depth < self.stack.len() {
            self.stack[self.stack.len() - 1 - depth]
        } else {
            NOBODY
        }
    }

    #[inline(always)]
    fn buffer(&self, place: usize) -> Option<usize> {
        if place < self.put_back.len() {
            return Some(self.put_back[self.put_back.len() - 1 - place]);
        }
        Some(self.next + place - self.put_back.len()).filter(|&token| token < self.tokens.len())
    }

    #[inline(always)]
    fn buffer_length(&self) -> usize {
        self.tokens.len() - self.next + self.put_back.len()
    }

    /// Whether there is nothing left to decide.
    #[inline(always)]
    pub(super) fn is_over(&self) -> bool {
        self.stack.is_empty() && self.buffer_length() == 0
    }

    #[inline(always)]
    pub(super) fn features(&self) -> [usize; FEATURES] {
        let (front, top) = (self.buffer(0).unwrap_or(NOBODY), self.stack(0));
        let child = |token: usize, side: fn(&TokenState) -> usize| {
            if token == NOBODY {
                NOBODY
            } else {
                side(&self.tokens[token])
            }
        };
        [
            front,
            self.buffer(1).unwrap_or(NOBODY),
            top,
            self.stack(1),
            self.stack(2),
            child(front, |token| token.last_left),
            child(top, |token| token.last_left),
            child(top, |token| token.last_right),
        ]
    }

    #[inline(always)]
    pub(super) fn allows(&self, action: Action) -> bool {
        let has_stack = !self.stack.is_empty();
        let front = self.buffer(0);
        let at_sentence_start = front.is_some_and(|front| self.tokens[front].sentence_start);
        match action {
            Action::Shift => {
                let unshiftable = front.is_some_and(|front| self.tokens[front].unshiftable);
                !has_stack || (self.buffer_length() >= 2 && !at_sentence_start && !unshiftable)
            }
            Action::Reduce => has_stack,
            Action::LeftArc | Action::RightArc => has_stack && front.is_some() && !at_sentence_start,
            Action::Break => match (front, self.buffer(1)) {
                (Some(front), Some(second)) => second == front + 1 && !self.tokens[second].sentence_start,
                _ => false,
            },
        }
    }

    /// Takes an action that [`Self::allows`] allows.
    pub(super) fn apply(&mut self, action: Action) {
        let (top, front) = (self.stack(0), self.buffer(0).unwrap_or(NOBODY));
        match action {
            Action::Shift => self.shift(front),
            Action::Reduce => {
                if self.tokens[top].head == NOBODY && self.stack.len() > 1 {
                    self.tokens[top].unshiftable = true;
                    self.put_back.push(top);
                }
                self.stack.pop();
            }
            Action::LeftArc => {
                self.attach(front, top);
                self.tokens[front].unshiftable = false;
                self.stack.pop();
            }
            Action::RightArc => {
                self.attach(top, front);
                self.shift(front);
            }
            Action::Break => self.tokens[front + 1].sentence_start = true,
        }
    }

    fn shift(&mut self, front: usize) {
        self.stack.push(front);
        if self.put_back.pop().is_none() {
            self.next += 1;
        }
    }

    /// Makes `head` the head of `child`, which leaves its old head.
    fn attach(&mut self, head: usize, child: usize) {
        let old = self.tokens[child].head;
        if old != NOBODY {
            self.detach(old, child);
        }
        let side = self.side(head, child);
        let before = std::mem::replace(side, child);
        self.tokens[child].sibling_before = before;
        self.tokens[child].head = head;
    }

    fn detach(&mut self, head: usize, child: usize) {
        let before = self.tokens[child].sibling_before;
        let mut at = *self.side(head, child);
        if at == child {
            *self.side(head, child) = before;
            return;
        }
        while at != NOBODY {
            let next = self.tokens[at].sibling_before;
            if next == child {
                self.tokens[at].sibling_before = before;
            }
            at = next;
        }
    }

    /// The child of `head` added last on the side on which `child` is.
    fn side(&mut self, head: usize, child: usize) -> &mut usize {
        let head_state = &mut self.tokens[head];
        if head > child {
            &mut head_state.last_left
        } else {
            &mut head_state.last_right
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(count: usize, actions: &[Action]) -> Parse {
        let mut parse = Parse::new(count);
        for &action in actions {
            assert!(parse.allows(action), "{action:?} in {parse:?}");
            parse.apply(action);
        }
        parse
    }

    #[test]
    fn tokens_under_one_root_are_one_sentence() {
        use Action::{LeftArc, Reduce, RightArc, Shift};
        let done = parse(
            4,
            &[Shift, LeftArc, Shift, RightArc, Reduce, Reduce, Shift, Reduce],
        );
        assert!(done.is_over(), "{done:?}");
        assert_eq!(done.sentence_starts(), [true, false, false, true]);
    }

    #[test]
    fn a_headless_token_goes_back_to_the_buffer_once() {
        use Action::{Reduce, Shift};
        let done = parse(3, &[Shift, Shift, Reduce]);
        assert_eq!(done.buffer(0), Some(1));
        assert!(!done.allows(Shift), "it may not be shifted again");
    }

    #[test]
    fn a_break_allows_nothing_but_reduce_over_it() {
        use Action::{Break, LeftArc, Reduce, RightArc, Shift};
        let done = parse(3, &[Break, Shift]);
        for action in [Shift, LeftArc, RightArc] {
            assert!(!done.allows(action), "{action:?}");
        }
        assert!(done.allows(Reduce));
    }

    #[test]
    fn a_child_that_moves_leaves_its_old_head() {
        let mut parse = Parse::new(6);
        for child in [2, 3, 4] {
            parse.attach(1, child);
        }
        parse.attach(5, 3);
        assert_eq!(parse.tokens[1].last_right, 4);
        assert_eq!(parse.tokens[4].sibling_before, 2);
        parse.attach(5, 4);
        assert_eq!(parse.tokens[1].last_right, 2);
        assert_eq!(parse.tokens[5].last_left, 4);
    }
}
