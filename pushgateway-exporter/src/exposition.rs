//! Owns the Prometheus text format (0.0.4): what a page says, read from text and written as text.
//!
//! Nothing here fails: a line that cannot be used is dropped and counted, and never costs another its place.

mod labels;
mod line;
mod parse;
mod render;
mod repair;

use std::collections::{BTreeMap, BTreeSet, HashSet};

pub use labels::Labels;
pub use parse::parse;
pub use render::render;

/// The most names that are kept of what was dropped for a reason.
const MAX_NAMES: usize = 5;

/// One value of one series.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The metric's name.
    pub name: String,
    /// Its labels, by name.
    pub labels: Labels,
    /// The value; NaN and the infinities are values too.
    pub value: f64,
}

/// What a page says, in its order, and what of it could not be used.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Page {
    /// One sample a series.
    pub samples: Vec<Sample>,
    /// The types that the page declares, by the name of the family.
    pub types: BTreeMap<String, Type>,
    /// How many lines were dropped, by reason.
    pub dropped: Dropped,
    /// How many samples were read though their lines are not legal text.
    pub repaired: usize,
}

/// The type of a family, as `# TYPE` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Type {
    /// Goes up only.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Buckets.
    Histogram,
    /// Quantiles.
    Summary,
    /// Nothing is known.
    Untyped,
}

/// Why a line or a sample was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// It cannot be understood and not be repaired.
    Malformed,
    /// Its value is no number: `null`, `[]`.
    NotANumber,
    /// It is longer than its bound, or has a part that is, or too many labels.
    Oversized,
    /// Its series stands on the page more than once; the last one is kept.
    Duplicate,
    /// Spark wrote the same gauge twice, as `_Number` and as `_Value`; the latter is kept.
    Twin,
    /// Its name and labels are another series' now, of which the last is kept, or the exporter's own.
    Collision,
    /// The configuration does not let its name pass.
    Denied,
    /// More than the configured number of series, or than the greatest number of lines.
    OverLimit,
}

/// What was dropped, by reason. A reason that did not occur is not in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dropped {
    counts: BTreeMap<Reason, usize>,
    names: BTreeMap<Reason, BTreeSet<String>>,
}

impl Sample {
    /// A sample of these parts.
    pub fn new(name: impl Into<String>, labels: impl Into<Labels>, value: f64) -> Self {
        Self {
            name: name.into(),
            labels: labels.into(),
            value,
        }
    }

    /// What tells its series from every other.
    pub fn series(&self) -> (&str, &Labels) {
        (&self.name, &self.labels)
    }
}

impl Type {
    /// Every type.
    pub const ALL: [Self; 5] = [
        Self::Counter,
        Self::Gauge,
        Self::Histogram,
        Self::Summary,
        Self::Untyped,
    ];

    /// As `# TYPE` names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
            Self::Untyped => "untyped",
        }
    }
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 8] = [
        Self::Malformed,
        Self::NotANumber,
        Self::Oversized,
        Self::Duplicate,
        Self::Twin,
        Self::Collision,
        Self::Denied,
        Self::OverLimit,
    ];

    /// As a label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::NotANumber => "not_a_number",
            Self::Oversized => "oversized",
            Self::Duplicate => "duplicate",
            Self::Twin => "twin",
            Self::Collision => "collision",
            Self::Denied => "denied",
            Self::OverLimit => "over_limit",
        }
    }
}

impl Dropped {
    /// Counts that many more.
    pub fn add(&mut self, reason: Reason, count: usize) {
        if count > 0 {
            *self.counts.entry(reason).or_default() += count;
        }
    }

    /// Keeps the name of something that was dropped for this reason, for people.
    pub fn name(&mut self, reason: Reason, name: &str) {
        let names = self.names.entry(reason).or_default();
        if names.len() < MAX_NAMES && !names.contains(name) {
            names.insert(name.to_owned());
        }
    }

    /// How many were dropped for this reason.
    pub fn get(&self, reason: Reason) -> usize {
        self.counts.get(&reason).copied().unwrap_or_default()
    }

    /// Names of what was dropped for this reason, as far as they were kept.
    pub fn names(&self, reason: Reason) -> impl Iterator<Item = &str> {
        self.names.get(&reason).into_iter().flatten().map(String::as_str)
    }

    /// The reasons that occurred.
    pub fn iter(&self) -> impl Iterator<Item = (Reason, usize)> {
        self.counts.iter().map(|(&reason, &count)| (reason, count))
    }

    /// How many were dropped in all.
    pub fn total(&self) -> usize {
        self.counts.values().sum()
    }
}

/// The family that a metric of this name belongs to: the histogram `h` for `h_bucket`, otherwise the name itself.
pub fn family<'n>(name: &'n str, types: &BTreeMap<String, Type>) -> &'n str {
    if types.contains_key(name) {
        return name;
    }
    let of = |suffix: &str, owners: &[Type]| {
        let family = name.strip_suffix(suffix)?;
        types
            .get(family)
            .is_some_and(|owner| owners.contains(owner))
            .then_some(family)
    };
    of("_bucket", &[Type::Histogram])
        .or_else(|| of("_sum", &[Type::Histogram, Type::Summary]))
        .or_else(|| of("_count", &[Type::Histogram, Type::Summary]))
        .unwrap_or(name)
}

/// Keeps one sample a series, the last; the others are dropped for this reason.
pub fn keep_last(samples: &mut Vec<Sample>, dropped: &mut Dropped, reason: Reason) {
    let mut seen = HashSet::with_capacity(samples.len());
    let mut kept = vec![true; samples.len()];
    for (sample, kept) in samples.iter().zip(&mut kept).rev() {
        *kept = seen.insert(sample.series());
        if !*kept {
            dropped.add(reason, 1);
            dropped.name(reason, &sample.name);
        }
    }
    let mut kept = kept.into_iter();
    samples.retain(|_| kept.next().unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_equal_series_is_kept_in_its_place() {
        let labels = Labels::from([("a", "1")]);
        let mut samples = vec![
            Sample::new("x", labels.clone(), 1.0),
            Sample::new("x", Labels::new(), 2.0),
            Sample::new("x", labels.clone(), 3.0),
        ];
        let mut dropped = Dropped::default();
        keep_last(&mut samples, &mut dropped, Reason::Collision);
        assert_eq!(dropped.get(Reason::Collision), 1);
        assert_eq!(
            samples,
            [
                Sample::new("x", Labels::new(), 2.0),
                Sample::new("x", labels, 3.0)
            ]
        );
    }

    #[test]
    fn parts_of_a_histogram_belong_to_it() {
        let types = BTreeMap::from([
            ("h".to_owned(), Type::Histogram),
            ("s".to_owned(), Type::Summary),
            ("s_sum".to_owned(), Type::Gauge),
        ]);
        let families = [
            "h_bucket", "h_sum", "h_count", "s_bucket", "s_sum", "s_count", "g_sum",
        ]
        .map(|name| family(name, &types));
        assert_eq!(families, ["h", "h", "h", "s_bucket", "s_sum", "s", "g_sum"]);
    }
}
