//! Owns what is pushed at a time: the metrics about the targets, then those of each target.

use std::collections::BTreeMap;

use crate::exposition::{self, Sample, Type};

/// The types of families, by name.
pub type Types = BTreeMap<String, Type>;

/// Everything that one push says.
#[derive(Debug, Clone, Default)]
pub struct Document<'a> {
    /// About the targets.
    pub about: Vec<Sample>,
    /// The types of these.
    pub about_types: Types,
    /// Of the targets.
    pub parts: Vec<Part<'a>>,
}

/// What a target says.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    /// Its samples.
    pub samples: &'a [Sample],
    /// The types of its families.
    pub types: &'a Types,
}

impl<'a> Document<'a> {
    fn all_parts(&'a self) -> impl Iterator<Item = Part<'a>> {
        let about = Part {
            samples: &self.about,
            types: &self.about_types,
        };
        std::iter::once(about).chain(self.parts.iter().copied())
    }

    /// All samples.
    pub fn samples(&'a self) -> impl Iterator<Item = &'a Sample> {
        self.all_parts().flat_map(|part| part.samples)
    }

    /// How many samples it has.
    pub fn len(&self) -> usize {
        self.samples().count()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The whole as text.
    pub fn to_text(&self) -> String {
        self.texts().collect()
    }

    /// The same in pieces, made one at a time, since thousands of samples take room. A family that two parts have gets
    /// its type once: a second `# TYPE` would be refused.
    pub fn texts(&'a self) -> impl Iterator<Item = String> {
        let mut typed = Types::new();
        self.all_parts().map(move |part| {
            let is_new = |(family, _): &(&String, &Type)| !typed.contains_key(*family);
            let new = part.types.iter().filter(is_new);
            let new: Types = new.map(|(family, kind)| (family.clone(), *kind)).collect();
            let text = exposition::render(part.samples, &new);
            typed.extend(new);
            text
        })
    }
}
