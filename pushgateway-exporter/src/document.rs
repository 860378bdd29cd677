//! Owns what one push says of a target: the metrics about it, then its own.

use std::collections::BTreeMap;

use crate::exposition::{self, Sample, Type};

/// The types of families, by name.
pub type Types = BTreeMap<String, Type>;

/// All that a push says of a target. No name of its samples is one of the metrics about it.
#[derive(Debug, Clone)]
pub struct Document<'a> {
    /// About the target.
    pub about: Vec<Sample>,
    /// The types of these.
    pub about_types: Types,
    /// Its samples.
    pub samples: &'a [Sample],
    /// The types of their families.
    pub types: &'a Types,
}

impl<'a> Document<'a> {
    /// All samples.
    pub fn samples(&'a self) -> impl Iterator<Item = &'a Sample> {
        self.about.iter().chain(self.samples)
    }

    /// The whole as text.
    pub fn to_text(&self) -> String {
        self.texts().collect()
    }

    /// The same in pieces, made one at a time, since thousands of samples take room.
    pub fn texts(&'a self) -> impl Iterator<Item = String> {
        let parts = [(&self.about[..], &self.about_types), (self.samples, self.types)];
        parts
            .into_iter()
            .map(|(samples, types)| exposition::render(samples, types))
    }
}
