//! Reads any bytes as a page, shapes it, writes it and reads it again.
#![no_main]

use std::collections::{BTreeMap, HashSet};

use libfuzzer_sys::fuzz_target;
use pushgateway_exporter::exposition::{Sample, parse, render};
use pushgateway_exporter::shape::{Rewrite, Shape, Shaped};
use regex::RegexSet;

/// So few that some pages have more.
const MAX_SERIES: usize = 100;

fuzz_target!(|body: &[u8]| {
    let page = parse(body);
    let read = page.samples.len() + page.dropped.total();
    let lines = body.split(|&byte| byte == b'\n').count();
    assert!(read <= lines);
    assert_distinct(&page.samples);
    let text = render(&page.samples, &page.types);
    let again = parse(text.as_bytes());
    assert_eq!((again.dropped.total(), again.repaired), (0, 0));
    assert_eq!(render(&again.samples, &again.types), text);

    let of_target = BTreeMap::from([("a".to_owned(), "1".to_owned())]);
    let shaped = shape().apply(page, &of_target);
    assert_eq!(shaped.samples.len() + shaped.dropped.total(), read);
    assert_pushable(&shaped);
});

fn shape() -> Shape {
    Shape {
        rewrite: Rewrite::Stable,
        allow: RegexSet::empty(),
        deny: RegexSet::empty(),
        max_series: MAX_SERIES,
        typed: true,
    }
}

fn assert_pushable(shaped: &Shaped) {
    assert!(shaped.samples.len() <= MAX_SERIES);
    assert_distinct(&shaped.samples);
    let again = parse(render(&shaped.samples, &shaped.types).as_bytes());
    assert_eq!(again.samples.len(), shaped.samples.len());
    assert_eq!(again.types, shaped.types);
}

fn assert_distinct(samples: &[Sample]) {
    let series: HashSet<_> = samples.iter().map(Sample::series).collect();
    assert_eq!(series.len(), samples.len());
}
