//! Owns which series are dropped if there are too many.

use std::collections::{BTreeMap, HashMap};

use crate::exposition::{Dropped, Reason, Sample, Type, family};

/// Keeps whole families, in the order of the page, as long as they fit; a family that does not is dropped as a whole,
/// for part of it would give wrong sums.
pub(super) fn keep(
    samples: &mut Vec<Sample>,
    types: &BTreeMap<String, Type>,
    max: usize,
    dropped: &mut Dropped,
) {
    if samples.len() <= max {
        return;
    }
    let mut kept = choose(samples, types, max).into_iter();
    samples.retain(|sample| {
        let is_kept = kept.next().unwrap_or_default();
        if !is_kept {
            dropped.add(Reason::OverLimit, 1);
            dropped.name(Reason::OverLimit, family(&sample.name, types));
        }
        is_kept
    });
}

/// For each sample, whether it is kept.
fn choose(samples: &[Sample], types: &BTreeMap<String, Type>, max: usize) -> Vec<bool> {
    let mut sizes = HashMap::<&str, usize>::new();
    for sample in samples {
        *sizes.entry(family(&sample.name, types)).or_default() += 1;
    }
    let mut room = max;
    let mut fits = HashMap::<&str, bool>::new();
    let mut kept = Vec::with_capacity(samples.len());
    for sample in samples {
        let family = family(&sample.name, types);
        let size = sizes.get(family).copied().unwrap_or_default();
        kept.push(*fits.entry(family).or_insert_with(|| {
            let fits = size <= room;
            room -= if fits { size } else { 0 };
            fits
        }));
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::parse;

    fn kept(page: &str, max: usize) -> (String, usize) {
        let mut page = parse(page.as_bytes());
        let mut dropped = Dropped::default();
        keep(&mut page.samples, &page.types, max, &mut dropped);
        let names: Vec<_> = page.samples.iter().map(|sample| sample.name.as_str()).collect();
        (names.join(" "), dropped.get(Reason::OverLimit))
    }

    #[test]
    fn families_that_fit_are_kept_and_the_others_dropped_as_a_whole() {
        let page = "a{l=\"1\"} 1\nb{l=\"1\"} 1\na{l=\"2\"} 1\nb{l=\"2\"} 1\nb{l=\"3\"} 1\nc 1\n";
        assert_eq!(kept(page, 6), ("a b a b b c".to_owned(), 0));
        assert_eq!(kept(page, 5), ("a b a b b".to_owned(), 1));
        assert_eq!(kept(page, 4), ("a a c".to_owned(), 3));
        assert_eq!(kept(page, 0), (String::new(), 6));
    }

    #[test]
    fn the_first_names_of_what_is_dropped_are_kept() {
        let lines = (0..9).map(|number| format!("x{number} 1\nx{number}{{l=\"1\"}} 1\n"));
        let text = lines.collect::<Vec<_>>().concat();
        let mut page = parse(text.as_bytes());
        let mut dropped = Dropped::default();
        keep(&mut page.samples, &page.types, 4, &mut dropped);
        let names: Vec<_> = dropped.names(Reason::OverLimit).collect();
        assert_eq!(names, ["x2", "x3", "x4", "x5", "x6"]);
    }

    #[test]
    fn a_histogram_is_one_family() {
        let page = "# TYPE h histogram\na 1\nh_bucket{le=\"+Inf\"} 1\nh_sum 1\nh_count 1\n";
        assert_eq!(kept(page, 3), ("a".to_owned(), 3));
    }
}
