//! Owns the four regular expressions of a tokenizer, and the translation of Python's syntax to PCRE2's.
//!
//! Python takes the first alternative that matches, so an engine that takes the longest is wrong; and the patterns
//! look around, so a finite automaton cannot hold them. PCRE2 does both.

use pcre2::bytes::{Regex, RegexBuilder};

use super::TokenizerTables;
use super::address::Addresses;
use super::bounds::{Anchor, Bounds};
use super::steps;

/// How many steps one match may take. A window is short, so ordinary ones need a few hundred.
const MATCH_LIMIT: u32 = 20_000_000;
/// How deep a match may backtrack, in bytes.
const STACK_LIMIT: usize = 8 << 20;
/// How many bytes an infix is searched in at a time, beside what the pattern sees around them.
const INFIX_STRIDE: usize = 256;
/// The greatest length of a character.
const CHARACTER_BYTES: usize = 4;

/// A pattern that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PatternError {
    /// It is no regular expression.
    #[error("the tokenizer's {name} pattern cannot be compiled")]
    Invalid {
        name: &'static str,
        source: pcre2::Error,
    },
    /// It may look at more of a text than a window.
    #[error("the tokenizer's {name} pattern is not one with a bound: {what}")]
    Unbounded { name: &'static str, what: String },
}

/// A chunk on which a pattern takes more steps than it may.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a part of {length} bytes of the text would take too long to tokenize")]
pub(crate) struct TooComplex {
    length: usize,
}

/// The compiled patterns of a tokenizer.
///
/// None is ever given a whole chunk, whose length nobody bounds, and which PCRE2 would check for valid UTF-8 at each
/// call: a window of it gives the same answer. Within a window stands all that an alternative can match or look at
/// ([`Bounds`]), so it matches there if it matches in the chunk. The one that has no bound is a run of full stops, at
/// least two; its first two are in the window, and where the match ends at the window's edge, which no other can
/// reach, it goes on as far as the stops do.
pub(super) struct Patterns {
    prefix: Windowed,
    suffix: Windowed,
    infix: Windowed,
    addresses: Addresses,
}

/// A pattern with what it can see, in bytes.
struct Windowed {
    regex: Regex,
    /// To the left of where a match begins.
    behind: usize,
    /// To the right; and one character more, so that only a run of full stops comes to the end of it.
    length: usize,
}

impl Windowed {
    fn new(name: &'static str, pattern: &str, anchor: Anchor) -> Result<Self, PatternError> {
        // First, since PCRE2 limits how deep groups may be nested, and what reads the bounds does not.
        let regex = compile(name, pattern)?;
        let bounds = Bounds::of(pattern, anchor).map_err(|what| PatternError::Unbounded { name, what })?;
        Ok(Self {
            regex,
            behind: bounds.behind * CHARACTER_BYTES,
            length: (bounds.length + 1) * CHARACTER_BYTES,
        })
    }
}

impl Patterns {
    pub(super) fn new(tables: &TokenizerTables) -> Result<Self, PatternError> {
        Ok(Self {
            prefix: Windowed::new("prefix", &tables.prefix, Anchor::Start)?,
            suffix: Windowed::new("suffix", &tables.suffix, Anchor::End)?,
            infix: Windowed::new("infix", &tables.infix, Anchor::Nowhere)?,
            addresses: Addresses::new(&tables.url)?,
        })
    }

    /// The length of the prefix of `chunk`, 0 if it has none.
    pub(super) fn prefix(&self, chunk: &str) -> Result<usize, TooComplex> {
        let window = &chunk[..chunk.floor_char_boundary(self.prefix.length)];
        let length = find(&self.prefix.regex, window, 0)?.map_or(0, |(_, end)| end);
        Ok(if length == window.len() {
            length + stops_after(&chunk[length..])
        } else {
            length
        })
    }

    /// The length of the suffix of `chunk`, 0 if it has none: of the longest match that reaches the end.
    pub(super) fn suffix(&self, chunk: &str) -> Result<usize, TooComplex> {
        // Rounded up, a begin leaves three bytes less: still more than what has a bound can match.
        let from = chunk.ceil_char_boundary(chunk.len().saturating_sub(self.suffix.length));
        let begin = chunk.floor_char_boundary(from.saturating_sub(self.suffix.behind));
        let Some((start, _)) = find(&self.suffix.regex, &chunk[begin..], from - begin)? else {
            return Ok(0);
        };
        let start = begin + start;
        Ok(if start == from {
            chunk.len() - start + stops_before(&chunk[..start])
        } else {
            chunk.len() - start
        })
    }

    /// Whether `chunk` is a web or mail address.
    pub(super) fn is_url(&self, chunk: &str) -> Result<bool, TooComplex> {
        self.addresses.matches(chunk)
    }

    /// The first infix of `chunk` that begins at `from` or behind it, if there is one.
    pub(super) fn infix(&self, chunk: &str, mut from: usize) -> Result<Option<(usize, usize)>, TooComplex> {
        let Windowed {
            regex,
            behind,
            length,
        } = &self.infix;
        loop {
            let begin = chunk.floor_char_boundary(from.saturating_sub(*behind));
            let end = chunk.floor_char_boundary(from + INFIX_STRIDE + length);
            // What begins at `known` or behind it may go on behind the window.
            let known = if end == chunk.len() {
                end + 1
            } else {
                chunk.floor_char_boundary(from + INFIX_STRIDE)
            };
            match find(regex, &chunk[begin..end], from - begin)? {
                Some((start, stop)) if begin + start < known => {
                    let stop = begin + stop;
                    let more = if stop == end {
                        stops_after(&chunk[end..])
                    } else {
                        0
                    };
                    return Ok(Some((begin + start, stop + more)));
                }
                _ if known > chunk.len() => return Ok(None),
                _ => from = known,
            }
        }
    }
}

/// The length of the run of full stops at the start of `text`.
fn stops_after(text: &str) -> usize {
    let length = text.len() - text.trim_start_matches('.').len();
    steps::count(length);
    length
}

/// The length of the run of full stops at the end of `text`.
fn stops_before(text: &str) -> usize {
    let length = text.len() - text.trim_end_matches('.').len();
    steps::count(length);
    length
}

/// The first match in `window` that begins at `from` or behind it.
pub(super) fn find(regex: &Regex, window: &str, from: usize) -> Result<Option<(usize, usize)>, TooComplex> {
    steps::count(window.len());
    match regex.find_at(window.as_bytes(), from) {
        Ok(found) => Ok(found.map(|found| (found.start(), found.end()))),
        // The only errors of a match over valid UTF-8 are its limits.
        Err(_) => Err(TooComplex { length: window.len() }),
    }
}

pub(super) fn compile(name: &'static str, python: &str) -> Result<Regex, PatternError> {
    let pattern = format!("(*LIMIT_MATCH={MATCH_LIMIT}){}", pcre2_syntax(python));
    RegexBuilder::new()
        .utf(true)
        .jit_if_available(true)
        .max_jit_stack_size(Some(STACK_LIMIT))
        .build(&pattern)
        .map_err(|source| PatternError::Invalid { name, source })
}

/// The pattern in PCRE2's syntax. Classes are written out, since what `\w` means changes with PCRE2's version, and
/// `\S` is any character, since a chunk has no white space by Python's definition.
fn pcre2_syntax(python: &str) -> String {
    let python = python.strip_prefix("(?u)").unwrap_or(python);
    let mut out = String::with_capacity(python.len() * 2);
    let mut in_class = false;
    let mut characters = python.chars();
    while let Some(character) = characters.next() {
        if character == '\\' {
            match (characters.next(), in_class) {
                (Some(kind @ ('u' | 'U')), _) => {
                    let digits = if kind == 'u' { 4 } else { 8 };
                    let code: String = characters.by_ref().take(digits).collect();
                    out.extend(["\\x{", &code, "}"]);
                }
                (Some('w'), true) => out.push_str(r"\p{L}\p{N}_"),
                (Some('w'), false) => out.push_str(r"[\p{L}\p{N}_]"),
                (Some('d'), _) => out.push_str(r"\p{Nd}"),
                (Some('S'), false) => out.push_str("(?s:.)"),
                (Some(other), _) => out.extend(['\\', other]),
                (None, _) => out.push('\\'),
            }
        } else {
            in_class = match character {
                '[' => true,
                ']' => false,
                _ => in_class,
            };
            out.push(character);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::address::test_url;
    use super::*;

    fn patterns() -> Patterns {
        Patterns::new(&TokenizerTables {
            prefix: r"^\(|^\$|^\.\.+|^\+(?![0-9])|^US\$".into(),
            suffix: r"\)$|(?<=[0-9])(?:%|km\u00b2)$|\.\.+$|'s$".into(),
            infix: r"(?<=[a-z])-(?=[a-z])|\.\.+|\u2026".into(),
            url: test_url("[a-z]"),
            exceptions: std::collections::BTreeMap::default(),
        })
        .unwrap()
    }

    #[test]
    fn pythons_escapes_become_pcre2s() {
        assert_eq!(
            pcre2_syntax(r"(?u)[\w\-]\u00e9\U0001F600\d\S\."),
            r"[\p{L}\p{N}_\-]\x{00e9}\x{0001F600}\p{Nd}(?s:.)\."
        );
    }

    #[test]
    fn a_suffix_is_the_leftmost_that_reaches_the_end() {
        let patterns = patterns();
        assert_eq!(patterns.suffix("5%"), Ok(1));
        assert_eq!(patterns.suffix("a%"), Ok(0), "the character before decides");
        for count in 2..600 {
            let stops = ".".repeat(count);
            assert_eq!(
                patterns.suffix(&format!("aé{stops}")),
                Ok(count),
                "a run of stops is one suffix"
            );
            assert_eq!(patterns.suffix(&format!("aé{stops})")), Ok(1));
        }
    }

    /// Whatever stands before them, so wherever the window begins.
    #[test]
    fn windows_do_not_change_what_is_found() {
        let patterns = patterns();
        for before in 0..600 {
            for filling in ["a", "é", "😀", "."] {
                let filling = filling.repeat(before);
                let infix = |text: &str| patterns.infix(&format!("{filling}{text}"), filling.len());
                let here = |start, end| Ok(Some((filling.len() + start, filling.len() + end)));
                assert_eq!(patterns.suffix(&format!("{filling}é5km²")), Ok(4));
                assert_eq!(infix("xa-b-c"), here(2, 3));
                assert_eq!(infix("é..é"), here(2, 4));
                assert_eq!(
                    infix(&format!("é{}…", ".".repeat(before + 2))),
                    here(2, before + 4)
                );
                let found = patterns.infix(&format!("é{filling}é…"), 0);
                let start = filling.len() + 4;
                let expected = if filling.starts_with("..") {
                    (2, start - 2)
                } else {
                    (start, start + 3)
                };
                assert_eq!(found, Ok(Some(expected)), "{before}");
            }
        }
        assert_eq!(patterns.infix(&"a".repeat(5_000), 0), Ok(None));
    }

    #[test]
    fn a_prefix_may_be_a_run_of_stops() {
        let patterns = patterns();
        for count in 2..600 {
            let stops = ".".repeat(count);
            assert_eq!(patterns.prefix(&format!("{stops}a")), Ok(count));
            assert_eq!(patterns.prefix(&stops), Ok(count));
        }
        assert_eq!(patterns.prefix("+a"), Ok(1));
        assert_eq!(patterns.prefix("+1"), Ok(0), "the character behind decides");
    }

    #[test]
    fn an_address_may_hold_number_letters() {
        assert_eq!(
            patterns().is_url("x²://é.de"),
            Ok(true),
            "Python's \\w holds ², PCRE2's would not"
        );
    }

    #[test]
    fn a_pattern_without_a_bound_is_refused_by_its_name() {
        let none = || "(?!)".to_owned();
        let tables = |suffix: &str| TokenizerTables {
            prefix: "^a".to_owned(),
            suffix: suffix.to_owned(),
            infix: none(),
            url: test_url("[a-z]"),
            exceptions: std::collections::BTreeMap::default(),
        };
        assert!(Patterns::new(&tables(r"\.\.+$")).is_ok());
        let error = Patterns::new(&tables("a$|[0-9]+$")).err().unwrap().to_string();
        assert!(
            error.contains("suffix") && error.contains("without a limit"),
            "{error}"
        );
    }
}
