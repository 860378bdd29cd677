//! Owns which types are written.
//!
//! A gateway refuses a whole push where a name has another type than it has in any other group or among the gateway's
//! own metrics. With no types at all, no two groups disagree; only the names that the gateway has itself keep theirs.

use std::collections::{BTreeMap, BTreeSet};

use super::stable;
use crate::exposition::{Sample, Type, family};

/// Names that the gateway has itself, as have all programs of its kind: untyped, they would not agree with its own.
const SHARED: [&str; 3] = ["process_", "go_", "promhttp_"];
/// What the names of a histogram's and a summary's parts end with.
const PARTS: [&str; 3] = ["_bucket", "_sum", "_count"];

/// The types to write, by family. What is not in it is untyped.
pub(super) fn decide(
    samples: &[Sample],
    declared: &BTreeMap<String, Type>,
    typed: bool,
) -> BTreeMap<String, Type> {
    let mut decided = BTreeMap::new();
    let mut unfit = BTreeSet::new();
    for sample in samples {
        let family = family(&sample.name, declared);
        let of_page = declared.get(family).copied();
        if of_page.is_some_and(|family_type| !fits(sample, family, family_type)) {
            unfit.insert(family);
        }
        let shared = SHARED.iter().any(|prefix| family.starts_with(prefix));
        let by_table = (typed && of_page.is_none()).then(|| by_name(family));
        if let Some(family_type) = of_page.filter(|_| typed || shared).or(by_table) {
            decided.entry(family).or_insert(family_type);
        }
    }
    unfit.extend(colliding(&decided, samples, declared));
    decided.retain(|family, _| !unfit.contains(family));
    decided
        .into_iter()
        .map(|(family, family_type)| (family.to_owned(), family_type))
        .collect()
}

/// What a metric is whose type nobody declared.
fn by_name(name: &str) -> Type {
    // The rates of streaming queries are called totals and are not.
    let is_rate = name
        .strip_prefix("spark_streaming_")
        .is_some_and(|metric| stable::STREAMING.contains(&metric));
    if name.ends_with("_total") && !is_rate {
        Type::Counter
    } else {
        Type::Gauge
    }
}

/// Whether a sample may be part of a family of this type. A page that declares a histogram and writes something else
/// would be refused.
fn fits(sample: &Sample, family: &str, family_type: Type) -> bool {
    let part = sample.name.strip_prefix(family).unwrap_or_default();
    let bound = |label| sample.labels.get(label).map(|bound| bound.parse::<f64>().is_ok());
    match (family_type, part) {
        (Type::Histogram, "_bucket") => bound("le") == Some(true),
        (Type::Histogram, _) => !part.is_empty() && bound("le").is_none(),
        (Type::Summary, "") => bound("quantile") == Some(true),
        (Type::Summary, _) => bound("quantile").is_none(),
        _ => true,
    }
}

/// Histograms and summaries beside which another family has the name of a part.
fn colliding<'n>(
    types: &BTreeMap<&'n str, Type>,
    samples: &[Sample],
    declared: &BTreeMap<String, Type>,
) -> Vec<&'n str> {
    let has_parts = |family_type| matches!(family_type, Type::Histogram | Type::Summary);
    let families: BTreeSet<&str> = samples
        .iter()
        .map(|sample| family(&sample.name, declared))
        .collect();
    types
        .iter()
        .filter(|&(family, &family_type)| {
            has_parts(family_type)
                && PARTS
                    .iter()
                    .any(|part| families.contains(format!("{family}{part}").as_str()))
        })
        .map(|(&family, _)| family)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::parse;

    fn decided(page: &str, typed: bool) -> String {
        let page = parse(page.as_bytes());
        let lines: Vec<_> = decide(&page.samples, &page.types, typed)
            .iter()
            .map(|(name, of)| format!("{name} {}", of.as_str()))
            .collect();
        lines.join(", ")
    }

    #[test]
    fn names_that_the_gateway_has_too_keep_their_types() {
        let page =
            "# TYPE process_open_fds gauge\nprocess_open_fds 1\n# TYPE x counter\nx 1\ngo_goroutines 1\n";
        assert_eq!(decided(page, false), "process_open_fds gauge");
    }

    #[test]
    fn types_are_the_pages_own_or_follow_from_names() {
        let page = r#"
            # TYPE h histogram
            h_bucket{le="+Inf"} 1
            h_sum 1
            # TYPE s summary
            s{quantile="0.5"} 1
            s_count 1
            # TYPE odd_total gauge
            odd_total 1
            # TYPE nothing counter
            spark_executor_failedTasks_total{executor_id="1"} 0
            spark_streaming_inputRate_total{query="q"} 5
            spark_driver_jvm_heap_used_Value{kind="gauges"} 5
        "#;
        insta::assert_snapshot!(
            decided(page, true),
            @"h histogram, odd_total gauge, s summary, spark_driver_jvm_heap_used_Value gauge, spark_executor_failedTasks_total counter, spark_streaming_inputRate_total gauge"
        );
        assert_eq!(decided(page, false), "");
    }

    #[test]
    fn a_histogram_that_a_gateway_would_refuse_or_lose_is_untyped() {
        for page in [
            "# TYPE h histogram\nh_bucket{le=\"x\"} 1\n",
            "# TYPE h histogram\nh_bucket 1\n",
            "# TYPE h histogram\nh 1\n",
            "# TYPE h histogram\nh_sum{le=\"1\"} 1\n",
            "# TYPE h summary\nh{quantile=\"x\"} 1\n",
            "# TYPE h summary\nh 1\n",
            "# TYPE h summary\nh_sum{quantile=\"1\"} 1\n",
        ] {
            assert_eq!(decided(page, true), "", "{page}");
        }
        let beside = "# TYPE h histogram\nh_bucket{le=\"1\"} 1\n# TYPE h_count gauge\nh_count 2\n";
        assert_eq!(decided(beside, true), "h_count gauge");
    }
}
