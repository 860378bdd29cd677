//! Texts that no person wrote: each gets an answer, and none a panic.

use std::cell::RefCell;

use inference::model::{Model, TextError};
use inference::spacy::Pipeline;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::entities::reference_model;

/// spaCy's limit.
const MAX_CHARACTERS: usize = 1_000_000;
const CASES: u32 = 1_500;
/// What texts are made of, beside single characters.
const PIECES: [&str; 40] = [
    " ",
    "  ",
    "\n",
    "\r\n",
    "\u{a0}",
    "\u{2028}",
    "\u{3000}",
    "\0",
    "\u{1c}",
    "\u{feff}",
    "\u{fffd}",
    "\u{301}",
    "\u{200d}",
    "\u{202e}",
    "\u{10ffff}",
    "e\u{301}",
    "👩\u{200d}👩",
    "🇫🇷",
    "ירושלים",
    "القاهرة",
    "𝐁𝐞𝐫𝐥𝐢𝐧",
    "İ",
    "Σ",
    "...",
    "(",
    ")",
    ":)",
    "can't",
    "U.S.",
    "$5m",
    "10km",
    "http://a.b/c",
    "a@b.de",
    "a-b",
    "a/b/c",
    "Angela Merkel",
    "New York",
    "the United Nations",
    "Monday",
    ". ",
];

/// Asks for the entities of texts together, and checks that each answer is one of its text.
fn answer(model: &RefCell<Pipeline>, texts: &[&str]) -> usize {
    let answers = model.borrow_mut().entities(texts);
    assert_eq!(answers.len(), texts.len());
    let mut found = 0;
    for (text, answer) in texts.iter().zip(answers) {
        let (mut characters, mut at) = (text.chars(), 0);
        for entity in answer.unwrap() {
            assert!(at <= entity.start && entity.start < entity.end);
            let skipped = characters.by_ref().take(entity.start - at).count();
            assert_eq!(skipped, entity.start - at);
            let slice: String = characters.by_ref().take(entity.end - entity.start).collect();
            assert_eq!(slice, entity.text);
            at = entity.end;
            found += 1;
        }
    }
    found
}

#[tokio::test]
async fn no_text_makes_the_engine_panic() {
    let model = RefCell::new(reference_model().await);
    let piece = prop_oneof![
        any::<char>().prop_map(String::from),
        prop::sample::select(&PIECES[..]).prop_map(str::to_owned),
        (prop::sample::select(&PIECES[..]), 1..80_usize).prop_map(|(piece, count)| piece.repeat(count)),
    ];
    let text = prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat());
    let mut runner = TestRunner::new(Config {
        cases: CASES,
        failure_persistence: None,
        ..Config::default()
    });
    let found = RefCell::new(0);
    let tried = runner.run(&prop::collection::vec(text, 1..4), |texts| {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        *found.borrow_mut() += answer(&model, &texts);
        Ok(())
    });
    tried.unwrap();
    assert!(found.into_inner() > 1_000, "entities are among them");
}

#[tokio::test]
async fn a_text_at_the_limit_is_answered_whatever_it_is_made_of() {
    let model = RefCell::new(reference_model().await);
    for text in [
        "",
        " ",
        "\0",
        "\u{301}",
        "\u{fffd}",
        "\u{200d}",
        "\u{202e}\u{202c}",
    ] {
        answer(&model, &[text, text]);
    }
    for character in [
        "a",
        " ",
        "\n",
        ".",
        "\0",
        "\u{301}",
        "\u{fffd}",
        "ש",
        "𝐁",
        "\u{10ffff}",
    ] {
        answer(&model, &[&character.repeat(MAX_CHARACTERS)]);
        let answers = model
            .borrow_mut()
            .entities(&[&character.repeat(MAX_CHARACTERS + 1)]);
        let refused = TextError::TooLong {
            characters: MAX_CHARACTERS + 1,
            limit: MAX_CHARACTERS,
        };
        assert_eq!(answers, [Err(refused)]);
    }
}

/// A look back at the start of a text must not have its features computed again and again.
#[tokio::test]
async fn twice_the_text_is_at_most_two_and_a_half_times_the_networks_work() {
    const TOKENS: usize = 9_000;
    let mut model = reference_model().await;
    for piece in ["$", "Angela Merkel ", "a, ", "said that he ", "(", "☃"] {
        let mut operations = |count: usize| {
            let answers = model.entities(&[&piece.repeat(count)]);
            assert!(answers[0].is_ok());
            model.spent().operations
        };
        let [once, twice] = [TOKENS, 2 * TOKENS].map(&mut operations);
        assert!(2 * twice <= 5 * once, "{piece}…: {once} operations, then {twice}");
    }
}
