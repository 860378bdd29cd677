//! Owns the lexical attributes of a token that spaCy's embeddings are looked up by.
//!
//! Pure functions of the token's text; everything counts Unicode scalar values, never bytes.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::hash::murmur64a;
use super::unicode::{is_alphabetic, is_digit, is_space};

/// Tokens of this many characters or more have the shape `LONG`.
const LONG_TOKEN: usize = 100;
/// A run of one shape character is cut to this length.
const SHAPE_RUN: usize = 4;
/// The length of the SUFFIX attribute.
const SUFFIX_CHARACTERS: usize = 3;

/// spaCy's symbols (`spacy.symbols.IDS`): strings with a small fixed id instead of a hash.
static SYMBOLS: LazyLock<HashMap<&'static str, u64>> = LazyLock::new(|| {
    pairs(include_str!("attributes/symbols.txt"))
        .filter_map(|(id, name)| Some((name, id.parse().ok()?)))
        .collect()
});

/// spaCy's norms for every language (`spacy.lang.norm_exceptions.BASE_NORMS`).
static BASE_NORMS: LazyLock<HashMap<&'static str, &'static str>> =
    LazyLock::new(|| pairs(include_str!("attributes/base_norms.txt")).collect());

/// The norms that a model brings along (its `lexeme_norm` table), by the id of the token's text.
pub(super) type LexemeNorms = HashMap<u64, String>;

/// The ids of a token's attributes, and whether it is white space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Attributes {
    pub(super) norm: u64,
    pub(super) prefix: u64,
    pub(super) suffix: u64,
    pub(super) shape: u64,
    pub(super) is_space: bool,
}

impl Attributes {
    /// The attributes of a token with this text; `norm` is what a tokenizer exception sets, if one made the token.
    pub(super) fn of(text: &str, norm: Option<&str>, norms: &LexemeNorms) -> Self {
        Self {
            norm: norm
                .filter(|norm| !norm.is_empty())
                .map_or_else(|| norm_id(text, norms), string_id),
            prefix: string_id(first_characters(text, 1)),
            suffix: string_id(last_characters(text, SUFFIX_CHARACTERS)),
            shape: string_id(&shape(text)),
            is_space: !text.is_empty() && text.chars().all(is_space),
        }
    }
}

/// The id of a string: 0 if it is empty, a symbol's number, or else its hash.
pub(super) fn string_id(text: &str) -> u64 {
    if text.is_empty() {
        return 0;
    }
    SYMBOLS
        .get(text)
        .copied()
        .unwrap_or_else(|| murmur64a(text.as_bytes()))
}

/// The model's table comes before the norms of all languages, and lower case is the last resort.
fn norm_id(text: &str, norms: &LexemeNorms) -> u64 {
    if let Some(norm) = norms.get(&string_id(text)) {
        return string_id(norm);
    }
    match BASE_NORMS.get(text) {
        Some(norm) => string_id(norm),
        None => string_id(&text.to_lowercase()),
    }
}

fn first_characters(text: &str, count: usize) -> &str {
    text.char_indices()
        .nth(count)
        .map_or(text, |(end, _)| &text[..end])
}

fn last_characters(text: &str, count: usize) -> &str {
    text.char_indices()
        .rev()
        .nth(count - 1)
        .map_or(text, |(start, _)| &text[start..])
}

fn shape(text: &str) -> String {
    if text.chars().nth(LONG_TOKEN - 1).is_some() {
        return "LONG".to_owned();
    }
    let mut shape = String::with_capacity(text.len());
    let (mut last, mut run) = (None, 0);
    for character in text.chars() {
        let class = shape_class(character);
        run = if last == Some(class) { run + 1 } else { 1 };
        last = Some(class);
        if run <= SHAPE_RUN {
            shape.push(class);
        }
    }
    shape
}

fn shape_class(character: char) -> char {
    if is_alphabetic(character) {
        if character.is_uppercase() { 'X' } else { 'x' }
    } else if is_digit(character) {
        'd'
    } else {
        character
    }
}

/// The lines `key value` of a table that is compiled in.
fn pairs(table: &'static str) -> impl Iterator<Item = (&'static str, &'static str)> {
    table.lines().filter_map(|line| line.split_once(' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compiled_tables_are_whole() {
        assert_eq!(SYMBOLS.len(), 456);
        assert_eq!(BASE_NORMS.len(), 45);
    }

    #[test]
    fn symbols_have_their_number_and_other_strings_a_hash() {
        assert_eq!(
            [string_id(""), string_id("X"), string_id("_"), string_id("det")],
            [0, 101, 456, 415]
        );
        assert_eq!(string_id("apple"), 8_566_208_034_543_834_098);
    }

    #[test]
    fn a_norm_comes_from_the_exception_then_the_model_then_spacy_then_lower_case() {
        let norms = LexemeNorms::from([(string_id("colour"), "color".to_owned())]);
        let norm = |text, exception| Attributes::of(text, exception, &norms).norm;
        assert_eq!(norm("colour", Some("hue")), string_id("hue"));
        assert_eq!(norm("colour", None), string_id("color"));
        assert_eq!(
            norm("Colour", None),
            string_id("colour"),
            "the table is case-sensitive"
        );
        assert_eq!(norm("€", None), string_id("$"));
        assert_eq!(norm("ΑΣ", None), string_id("ας"), "a final sigma");
    }

    #[test]
    fn affixes_count_characters() {
        assert_eq!(
            (first_characters("été", 1), last_characters("l'été", 3)),
            ("é", "été")
        );
        assert_eq!(last_characters("ab", 3), "ab");
    }

    #[test]
    fn a_shape_cuts_runs_of_four() {
        assert_eq!(shape("Apple"), "Xxxxx");
        assert_eq!(shape("McDonalds2019"), "XxXxxxxdddd");
        assert_eq!(shape("......!"), "....!");
        assert_eq!(shape(&"a".repeat(99)), "xxxx");
        assert_eq!(shape(&"é".repeat(100)), "LONG");
    }
}
