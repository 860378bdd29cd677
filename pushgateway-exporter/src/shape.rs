//! Owns what of a page is pushed, and under which names.
//!
//! Names of Spark's that change with each run are made to stay ([`stable`]), and labels that the target has, too, get
//! others ([`labels`]); then names are let through or not, the number of series is kept within its bound ([`limit`]), and
//! types are decided ([`types`]). The law: no foreign metric is changed or lost, and no series stands twice.

mod labels;
mod limit;
mod namespace;
mod stable;
mod types;

use std::collections::BTreeMap;

use regex::RegexSet;

use crate::exposition::{Dropped, Page, Reason, Sample, Type, keep_last};

/// How the names begin of what the exporter says itself.
pub const OWN_PREFIX: &str = "spark_exporter_";

/// How names are made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Rewrite {
    /// Names of Spark's that hold the application's id or namespace are made free of it.
    #[default]
    Stable,
    /// As they are on the page.
    None,
}

/// What is let through.
#[derive(Debug, Clone)]
pub struct Shape {
    /// How names are made.
    pub rewrite: Rewrite,
    /// What the final names that pass look like; none means all. See [`patterns`].
    pub allow: RegexSet,
    /// What the final names that do not pass look like, though they be allowed.
    pub deny: RegexSet,
    /// The greatest number of series.
    pub max_series: usize,
    /// Whether types are written. Where not, all is untyped, and no other group's type can be in the way.
    pub typed: bool,
}

/// What is left of a page.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Shaped {
    /// One sample a series.
    pub samples: Vec<Sample>,
    /// The types that are to be written, by family; the rest is untyped.
    pub types: BTreeMap<String, Type>,
    /// What was dropped in reading the page and in shaping it.
    pub dropped: Dropped,
    /// How many samples were repaired.
    pub repaired: usize,
    /// What was taken out of names and labels because it changes from run to run: `namespace`, `application_id`,
    /// `application_name`.
    pub ids: BTreeMap<String, String>,
}

/// Patterns that a whole name must look like.
///
/// # Errors
/// Where one is no regular expression.
pub fn patterns<P: AsRef<str>>(patterns: impl IntoIterator<Item = P>) -> Result<RegexSet, regex::Error> {
    RegexSet::new(
        patterns
            .into_iter()
            .map(|pattern| format!("^(?:{})$", pattern.as_ref())),
    )
}

impl Shape {
    /// What is left of the page of a target with these labels.
    pub fn apply(&self, page: Page, of_target: &BTreeMap<String, String>) -> Shaped {
        let mut shaped = Shaped {
            samples: page.samples,
            dropped: page.dropped,
            repaired: page.repaired,
            ..Shaped::default()
        };
        if self.rewrite == Rewrite::Stable {
            stable::rewrite(&mut shaped);
        }
        labels::rename(&mut shaped.samples, of_target);
        drop_collisions(&mut shaped);
        let before = shaped.samples.len();
        shaped.samples.retain(|sample| self.passes(&sample.name));
        shaped.dropped.add(Reason::Denied, before - shaped.samples.len());
        limit::keep(
            &mut shaped.samples,
            &page.types,
            self.max_series,
            &mut shaped.dropped,
        );
        shaped.types = types::decide(&shaped.samples, &page.types, self.typed);
        shaped
    }

    fn passes(&self, name: &str) -> bool {
        (self.allow.is_empty() || self.allow.is_match(name)) && !self.deny.is_match(name)
    }
}

/// Of series that are equal now the last is kept, and none whose name is one of the exporter's own: a gateway refuses
/// a push that has a series twice.
fn drop_collisions(Shaped { samples, dropped, .. }: &mut Shaped) {
    samples.retain(|sample| {
        let is_own = sample.name.starts_with(OWN_PREFIX);
        if is_own {
            dropped.add(Reason::Collision, 1);
            dropped.name(Reason::Collision, &sample.name);
        }
        !is_own
    });
    keep_last(samples, dropped, Reason::Collision);
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;
    use crate::exposition::{parse, render};

    fn shape() -> Shape {
        Shape {
            rewrite: Rewrite::Stable,
            allow: RegexSet::empty(),
            deny: RegexSet::empty(),
            max_series: 5000,
            typed: false,
        }
    }

    fn apply(shape: &Shape, page: &str) -> Shaped {
        shape.apply(parse(page.as_bytes()), &BTreeMap::new())
    }

    fn names(shaped: &Shaped) -> String {
        let names: Vec<_> = shaped.samples.iter().map(|sample| sample.name.as_str()).collect();
        names.join(" ")
    }

    #[test]
    fn allowed_names_pass_unless_denied() {
        let mut shape = shape();
        let page = "spark_info 1\nspark_up 1\nx_spark_up 1\n";
        shape.allow = patterns(["spark_.*"]).unwrap();
        assert_eq!(names(&apply(&shape, page)), "spark_info spark_up");
        shape.deny = patterns(["spark_in", ".*_up"]).unwrap();
        let shaped = apply(&shape, page);
        assert_eq!(names(&shaped), "spark_info");
        assert_eq!(shaped.dropped.get(Reason::Denied), 2);
    }

    #[test]
    fn what_is_denied_does_not_count_towards_the_limit() {
        let shape = Shape {
            deny: patterns(["a"]).unwrap(),
            max_series: 1,
            ..shape()
        };
        let shaped = apply(&shape, "a 1\nb 2\nc 3\n");
        assert_eq!(names(&shaped), "b");
        assert_eq!(shaped.dropped.get(Reason::OverLimit), 1);
    }

    #[test]
    fn series_that_are_equal_now_or_have_a_name_of_the_exporters_collide() {
        let page = "metrics_a_driver_x_Value{type=\"gauges\"} 1\nspark_driver_x_Value{kind=\"gauges\"} 2\n\
                    spark_exporter_target_up 7\ny 1\n";
        let shaped = apply(&shape(), page);
        assert_eq!(names(&shaped), "spark_driver_x_Value y");
        assert_eq!(shaped.samples[0].value.to_bits(), 2_f64.to_bits());
        assert_eq!(shaped.dropped.get(Reason::Collision), 2);
        let named: Vec<_> = shaped.dropped.names(Reason::Collision).collect();
        assert_eq!(named, ["spark_driver_x_Value", "spark_exporter_target_up"]);
    }

    #[test]
    fn final_names_are_what_patterns_see() {
        let shape = Shape {
            allow: patterns(["spark_driver_x_Value"]).unwrap(),
            ..shape()
        };
        let page = "metrics_id_driver_x_Value{type=\"gauges\"} 1\n";
        assert_eq!(names(&apply(&shape, page)), "spark_driver_x_Value");
    }

    #[test]
    fn without_rewriting_a_page_passes_as_it_is() {
        let shape = Shape {
            rewrite: Rewrite::None,
            ..shape()
        };
        let body = include_str!("../tests/fixtures/driver-4.3.0.txt");
        let shaped = apply(&shape, body);
        assert_eq!(shaped.samples, parse(body.as_bytes()).samples);
        assert_eq!((shaped.dropped.total(), shaped.ids.len()), (0, 0));
    }

    /// Pages of lines that have much to do with each other.
    fn page() -> impl Strategy<Value = String> {
        let line = prop_oneof![
            "metrics_(a|a_driver_b)_driver_(spark_streaming_)?[xy](_latency)?_(Value|Number|Count)\\{type=\"(gauges|counters)\"\\} [0-9]",
            "metrics_executor_[xy]\\{application_id=\"[ab]\", application_name=\"[ab]\", executor_id=\"[12]\"\\} [0-9]",
            "(spark_driver|spark_executor)_[xy](_Value)?(\\{kind=\"gauges\"\\})? [0-9]",
            "metrics_application_(a|b_1)_179533712053[89]_cores_(Value|Number)\\{type=\"gauges\"\\} [0-9]",
            "[xy](_bucket|_sum)?(\\{le=\"[1x]\"\\})? [0-9]",
            "# TYPE [xy] (histogram|gauge)",
        ];
        prop::collection::vec(line, 0..30).prop_map(|lines| lines.join("\n"))
    }

    proptest! {
        #[test]
        fn every_sample_is_pushed_or_counted_and_no_series_stands_twice(
            page in page(),
            max_series in 0_usize..20,
            typed in any::<bool>(),
        ) {
            let shape = Shape { max_series, typed, ..shape() };
            let read = parse(page.as_bytes());
            let before = read.samples.len() + read.dropped.total();
            let shaped = shape.apply(read, &BTreeMap::new());
            prop_assert!(shaped.samples.len() <= max_series);
            prop_assert_eq!(shaped.samples.len() + shaped.dropped.total(), before);
            let series: HashSet<_> = shaped.samples.iter().map(Sample::series).collect();
            prop_assert_eq!(series.len(), shaped.samples.len());
            let again = parse(render(&shaped.samples, &shaped.types).as_bytes());
            prop_assert_eq!(again.types, shaped.types);
        }

        #[test]
        fn foreign_metrics_are_neither_changed_nor_lost(page in page()) {
            let foreign = |samples: &[Sample]| -> Vec<Sample> {
                samples.iter().filter(|sample| sample.name.starts_with(['x', 'y'])).cloned().collect()
            };
            let read = parse(page.as_bytes());
            prop_assert_eq!(foreign(&read.samples), foreign(&shape().apply(read, &BTreeMap::new()).samples));
        }
    }
}
