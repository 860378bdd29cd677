//! Owns which series are refused where there are too many.

use std::collections::{BTreeMap, HashMap};

use crate::exposition::{Sample, Type, family};

/// Keeps whole families, in the order of the page, as long as they fit; a family that does not is refused as a whole,
/// for part of it would give wrong sums. Says how many series were refused.
pub(super) fn keep(samples: &mut Vec<Sample>, types: &BTreeMap<String, Type>, max: usize) -> usize {
    let before = samples.len();
    if before <= max {
        return 0;
    }
    let kept = choose(samples, types, max);
    let mut kept = kept.into_iter();
    samples.retain(|_| kept.next().unwrap_or_default());
    before - samples.len()
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
        let refused = keep(&mut page.samples, &page.types, max);
        let names: Vec<_> = page.samples.iter().map(|sample| sample.name.as_str()).collect();
        (names.join(" "), refused)
    }

    #[test]
    fn families_that_fit_are_kept_and_the_others_refused_as_a_whole() {
        let page = "a{l=\"1\"} 1\nb{l=\"1\"} 1\na{l=\"2\"} 1\nb{l=\"2\"} 1\nb{l=\"3\"} 1\nc 1\n";
        assert_eq!(kept(page, 6), ("a b a b b c".to_owned(), 0));
        assert_eq!(kept(page, 5), ("a b a b b".to_owned(), 1));
        assert_eq!(kept(page, 4), ("a a c".to_owned(), 3));
        assert_eq!(kept(page, 0), (String::new(), 6));
    }

    #[test]
    fn a_histogram_is_one_family() {
        let page = "# TYPE h histogram\na 1\nh_bucket{le=\"+Inf\"} 1\nh_sum 1\nh_count 1\n";
        assert_eq!(kept(page, 3), ("a".to_owned(), 3));
    }
}
