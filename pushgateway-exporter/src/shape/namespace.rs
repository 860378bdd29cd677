//! Owns the finding of the namespace that a driver puts into all its names.
//!
//! A driver's names are `metrics_NAMESPACE_driver_REST`. The namespace is the application's id unless it is
//! configured, and then may hold anything, `_driver_` too; so may the rest. But all names of a page share it.

use std::collections::HashMap;

/// What stands between namespace and rest.
const MARK: &str = "_driver_";
/// How names begin.
const PREFIX: &str = "metrics";
/// In so many places at most a name is cut to see what all have in common.
const MAX_CUTS: usize = 16;
/// How the rest begins for sources that every driver has, or that a query's name follows.
const SOURCES: [&str; 4] = [
    "BlockManager_",
    "DAGScheduler_",
    "LiveListenerBus_",
    "spark_streaming_",
];

/// What all of a driver's names begin with.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Namespace {
    /// Up to and with the mark.
    head: String,
}

#[derive(Default, PartialEq, Eq, PartialOrd, Ord)]
struct Votes {
    names: usize,
    sources: bool,
}

impl Namespace {
    /// The beginning that most of the names share. Of those that as many share, one before a source of Spark's is
    /// taken, and then the last in order, which is the longer of two that begin alike.
    pub(super) fn of<'n>(names: impl Iterator<Item = &'n str>) -> Option<Self> {
        let mut votes = HashMap::<&str, Votes>::new();
        for name in names {
            for cut in cuts(name) {
                let (head, rest) = name.split_at(cut);
                let votes = votes.entry(head).or_default();
                votes.names += 1;
                votes.sources |= SOURCES.iter().any(|source| rest.starts_with(source));
            }
        }
        let (head, _) = votes
            .into_iter()
            .max_by(|(head, votes), (other, others)| (votes, head).cmp(&(others, other)))?;
        Some(Self {
            head: head.to_owned(),
        })
    }

    /// The namespace; empty where there is none.
    pub(super) fn name(&self) -> &str {
        let name = self.head.strip_prefix(PREFIX).unwrap_or_default();
        let name = name.strip_suffix(MARK).unwrap_or_default();
        name.strip_prefix('_').unwrap_or_default()
    }

    /// What follows it in a name that has it.
    pub(super) fn rest<'n>(&self, name: &'n str) -> Option<&'n str> {
        name.strip_prefix(self.head.as_str())
    }
}

/// Where the rest may begin.
fn cuts(name: &str) -> impl Iterator<Item = usize> {
    (PREFIX.len()..name.len())
        .filter(|&place| name.as_bytes()[place..].starts_with(MARK.as_bytes()))
        .map(|place| place + MARK.len())
        .take(MAX_CUTS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace(names: &[&str]) -> String {
        Namespace::of(names.iter().copied())
            .map_or("none".to_owned(), |namespace| namespace.name().to_owned())
    }

    #[test]
    fn all_names_share_the_namespace() {
        let names = [
            "metrics_app_1_driver_jvm_heap_used_Value",
            "metrics_app_1_driver_x_driver_y_Value",
        ];
        assert_eq!(namespace(&names), "app_1");
        assert_eq!(
            namespace(&["metrics_driver_BlockManager_x", "metrics_driver_jvm_x"]),
            ""
        );
        assert_eq!(namespace(&["metrics_master_workers_Value"]), "none");
    }

    #[test]
    fn a_namespace_may_hold_the_mark() {
        let names = [
            "metrics_a_driver_driver_b_driver_BlockManager_x_Value",
            "metrics_a_driver_driver_b_driver_jvm_x_Value",
        ];
        assert_eq!(namespace(&names), "a_driver_driver_b");
        assert_eq!(
            namespace(&[
                "metrics_a_driver_driver_jvm_x",
                "metrics_a_driver_driver_DAGScheduler_x"
            ]),
            "a_driver"
        );
    }

    #[test]
    fn a_query_that_holds_the_mark_is_no_namespace() {
        let names = ["metrics_a_driver_spark_streaming_x_driver_y_latency_Value"];
        assert_eq!(namespace(&names), "a");
    }
}
