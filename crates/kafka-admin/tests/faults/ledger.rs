//! Owns between which numbers each answer must lie. All numbers only grow, so an answer is at least what had been acknowledged
//! when it was asked for, and at most what had been attempted when it came.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};

/// A number that grows: an end of a log, a committed offset.
#[derive(Default)]
struct Growing {
    acknowledged: AtomicI64,
    attempted: AtomicI64,
}

/// All numbers.
pub(crate) struct Ledger {
    numbers: Vec<Growing>,
    /// What had been acknowledged before a broker went away. A broker that was frozen answers with that until it hears what
    /// happened meanwhile, and a new coordinator until it hears how much of its log the others have.
    held: Mutex<Option<Vec<i64>>>,
}

impl Ledger {
    pub(crate) fn new(numbers: usize) -> Self {
        let mut all = Vec::new();
        all.resize_with(numbers, Growing::default);
        Self {
            numbers: all,
            held: Mutex::new(None),
        }
    }

    /// A number is about to become this much, or not.
    pub(crate) fn attempt(&self, number: usize, value: i64) {
        self.numbers[number].attempted.fetch_max(value, Ordering::SeqCst);
    }

    pub(crate) fn acknowledge(&self, number: usize, value: i64) {
        self.numbers[number]
            .acknowledged
            .fetch_max(value, Ordering::SeqCst);
    }

    pub(crate) fn attempted(&self, number: usize) -> i64 {
        self.numbers[number].attempted.load(Ordering::SeqCst)
    }

    /// The least that answers to a question may be which begins now.
    pub(crate) fn floors(&self) -> Vec<i64> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.clone().unwrap_or_else(|| self.acknowledged())
    }

    pub(crate) fn hold(&self) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.acknowledged());
    }

    pub(crate) fn release(&self) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn acknowledged(&self) -> Vec<i64> {
        let acknowledged = |number: &Growing| number.acknowledged.load(Ordering::SeqCst);
        self.numbers.iter().map(acknowledged).collect()
    }
}
