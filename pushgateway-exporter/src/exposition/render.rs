//! Owns how samples are written as text.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Write};

use super::{Sample, Type, family};

/// From here on, and below its inverse, a number is shorter with an exponent.
const GREAT: f64 = 1e17;
/// Below this a number is shorter with an exponent.
const SMALL: f64 = 1e-5;

/// Writes samples as a page. Families stand together, in the order of their first samples, each after its type where
/// it has one. No samples are an empty page.
pub fn render(samples: &[Sample], types: &BTreeMap<String, Type>) -> String {
    let mut page = String::new();
    let mut current = None;
    for (family, sample) in by_family(samples, types) {
        if current != Some(family) {
            current = Some(family);
            if let Some(family_type) = types.get(family) {
                page.extend(["# TYPE ", family, " ", family_type.as_str(), "\n"]);
            }
        }
        write_sample(&mut page, sample);
    }
    page
}

fn by_family<'s>(samples: &'s [Sample], types: &BTreeMap<String, Type>) -> Vec<(&'s str, &'s Sample)> {
    let mut order = HashMap::new();
    let mut placed: Vec<(usize, &str, &Sample)> = samples
        .iter()
        .map(|sample| {
            let family = family(&sample.name, types);
            let next = order.len();
            (*order.entry(family).or_insert(next), family, sample)
        })
        .collect();
    placed.sort_by_key(|&(place, ..)| place);
    placed
        .into_iter()
        .map(|(_, family, sample)| (family, sample))
        .collect()
}

fn write_sample(page: &mut String, sample: &Sample) {
    page.push_str(&sample.name);
    let mut separator = '{';
    for (name, value) in sample.labels.iter() {
        page.push(separator);
        page.push_str(name);
        page.push_str("=\"");
        write_escaped(page, value);
        page.push('"');
        separator = ',';
    }
    if !sample.labels.is_empty() {
        page.push('}');
    }
    // Writing to a string never fails.
    let _: fmt::Result = writeln!(page, " {}", Number(sample.value));
}

fn write_escaped(page: &mut String, value: &str) {
    for character in value.chars() {
        match character {
            '\\' => page.push_str("\\\\"),
            '"' => page.push_str("\\\""),
            '\n' => page.push_str("\\n"),
            _ => page.push(character),
        }
    }
}

/// A number in the shortest form that is read as the same number.
struct Number(f64);

impl fmt::Display for Number {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(value) = *self;
        let size = value.abs();
        if value.is_nan() {
            formatter.write_str("NaN")
        } else if value.is_infinite() {
            formatter.write_str(if value > 0.0 { "+Inf" } else { "-Inf" })
        } else if size >= GREAT || (size < SMALL && size > 0.0) {
            write!(formatter, "{value:e}")
        } else {
            write!(formatter, "{value}")
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Dropped, Labels, Reason, keep_last, parse};
    use super::*;

    #[test]
    fn families_stand_together_after_their_types() {
        let types = BTreeMap::from([
            ("h".to_owned(), Type::Histogram),
            ("none".to_owned(), Type::Gauge),
        ]);
        let samples = [
            Sample::new("h_bucket", [("le", "+Inf")], 2.0),
            Sample::new("g", [("b", "2"), ("a", "1")], 0.5),
            Sample::new("h_count", Labels::new(), 2.0),
        ];
        insta::assert_snapshot!(render(&samples, &types), @r#"
        # TYPE h histogram
        h_bucket{le="+Inf"} 2
        h_count 2
        g{a="1",b="2"} 0.5
        "#);
    }

    #[test]
    fn numbers_are_written_as_prometheus_reads_them() {
        let numbers = [
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            -0.0,
            1.037_249_288_740_217_5E7,
            1e300,
            f64::MIN_POSITIVE,
            1_795_337_280_790.0,
            0.1 + 0.2,
        ];
        let written = numbers.map(|number| Number(number).to_string());
        insta::assert_snapshot!(
            written.join(" "),
            @"NaN +Inf -Inf -0 10372492.887402175 1e300 2.2250738585072014e-308 1795337280790 0.30000000000000004"
        );
    }

    #[test]
    fn no_samples_are_an_empty_page() {
        assert_eq!(render(&[], &BTreeMap::from([("a".to_owned(), Type::Gauge)])), "");
    }

    fn sample() -> impl Strategy<Value = Sample> {
        let value = prop_oneof![any::<String>(), "[\"\\\\\n\r\t#{}, a]{0,6}"];
        let labels = prop::collection::btree_map("[a-zA-Z][a-zA-Z0-9_]{0,3}", value, 0..4);
        let name = prop_oneof![
            "[a-zA-Z_:][a-zA-Z0-9_:]{0,8}",
            prop::sample::select(vec!["h", "h_bucket", "h_sum", "h_count"]).prop_map(str::to_owned),
            Just("metrics_executor_x".to_owned()),
        ];
        (name, labels, prop::num::f64::ANY).prop_map(|(name, labels, value)| Sample {
            name,
            labels: labels.into_iter().collect(),
            value,
        })
    }

    /// Samples in an order of their own, a NaN being like any other.
    fn sorted(samples: &[Sample]) -> Vec<(&str, &Labels, String)> {
        let mut samples: Vec<_> = samples
            .iter()
            .map(|sample| {
                (
                    sample.name.as_str(),
                    &sample.labels,
                    Number(sample.value).to_string(),
                )
            })
            .collect();
        samples.sort();
        samples
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_the_same(
            mut samples in prop::collection::vec(sample(), 0..12),
            typed in any::<bool>(),
        ) {
            keep_last(&mut samples, &mut Dropped::default(), Reason::Duplicate);
            let types = BTreeMap::from([("h".to_owned(), Type::Histogram)]);
            let types = if typed { types } else { BTreeMap::new() };
            let text = render(&samples, &types);
            let page = parse(text.as_bytes());
            prop_assert_eq!(sorted(&page.samples), sorted(&samples));
            prop_assert_eq!((page.dropped.total(), page.repaired), (0, 0));
            prop_assert_eq!(render(&page.samples, &page.types), text);
        }

        #[test]
        fn a_number_is_read_as_the_same(value in prop::num::f64::ANY) {
            let read: f64 = Number(value).to_string().parse().unwrap();
            prop_assert!(read.to_bits() == value.to_bits() || (read.is_nan() && value.is_nan()));
        }
    }
}
