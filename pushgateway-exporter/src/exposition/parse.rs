//! Owns the way from a page's bytes to what it says.

use super::line::{self, Line};
use super::{Page, Reason, keep_last, repair};

/// The greatest number of lines that is read; what follows is counted.
const MAX_LINES: usize = 1_000_000;
/// The longest line that is read.
const MAX_LINE_BYTES: usize = 64 << 10;

/// Reads a page. Any bytes give an answer: what is not legal text, and not known to be Spark's, is dropped and
/// counted. Timestamps and help are left out; of equal series the last is kept.
pub fn parse(body: &[u8]) -> Page {
    let mut page = Page::default();
    let lines = lines(body, &mut page);
    let broken = repair::broken(&lines);
    page.dropped.add(Reason::Malformed, broken.len());
    for (number, line) in lines.iter().enumerate() {
        if broken.contains(&number) {
            continue;
        }
        if let Err(reason) = take(line, &mut page) {
            page.dropped.add(reason, 1);
        }
    }
    keep_last(&mut page.samples, &mut page.dropped, Reason::Duplicate);
    page
}

/// The lines, without their ends.
fn lines<'b>(body: &'b [u8], page: &mut Page) -> Vec<&'b [u8]> {
    // What follows the end of the last line is no line.
    let body = body.strip_suffix(b"\n").unwrap_or(body);
    let mut lines: Vec<&[u8]> = Vec::new();
    for line in body.split(|&byte| byte == b'\n') {
        if lines.len() < MAX_LINES {
            lines.push(line.strip_suffix(b"\r").unwrap_or(line));
        } else {
            page.dropped.add(Reason::OverLimit, 1);
        }
    }
    lines
}

fn take(line: &[u8], page: &mut Page) -> Result<(), Reason> {
    if line.len() > MAX_LINE_BYTES {
        return Err(Reason::Oversized);
    }
    let text = str::from_utf8(line).map_err(|_invalid| Reason::Malformed)?;
    if let Some(record) = repair::record(text) {
        let sample = record.sample()?;
        page.repaired += usize::from(record.is_repaired());
        page.samples.push(sample);
        return Ok(());
    }
    match line::read(text)? {
        Line::Sample(sample) => page.samples.push(sample),
        // The first declaration of a family holds; the format allows no second.
        Line::Type(name, family_type) => {
            page.types.entry(name.to_owned()).or_insert(family_type);
        }
        Line::Nothing => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::super::{Labels, Sample, Type};
    use super::*;

    const PAGES: [&[u8]; 5] = [
        include_bytes!("../../tests/fixtures/driver-4.3.0.txt"),
        include_bytes!("../../tests/fixtures/executors-4.3.0-two-executors.txt"),
        include_bytes!("../../tests/fixtures/driver-3.5.9.txt"),
        include_bytes!("../../tests/fixtures/executors-3.5.9.txt"),
        include_bytes!("../../tests/fixtures/executors-4.3.0.txt"),
    ];

    fn ended_lines(body: &[u8]) -> usize {
        body.split(|&byte| byte == b'\n').count() - 1
    }

    fn only(line: &str) -> Sample {
        let page = parse(line.as_bytes());
        assert_eq!((page.samples.len(), page.dropped.total()), (1, 0), "{line:?}");
        page.samples[0].clone()
    }

    fn reason(line: &[u8]) -> Reason {
        let page = parse(line);
        let reasons: Vec<_> = page.dropped.iter().collect();
        assert_eq!(
            (page.samples.len(), reasons.len()),
            (0, 1),
            "{}",
            line.escape_ascii()
        );
        reasons[0].0
    }

    #[test]
    fn real_pages_are_read_without_loss() {
        for body in PAGES {
            let page = parse(body);
            assert_eq!(page.samples.len(), ended_lines(body));
            assert_eq!((page.dropped.total(), page.repaired), (0, 0));
        }
    }

    #[test]
    fn whatever_is_legal_or_a_mere_slip_is_read() {
        let labels = || Labels::from([("a", "1"), ("b", "2")]);
        for line in [
            "x{a=\"1\",b=\"2\"} 3",
            "x{a=\"1\",b=\"2\"}3\r\n",
            " \tx { a = \"1\" , b\t=\"2\" , }\t3  1700000000000 \n",
            "# HELP x is {not \"a sample\" 1\n\n#\n  # x\nx{b=\"2\",a=\"1\",c=\"\"} +3.0",
        ] {
            assert_eq!(only(line), Sample::new("x", labels(), 3.0), "{line:?}");
        }
        assert_eq!(only("x{} 1"), only("x 1"));
        assert_eq!(only(r#"x{a="q\"\\\n"} 1"#).labels.get("a"), Some("q\"\\\n"));
        assert_eq!(
            only("a:b_9 1.0372492887402175E7").value.to_bits(),
            10_372_492.887_402_175_f64.to_bits()
        );
        assert!(only("x NaN").value.is_nan());
        assert_eq!(only("x -Inf").value.to_bits(), f64::NEG_INFINITY.to_bits());
    }

    #[test]
    fn what_is_no_sample_is_dropped_for_its_reason() {
        for line in [
            "x null",
            "x [] 5",
            "x{a=\"1\"} java.lang.Object@1f",
            "x 1e999",
            "x 1_0",
            "x 0x1p2",
            "Hello world",
        ] {
            assert_eq!(reason(line.as_bytes()), Reason::NotANumber, "{line}");
        }
        for line in [
            "<html>",
            "x",
            "x{a=\"1\"}",
            "x{a=\"1} 1",
            "x{a=\"1\"b=\"2\"} 1",
            "x{a=1} 1",
            "x{,} 1",
            "9x 1",
            "x-y 1",
            "x\"y\" 1",
            "x 1 2 3",
            "x 1 soon",
            r#"x{a="\t"} 1"#,
            "x{a=\"1\",a=\"2\"} 1",
            "x{__name__=\"y\"} 1",
            "x{__a=\"\"} 1",
            "x{a:b=\"1\"} 1",
        ] {
            assert_eq!(reason(line.as_bytes()), Reason::Malformed, "{line}");
        }
        assert_eq!(reason(b"x{a=\"\xff\"} 1"), Reason::Malformed);
    }

    #[test]
    fn what_is_beyond_its_bound_is_dropped() {
        let labels: Vec<_> = (0..65).map(|label| format!("l{label}=\"1\"")).collect();
        for line in [
            format!("x{{a=\"{}\"}} 1", "v".repeat(9000)),
            format!("x{} 1", " ".repeat(MAX_LINE_BYTES)),
            format!("{} 1", "n".repeat(1025)),
            format!("x{{{}}} 1", labels.join(",")),
        ] {
            assert_eq!(reason(line.as_bytes()), Reason::Oversized);
        }
        let page = "x 1\n".repeat(MAX_LINES + 3);
        assert_eq!(parse(page.as_bytes()).dropped.get(Reason::OverLimit), 3);
    }

    #[test]
    fn a_bad_line_costs_no_other_its_place() {
        let page = parse(b"a 1\nb null\nc{ 1\n\xff\nd 2\n");
        let names: Vec<_> = page.samples.iter().map(|sample| sample.name.as_str()).collect();
        assert_eq!(names, ["a", "d"]);
        assert_eq!(
            (
                page.dropped.get(Reason::NotANumber),
                page.dropped.get(Reason::Malformed)
            ),
            (1, 2)
        );
    }

    #[test]
    fn of_equal_series_the_last_is_kept_and_the_others_are_counted() {
        let page = parse(b"x{a=\"1\",b=\"2\"} 1\nx{b=\"2\",a=\"1\"} 2\nx{a=\"1\",b=\"2\",c=\"\"} 3\n");
        assert_eq!(page.samples, [Sample::new("x", [("a", "1"), ("b", "2")], 3.0)]);
        assert_eq!(page.dropped.get(Reason::Duplicate), 2);
        assert_eq!(page.dropped.names(Reason::Duplicate).collect::<Vec<_>>(), ["x"]);
    }

    #[test]
    fn the_first_type_that_a_page_declares_for_a_family_is_kept() {
        let page = parse(
            b"# TYPE x counter\nx 1\n# TYPE x gauge\n#\tTYPE  y HISTOGRAM\r\n# TYPE z enum\n#TYPE w gauge",
        );
        let types: Vec<_> = page.types.iter().map(|(name, of)| (name.as_str(), *of)).collect();
        assert_eq!(types, [("x", Type::Counter), ("y", Type::Histogram)]);
    }

    fn has_no_duplicates(page: &Page) -> bool {
        let series: HashSet<_> = page.samples.iter().map(Sample::series).collect();
        series.len() == page.samples.len()
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_page(body in prop::collection::vec(any::<u8>(), 0..400)) {
            let page = parse(&body);
            let lines = body.split(|&byte| byte == b'\n').count();
            prop_assert!(page.samples.len() + page.dropped.total() <= lines);
        }

        #[test]
        fn a_damaged_page_loses_no_more_samples_than_were_hit(
            page in 0..PAGES.len(),
            mut hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..9),
        ) {
            let mut body = PAGES[page].to_vec();
            // Several damaged lines of the executors' page look like a name that holds lines.
            hits.truncate(if body.starts_with(b"spark_info") { 1 } else { hits.len() });
            let whole = parse(&body).samples.len();
            for (place, byte) in &hits {
                let place = place.index(body.len());
                body[place] = *byte;
            }
            let page = parse(&body);
            // An end of a line that is missing hits two, and so may a name that becomes another's.
            prop_assert!(page.samples.len() + 2 * hits.len() >= whole);
            prop_assert!(has_no_duplicates(&page));
        }

        #[test]
        fn a_page_cut_anywhere_loses_the_cut_line_alone(page in 0..PAGES.len(), cut in any::<prop::sample::Index>()) {
            let body = &PAGES[page][..cut.index(PAGES[page].len())];
            let whole_lines = ended_lines(body);
            prop_assert!(parse(body).samples.len() >= whole_lines);
        }
    }
}
