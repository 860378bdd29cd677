//! Owns which lines of a page are one statement: an application's name with ends of lines spreads every sample of its
//! page over lines.
//!
//! They are put together where all agree on one name. Where two or more do not, all are dropped: what stands on the
//! lines of a name may look like a sample and be none.

use std::collections::HashMap;
use std::ops::Range;

use super::super::line;
use super::{Application, Record, foot, head, record};

/// So many heads without an end, of another application than the others, are more than one damaged line: the name
/// holds what looks like a head.
const MIN_STRANGE: usize = 2;

/// What is read together: a line, or those over which a sample is spread.
pub(in crate::exposition) struct Statement<'b> {
    /// Its text.
    pub(in crate::exposition) text: &'b [u8],
    /// How many lines it has.
    pub(in crate::exposition) lines: usize,
    /// Whether it may be read.
    pub(in crate::exposition) certainty: Certainty,
}

/// Whether a statement is what it seems.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::exposition) enum Certainty {
    /// It is.
    Certain,
    /// It may be part of a name.
    Doubtful,
}

/// Cuts a page, whose lines are known, into statements.
pub(in crate::exposition) fn statements<'b>(body: &'b [u8], lines: &[Range<usize>]) -> Vec<Statement<'b>> {
    let page = Lines { body, lines };
    let ranges = page.head_to_head();
    let spread = ranges.iter().any(|lines| page.is_spread(lines));
    let regions: Vec<_> = ranges
        .into_iter()
        .map(|lines| page.region(lines, spread))
        .collect();
    let Some(application) = most_common(&regions) else {
        return page.singly(0..lines.len()).collect();
    };
    let strangers = regions.iter().filter(|region| region.is_strange_to(application));
    let doubtful = strangers.count() >= MIN_STRANGE;
    let first = regions.first().map_or(lines.len(), |region| region.lines.start);
    let mut statements: Vec<_> = page.singly(0..first).collect();
    for region in &regions {
        statements.extend(page.of_region(region, doubtful, application));
    }
    statements
}

/// The application that the most records name, the first of several.
fn most_common<'b>(regions: &[Region<'b>]) -> Option<Application<'b>> {
    let mut counts = HashMap::<_, usize>::new();
    let records = || regions.iter().filter_map(|region| region.record.as_ref());
    for record in records() {
        *counts.entry(record.application()).or_default() += 1;
    }
    let most = counts.values().copied().max()?;
    records()
        .map(Record::application)
        .find(|application| counts.get(application) == Some(&most))
}

/// The lines from one head to the next.
struct Region<'b> {
    lines: Range<usize>,
    /// Where its record ends; past its last line if the record may.
    end: usize,
    /// Whether records of this page are spread over lines.
    spread: bool,
    /// The application's id and what follows the beginning of its name on the first line.
    head: Option<Application<'b>>,
    record: Option<Record<'b>>,
}

impl Region<'_> {
    /// Whether it is none of this application, nor of it and cut off or damaged.
    fn is_strange_to(&self, (id, name): Application<'_>) -> bool {
        if let Some(record) = &self.record {
            return self.spread && record.application() != (id, name);
        }
        let is_kin = |(of_id, rest): Application<'_>| {
            let goes_on = rest.strip_prefix(name).is_some_and(|rest| rest.starts_with('"'));
            of_id == id && (goes_on || name.starts_with(rest))
        };
        !self.head.is_some_and(is_kin)
    }

    /// Whether its record may be read: one that is not legal text must name the application that the others name.
    fn is_certain(&self, application: Application<'_>) -> bool {
        match &self.record {
            Some(record) => !(self.spread || record.is_repaired()) || record.application() == application,
            // As a line it will be found malformed; lines of a name that follow must not be read.
            None => !self.spread,
        }
    }
}

/// A page and where its lines are.
#[derive(Clone, Copy)]
struct Lines<'b, 'l> {
    body: &'b [u8],
    lines: &'l [Range<usize>],
}

impl<'b, 'l> Lines<'b, 'l> {
    fn head_to_head(self) -> Vec<Range<usize>> {
        let heads: Vec<usize> = (0..self.lines.len())
            .filter(|&place| self.text(place..place + 1).and_then(head).is_some())
            .collect();
        let ends = heads.iter().copied().skip(1).chain([self.lines.len()]);
        heads
            .iter()
            .copied()
            .zip(ends)
            .map(|(start, end)| start..end)
            .collect()
    }

    /// Whether the record goes on after its first line: the line has no end but a later one has, or a later line is
    /// the end of a record and nothing else.
    fn is_spread(self, lines: &Range<usize>) -> bool {
        let complete = self.text(lines.start..lines.start + 1).and_then(record).is_some();
        let ends_record = |place| {
            let text = self.text(place..place + 1).unwrap_or_default();
            foot(text).is_some() && (!complete || line::read(text).is_err())
        };
        (lines.start + 1..lines.end).any(ends_record)
    }

    fn region(self, lines: Range<usize>, spread: bool) -> Region<'b> {
        let is_foot = |place: &usize| self.text(*place..place + 1).and_then(foot).is_some();
        let last = lines.clone().rev().find(is_foot).filter(|_| spread);
        let record_lines = lines.start..last.unwrap_or(lines.start) + 1;
        let record = self.text(record_lines.clone()).and_then(record);
        let first = self.text(lines.start..lines.start + 1).and_then(head);
        let is_open = spread && record.is_none();
        Region {
            end: if is_open { lines.end } else { record_lines.end },
            spread,
            head: first.map(|(_, application_id, rest)| (application_id, rest)),
            record,
            lines,
        }
    }

    /// A record and what follows it. In doubt only what follows the last record of the page is not part of a name.
    fn of_region(
        self,
        region: &Region<'b>,
        doubtful: bool,
        application: Application<'_>,
    ) -> Vec<Statement<'b>> {
        let is_last = region.lines.end == self.lines.len();
        let end = if doubtful && !is_last {
            region.lines.end
        } else {
            region.end
        };
        let certainty = if doubtful || !region.is_certain(application) {
            Certainty::Doubtful
        } else {
            Certainty::Certain
        };
        let mut statements = vec![self.together(region.lines.start..end, certainty)];
        statements.extend(self.singly(end..region.lines.end));
        statements
    }

    fn text(self, lines: Range<usize>) -> Option<&'b str> {
        str::from_utf8(self.bytes(&lines)).ok()
    }

    fn bytes(self, lines: &Range<usize>) -> &'b [u8] {
        &self.body[self.lines[lines.start].start..self.lines[lines.end - 1].end]
    }

    fn together(self, lines: Range<usize>, certainty: Certainty) -> Statement<'b> {
        Statement {
            text: self.bytes(&lines),
            lines: lines.len(),
            certainty,
        }
    }

    fn singly(self, lines: Range<usize>) -> impl Iterator<Item = Statement<'b>> + use<'b, 'l> {
        lines.map(move |place| self.together(place..place + 1, Certainty::Certain))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::{Labels, Reason, Sample, parse};
    use super::super::tests::{ID, meant, name, page, piece, read};

    #[test]
    fn a_name_over_several_lines_is_put_together() {
        for name in [
            "one\ntwo",
            "\n",
            "one\r\n\n# TYPE a counter\ntwo",
            "x\nfoo 1\ny",
            "x\", executor_id=\"1\"} 5\ny",
        ] {
            let page = read(name);
            assert_eq!(page.samples, meant(name), "{name:?}");
            assert_eq!((page.repaired, page.dropped.total()), (4, 0), "{name:?}");
            assert!(page.types.is_empty(), "{name:?}");
        }
    }

    #[test]
    fn a_name_that_holds_a_head_is_dropped_and_nothing_is_taken_from_it() {
        let head = "metrics_executor_x{application_id=\"z\", application_name=\"";
        let same_id = head.replace('z', ID);
        for name in [
            format!("a\n{head}b"),
            format!("a\n{same_id}b"),
            format!("a\nfoo 1\n{head}b"),
            format!("a\n{head}b\nc"),
            format!("a\", executor_id=\"1\"}} 5\n{head}b\nc"),
        ] {
            let mut page = parse(format!("{}after 1\n", page(&name)).as_bytes());
            assert_eq!(page.samples.pop(), Some(Sample::new("after", Labels::new(), 1.0)));
            assert_eq!(page.samples, meant("")[..1], "{name}");
            let lines = 4 * name.lines().count();
            assert_eq!(page.dropped.get(Reason::Malformed), lines, "{name}");
        }
    }

    #[test]
    fn a_page_cut_short_loses_its_last_sample_alone() {
        for name in ["my app", "q\"uo", "one\ntwo"] {
            let whole = page(name);
            let cut = &whole[..whole.len() - 30];
            assert_eq!(parse(cut.as_bytes()).samples, meant(name)[..4], "{name:?}");
        }
    }

    #[test]
    fn a_page_cut_short_within_a_name_has_no_sample_from_the_name() {
        let whole = page("one\nfoo 1\nbar 2\ntwo");
        let cut = whole.rfind("bar").unwrap();
        assert_eq!(
            parse(&whole.as_bytes()[..cut]).samples,
            meant("one\nfoo 1\nbar 2\ntwo")[..4]
        );
    }

    #[test]
    fn what_stands_beside_the_records_is_read() {
        for name in ["my app", "one\ntwo"] {
            let page = format!("before 1\n{}after{{executor_id=\"1\"}} 2\n", page(name));
            let samples = parse(page.as_bytes()).samples;
            assert_eq!(samples.first().map(|sample| sample.name.as_str()), Some("before"));
            assert_eq!(samples.last().map(|sample| sample.name.as_str()), Some("after"));
            assert_eq!(samples[1..6], meant(name), "{name:?}");
        }
    }

    #[test]
    fn a_line_that_a_stray_end_of_line_broke_is_dropped_alone() {
        let page = page("my app").replacen("my app", "my\n app", 1);
        let page = parse(page.as_bytes());
        assert_eq!(page.samples[1..], meant("my app")[2..]);
        assert_eq!(page.dropped.get(Reason::Malformed), 2);
    }

    proptest! {
        #[test]
        fn a_name_over_lines_is_given_back_or_its_samples_are_dropped(
            name in name(prop_oneof![3 => piece(), 1 => Just("\n"), 1 => Just("\nfoo 1\n")]),
        ) {
            let meant = meant(&name);
            let page = read(&name);
            prop_assert!(page.samples == meant || page.samples == meant[..1], "{:?}", page);
        }
    }
}
