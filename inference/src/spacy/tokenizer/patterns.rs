//! Owns the four regular expressions of a tokenizer, and the translation of Python's syntax to PCRE2's.
//!
//! Python takes the first alternative that matches, so an engine that takes the longest is wrong; and the patterns
//! look around, so a finite automaton cannot hold them. PCRE2 does both.

use pcre2::bytes::{Regex, RegexBuilder};

use super::TokenizerTables;

/// How many steps one match may take. Ordinary chunks need a few hundred; the addresses in `url` can need a number
/// that grows with the square of a chunk without spaces.
const MATCH_LIMIT: u32 = 20_000_000;
/// How deep a match may backtrack, in bytes.
const STACK_LIMIT: usize = 8 << 20;
/// No suffix but a run of full stops is longer than this, in bytes; a search may begin this far from the end.
const SUFFIX_WINDOW: usize = 256;

/// A pattern that cannot be compiled.
#[derive(Debug, thiserror::Error)]
#[error("the tokenizer's {name} pattern cannot be used")]
pub(crate) struct PatternError {
    name: &'static str,
    source: pcre2::Error,
}

/// A chunk on which a pattern takes more steps than it may.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the text has a run of {length} bytes without white space that would take too long to tokenize")]
pub(crate) struct TooComplex {
    length: usize,
}

/// The compiled patterns of a tokenizer.
pub(super) struct Patterns {
    prefix: Regex,
    suffix: Regex,
    infix: Regex,
    url: Regex,
}

impl Patterns {
    pub(super) fn new(tables: &TokenizerTables) -> Result<Self, PatternError> {
        Ok(Self {
            prefix: compile("prefix", &tables.prefix)?,
            suffix: compile("suffix", &tables.suffix)?,
            infix: compile("infix", &tables.infix)?,
            url: compile("url", &tables.url)?,
        })
    }

    /// The length of the prefix of `chunk`, 0 if it has none.
    pub(super) fn prefix(&self, chunk: &str) -> Result<usize, TooComplex> {
        find(&self.prefix, chunk, 0).map(|range| range.map_or(0, |(start, end)| end - start))
    }

    /// The length of the suffix of `chunk`, 0 if it has none.
    ///
    /// A search from the left finds the longest match that reaches the end, in time that grows with the chunk; it is
    /// begun where the longest possible suffix would begin, which gives the same answer.
    pub(super) fn suffix(&self, chunk: &str) -> Result<usize, TooComplex> {
        let before_stops = chunk.trim_end_matches('.').len();
        let start = chunk.floor_char_boundary(before_stops.saturating_sub(SUFFIX_WINDOW));
        find(&self.suffix, chunk, start).map(|range| range.map_or(0, |(start, end)| end - start))
    }

    /// Whether `chunk` is a web or mail address.
    pub(super) fn is_url(&self, chunk: &str) -> Result<bool, TooComplex> {
        find(&self.url, chunk, 0).map(|range| range.is_some())
    }

    /// The first infix of `chunk` that ends behind `from`, if there is one.
    pub(super) fn infix(&self, chunk: &str, from: usize) -> Result<Option<(usize, usize)>, TooComplex> {
        find(&self.infix, chunk, from)
    }
}

fn find(regex: &Regex, chunk: &str, from: usize) -> Result<Option<(usize, usize)>, TooComplex> {
    match regex.find_at(chunk.as_bytes(), from) {
        Ok(found) => Ok(found.map(|found| (found.start(), found.end()))),
        // The only errors of a match over valid UTF-8 are its limits.
        Err(_) => Err(TooComplex { length: chunk.len() }),
    }
}

fn compile(name: &'static str, python: &str) -> Result<Regex, PatternError> {
    let pattern = format!("(*LIMIT_MATCH={MATCH_LIMIT}){}", pcre2_syntax(python));
    RegexBuilder::new()
        .utf(true)
        .jit_if_available(true)
        .max_jit_stack_size(Some(STACK_LIMIT))
        .build(&pattern)
        .map_err(|source| PatternError { name, source })
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
    use super::*;

    fn patterns() -> Patterns {
        Patterns::new(&TokenizerTables {
            prefix: r"^\(|^\$|^\.\.+".into(),
            suffix: r"\)$|(?<=[0-9])%$|\.\.+$|'s$".into(),
            infix: r"(?<=[a-z])-(?=[a-z])|\.\.+".into(),
            url: r"(?u)^[\w\+]{2,}://\S+$".into(),
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
        let dots = ".".repeat(3 * SUFFIX_WINDOW);
        assert_eq!(
            patterns.suffix(&format!("a{dots}")),
            Ok(dots.len()),
            "a run of stops is one suffix"
        );
        assert_eq!(
            patterns.suffix(&format!("{}é)", "é".repeat(SUFFIX_WINDOW))),
            Ok(1)
        );
    }

    #[test]
    fn an_address_may_hold_number_letters() {
        assert_eq!(
            patterns().is_url("x²://é"),
            Ok(true),
            "Python's \\w holds ², PCRE2's would not"
        );
    }

    #[test]
    fn a_match_without_end_is_an_error() {
        let hostile = TokenizerTables {
            url: "^(?:a+)+$".into(),
            ..tables()
        };
        let patterns = Patterns::new(&hostile).unwrap();
        assert_eq!(
            patterns.is_url(&format!("{}b", "a".repeat(40))),
            Err(TooComplex { length: 41 })
        );
    }

    fn tables() -> TokenizerTables {
        let none = || "(?!)".to_owned();
        let exceptions = std::collections::BTreeMap::default();
        TokenizerTables {
            prefix: none(),
            suffix: none(),
            infix: none(),
            url: none(),
            exceptions,
        }
    }
}
