//! Owns what is known of the executors' page of Spark, whose labels are not escaped.
//!
//! Spark writes `metrics_executor_NAME{application_id="…", application_name="…", executor_id="…"} VALUE` with
//! whatever the application is called, quotes, backslashes and ends of lines included. No released version escapes it.
//! Ids hold no quotes, so on a line of that form the name is all between the first `", application_name="` and the
//! last `", executor_id="`: that is certain whatever the name is. A name with ends of lines breaks every record of its
//! page; [`broken`] finds the lines, which are dropped, because what stands on them may look like a sample and be none.

use std::collections::HashMap;
use std::ops::Range;

use super::{Labels, Reason, Sample, line};

/// How the name of each metric of the page begins.
const PREFIX: &str = "metrics_executor_";
/// What stands before each value of a label.
const APPLICATION_ID: &str = "{application_id=\"";
const APPLICATION_NAME: &str = ", application_name=\"";
const EXECUTOR_ID: &str = "\", executor_id=\"";
/// What stands before the value of the sample.
const END: &str = "\"} ";

/// So many lines that should not be there are not of one damaged line: an end of a line in it makes two of it.
const MIN_SIGNS: usize = 3;

/// A sample of the executors' page.
pub(super) struct Record<'t> {
    name: &'t str,
    application_id: &'t str,
    application_name: &'t str,
    executor_id: &'t str,
    value: &'t str,
}

impl<'t> Record<'t> {
    /// Its sample.
    ///
    /// # Errors
    /// Where its value is no number or a label is too long.
    pub(super) fn sample(&self) -> Result<Sample, Reason> {
        let labels = [
            ("application_id", self.application_id),
            ("application_name", self.application_name),
            ("executor_id", self.executor_id),
        ];
        if labels.iter().any(|(_, value)| line::is_oversized(value)) {
            return Err(Reason::Oversized);
        }
        Ok(Sample::new(
            self.name,
            Labels::from(labels),
            line::number(self.value)?,
        ))
    }

    /// The id and the name of its application.
    fn application(&self) -> (&'t str, &'t str) {
        (self.application_id, self.application_name)
    }

    /// Whether it is not what the text format would take it for.
    pub(super) fn is_repaired(&self) -> bool {
        self.application_name.contains(['"', '\\'])
    }
}

/// The lines of the page's records, if a name with ends of lines has broken them; else none. Such a name leaves lines
/// among the records that are none, or records of more than one application, for each of its records. A line that is
/// merely damaged leaves fewer.
pub(super) fn broken(lines: &[&[u8]]) -> Range<usize> {
    let Some(first) = lines.iter().position(begins) else {
        return 0..0;
    };
    let last_begin = lines.iter().rposition(begins).unwrap_or(first);
    let last_end = lines.iter().rposition(ends).unwrap_or(first);
    let mut others = 0;
    let mut applications = HashMap::<_, usize>::new();
    for line in &lines[first..=last_begin.max(last_end)] {
        match record(text(line)) {
            Some(record) => *applications.entry(record.application()).or_default() += 1,
            // A comment that ends like a record is what follows an end of a line in a name.
            None => others += usize::from(!is_silent(line) || ends(line)),
        }
    }
    let records: usize = applications.values().sum();
    let strangers = records - applications.values().max().copied().unwrap_or_default();
    if others + strangers < MIN_SIGNS {
        return 0..0;
    }
    // Whether the page is cut short within a record.
    let is_open = last_begin > last_end;
    first..if is_open { lines.len() } else { last_end + 1 }
}

fn text<'l>(line: &'l &[u8]) -> &'l str {
    str::from_utf8(line).unwrap_or_default()
}

fn begins(line: &&[u8]) -> bool {
    head(text(line)).is_some()
}

fn ends(line: &&[u8]) -> bool {
    foot(text(line)).is_some()
}

/// Whether a line has no sample whatever it is part of.
fn is_silent(line: &[u8]) -> bool {
    let text = line.trim_ascii_start();
    text.is_empty() || text.starts_with(b"#")
}

/// Reads a line of the executors' page.
pub(super) fn record(text: &str) -> Option<Record<'_>> {
    let (name, application_id, rest) = head(text)?;
    let (application_name, executor_id, value) = foot(rest)?;
    Some(Record {
        name,
        application_id,
        application_name,
        executor_id,
        value,
    })
}

/// How a record begins: its name, the application's id, and the rest.
fn head(text: &str) -> Option<(&str, &str, &str)> {
    if !text.starts_with(PREFIX) {
        return None;
    }
    let (name, rest) = text.split_once(APPLICATION_ID)?;
    let (application_id, rest) = rest.split_once('"')?;
    let rest = rest.strip_prefix(APPLICATION_NAME)?;
    (line::is_metric_name(name) && is_id(application_id)).then_some((name, application_id, rest))
}

/// How a record ends: what stands before, the executor's id, and the value.
fn foot(text: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = text.rsplit_once(EXECUTOR_ID)?;
    let (executor_id, value) = rest.split_once(END)?;
    let is_value = !value.is_empty() && !value.contains(['"', ' ', '\t']);
    (is_id(executor_id) && is_value).then_some((before, executor_id, value))
}

fn is_id(text: &str) -> bool {
    !text.contains(['"', '\\'])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Page, parse};
    use super::*;

    const ID: &str = "app-20261122085951-0000";
    const VALUES: [(&str, &str, &str); 4] = [
        ("metrics_executor_rddBlocks", "driver", "0"),
        (
            "metrics_executor_totalDuration_seconds_total",
            "driver",
            "168.894",
        ),
        ("metrics_executor_rddBlocks", "1", "2"),
        (
            "metrics_executor_totalDuration_seconds_total",
            "1",
            "1.0372492887402175E7",
        ),
    ];

    /// The page as Spark writes it.
    fn page(application: &str) -> String {
        let line = |(name, executor, value)| {
            let application = format!("application_id=\"{ID}\", application_name=\"{application}\"");
            format!("{name}{{{application}, executor_id=\"{executor}\"}} {value}\n")
        };
        let info = "spark_info{version=\"4.3.0\", revision=\"98bc\"} 1.0\n";
        info.to_owned() + &VALUES.map(line).concat()
    }

    /// What it means.
    fn meant(application: &str) -> Vec<Sample> {
        let sample = |(name, executor, value): (&str, &str, &str)| {
            let labels = Labels::from([
                ("application_id", ID),
                ("application_name", application),
                ("executor_id", executor),
            ]);
            Sample::new(name, labels, value.parse().unwrap())
        };
        let info = Labels::from([("version", "4.3.0"), ("revision", "98bc")]);
        [Sample::new("spark_info", info, 1.0)]
            .into_iter()
            .chain(VALUES.map(sample))
            .collect()
    }

    fn read(application: &str) -> Page {
        parse(page(application).as_bytes())
    }

    #[test]
    fn a_name_with_quotes_backslashes_and_what_looks_like_labels_is_given_back() {
        let names = [
            r#"q"uo\te"#,
            r"C:\new",
            r#"a", executor_id="7"#,
            r#"a", executor_id="7"} 5"#,
            r#"a", application_name="b"#,
            r#"", b="c"#,
            "\\",
        ];
        for name in names {
            let page = read(name);
            assert_eq!(page.samples, meant(name), "{name}");
            assert_eq!((page.repaired, page.dropped.total()), (4, 0), "{name}");
        }
    }

    #[test]
    fn a_plain_name_needs_no_repair() {
        assert_eq!(read("my app-1.x").samples, meant("my app-1.x"));
        assert_eq!(read("my app-1.x").repaired, 0);
    }

    #[test]
    fn a_value_that_is_no_number_is_dropped_alone() {
        let page = page("q\"uo").replace("168.894", "null");
        let page = parse(page.as_bytes());
        assert_eq!((page.samples.len(), page.dropped.get(Reason::NotANumber)), (4, 1));
    }

    #[test]
    fn the_records_of_a_name_over_several_lines_are_dropped_and_nothing_is_taken_from_it() {
        let head = "metrics_executor_x{application_id=\"z\", application_name=\"";
        for name in [
            "one\ntwo".to_owned(),
            "\n".to_owned(),
            "one\r\n\n# TYPE a counter\ntwo".to_owned(),
            "x\nfoo 1\ny".to_owned(),
            "x\", executor_id=\"1\"} 5\ny".to_owned(),
            "x\", executor_id=\"1\"} 5\n# y".to_owned(),
            "x\", executor_id=\"1\"} 5\n\n \t# y".to_owned(),
            "x\", executor_id=\"1\"} 5\nfoo 1\ny\", executor_id=\"1\"} 6".to_owned(),
            format!("a\n{head}b"),
            format!("a\n{}b", head.replace('z', ID)),
            format!("a\nfoo 1\n{head}b"),
            format!("a\", executor_id=\"1\"}} 5\n{head}b"),
            format!("a\", executor_id=\"1\"}} 5\n{head}b\nc"),
        ] {
            let page = parse(format!("before 1\n{}after{{executor_id=\"1\"}} 2\n", page(&name)).as_bytes());
            let names: Vec<_> = page.samples.iter().map(|sample| sample.name.as_str()).collect();
            assert_eq!(names, ["before", "spark_info", "after"], "{name:?}");
            let lines = 4 * (name.matches('\n').count() + 1);
            assert_eq!(page.dropped.get(Reason::Malformed), lines, "{name:?}");
            assert!(page.types.is_empty(), "{name:?}");
        }
    }

    #[test]
    fn a_page_cut_short_loses_its_last_sample_alone() {
        for name in ["my app", "q\"uo"] {
            let whole = page(name);
            let cut = &whole[..whole.len() - 30];
            assert_eq!(parse(cut.as_bytes()).samples, meant(name)[..4], "{name:?}");
        }
    }

    #[test]
    fn a_page_cut_short_within_a_name_has_no_sample_from_the_name() {
        let whole = page("one\nfoo 1\nbar 2\ntwo");
        let cut = whole.rfind("bar").unwrap();
        assert_eq!(parse(&whole.as_bytes()[..cut]).samples, meant("")[..1]);
    }

    /// Pieces of which names are made that are as hard to read as can be.
    fn piece() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec![
            "a",
            "7",
            " ",
            "\"",
            "\\",
            "\\n",
            "\r",
            "{",
            "} 5",
            "\"} 5",
            ", ",
            "\", application_name=\"",
            "metrics_executor_x{application_id=\"z\", application_name=\"",
            "# TYPE a counter",
            "é",
        ])
    }

    fn name(pieces: impl Strategy<Value = &'static str>) -> impl Strategy<Value = String> {
        prop::collection::vec(pieces, 0..9).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn every_name_on_one_line_is_given_back(name in name(prop_oneof![4 => piece(), 1 => Just(EXECUTOR_ID)])) {
            prop_assert_eq!(read(&name).samples, meant(&name));
        }

        #[test]
        fn every_name_of_any_characters_on_one_line_is_given_back(name in "[^\n]{0,40}") {
            prop_assert_eq!(read(&name).samples, meant(&name));
        }

        #[test]
        fn of_a_name_over_lines_nothing_is_read(
            name in name(prop_oneof![3 => piece(), 1 => Just("\n"), 1 => Just("\nfoo 1\n"),
                1 => Just("\", executor_id=\"1\"} 5\n# "), 1 => Just(EXECUTOR_ID)]),
        ) {
            let expected = if name.contains('\n') { &meant("")[..1] } else { &meant(&name) };
            prop_assert_eq!(&read(&name).samples, expected);
        }
    }
}
