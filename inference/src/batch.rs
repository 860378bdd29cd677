//! Owns the queue of texts that wait for the model, and how it is cut into slices.
//!
//! Pure. Nothing waits for company: a slice is what waits when a session is free, up to a bound, so that slices are
//! small where there is little to do and large where there is much.

use std::collections::VecDeque;
use std::num::NonZeroUsize;

use crate::ledger::Ticket;

/// A text that waits.
#[derive(Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Whose it is.
    pub ticket: Ticket,
    /// The text.
    pub text: String,
}

/// The texts that wait, in the order in which they came. How many there can be, the bounds on what is in hand say.
#[derive(Debug)]
pub struct Queue {
    waiting: VecDeque<Waiting>,
    max_rows: NonZeroUsize,
    max_bytes: NonZeroUsize,
}

impl Queue {
    /// An empty queue whose slices have at most so many texts and, unless it is one text, so many bytes.
    pub fn new(max_rows: NonZeroUsize, max_bytes: NonZeroUsize) -> Self {
        Self {
            waiting: VecDeque::new(),
            max_rows,
            max_bytes,
        }
    }

    /// A text comes.
    pub fn push(&mut self, waiting: Waiting) {
        self.waiting.push_back(waiting);
    }

    /// Forgets texts whose answer nobody waits for any more.
    pub fn retain(&mut self, is_wanted: impl Fn(Ticket) -> bool) {
        self.waiting.retain(|waiting| is_wanted(waiting.ticket));
    }

    /// Puts a slice back in front, where it came from.
    pub fn put_back(&mut self, slice: Vec<Waiting>) {
        for waiting in slice.into_iter().rev() {
            self.waiting.push_front(waiting);
        }
    }

    /// The next slice; `None` if nothing waits.
    pub fn next_slice(&mut self) -> Option<Vec<Waiting>> {
        let mut bytes = 0;
        let fits = |(place, waiting): &(usize, &Waiting)| {
            bytes += waiting.text.len();
            *place == 0 || (*place < self.max_rows.get() && bytes <= self.max_bytes.get())
        };
        let rows = self.waiting.iter().enumerate().take_while(fits).count();
        (rows > 0).then(|| self.waiting.drain(..rows).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slices(max_rows: usize, max_bytes: usize, lengths: &[usize]) -> Vec<Vec<usize>> {
        let mut queue = Queue::new(max_rows.try_into().unwrap(), max_bytes.try_into().unwrap());
        for (ticket, length) in lengths.iter().enumerate() {
            queue.push(Waiting {
                ticket: Ticket(ticket),
                text: "x".repeat(*length),
            });
        }
        let slices = std::iter::from_fn(|| queue.next_slice());
        slices
            .map(|slice| slice.iter().map(|waiting| waiting.ticket.0).collect())
            .collect()
    }

    #[test]
    fn a_slice_is_bounded_by_rows_and_bytes() {
        assert_eq!(slices(2, 100, &[1, 1, 1]), [vec![0, 1], vec![2]]);
        assert_eq!(slices(9, 10, &[6, 4, 1]), [vec![0, 1], vec![2]]);
    }

    #[test]
    fn a_text_over_the_bound_is_a_slice_of_its_own() {
        assert_eq!(slices(9, 10, &[3, 50, 3]), [vec![0], vec![1], vec![2]]);
        assert_eq!(slices(9, 10, &[]), Vec::<Vec<usize>>::new());
    }
}
