//! Owns the form of messages: what is asked in one, and what is answered.
//!
//! Pure. Whatever the bytes are, they give a request or the reason why they are none, and the answer is always a whole
//! message.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::model::Entity;

/// The names of a message's fields: `[message]` of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fields {
    /// The field that holds the text.
    pub text: String,
    /// Fields that go into the result as they are; `null` where they are missing.
    pub pass_through: Vec<String>,
}

impl Default for Fields {
    fn default() -> Self {
        Self {
            text: "text".to_owned(),
            pass_through: vec!["uuid".to_owned(), "lang".to_owned()],
        }
    }
}

/// What a message asks.
#[derive(Debug)]
pub struct Request {
    /// The values of [`Fields::pass_through`], in order, as they stood in the message.
    pub passed: Vec<Option<Box<RawValue>>>,
    /// The text, or why there is none.
    pub text: Result<String, Unreadable>,
}

/// Why a message has no text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It has no value: a tombstone.
    #[error("the message has no value")]
    Null,
    /// It is not UTF-8.
    #[error("the message is not UTF-8")]
    NotUtf8,
    /// It is not a JSON object.
    #[error("the message is not a JSON object")]
    NotJson,
    /// The text's field is missing or null.
    #[error("the message has no text")]
    NoText,
    /// The text's field is a number, a list or whatever else is not a string.
    #[error("the message's text is not a string")]
    NotText,
    /// The text, or the name of a field, has half of a surrogate pair, which is not a character: no UTF-8 holds it.
    #[error("the message has an escape from \\ud800 to \\udfff without the other half of its surrogate pair")]
    LoneSurrogate,
}

impl Unreadable {
    /// Its name in metrics and in the headers of a dead letter.
    pub fn class(self) -> &'static str {
        match self {
            Self::Null => "null_value",
            Self::NotUtf8 => "not_utf8",
            Self::NotJson => "not_json",
            Self::NoText => "no_text",
            Self::NotText => "text_not_a_string",
            Self::LoneSurrogate => "lone_surrogate",
        }
    }
}

impl Request {
    /// Reads the value of a message.
    pub fn read(value: Option<&[u8]>, fields: &Fields) -> Self {
        let nothing = |why| Self {
            passed: fields.pass_through.iter().map(|_| None).collect(),
            text: Err(why),
        };
        let Some(value) = value else {
            return nothing(Unreadable::Null);
        };
        let Ok(value) = std::str::from_utf8(value) else {
            return nothing(Unreadable::NotUtf8);
        };
        let Ok(message) = serde_json::from_str::<HashMap<Cow<'_, str>, &RawValue>>(value) else {
            // What is ignored must be JSON too, but its strings may have any escapes.
            let is_json = serde_json::from_str::<IgnoredAny>(value).is_ok();
            let is_object = is_json && value.trim_start().starts_with('{');
            return nothing(if is_object {
                Unreadable::LoneSurrogate
            } else {
                Unreadable::NotJson
            });
        };
        let passed = fields.pass_through.iter();
        let passed = passed
            .map(|name| message.get(name.as_str()).map(|value| (*value).to_owned()))
            .collect();
        let text = match message.get(fields.text.as_str()).map(|text| text.get()) {
            None | Some("null") => Err(Unreadable::NoText),
            Some(text) if text.starts_with('"') => {
                // A string of valid JSON; so nothing else can be wrong with it.
                serde_json::from_str(text).map_err(|_lone| Unreadable::LoneSurrogate)
            }
            Some(_) => Err(Unreadable::NotText),
        };
        Self { passed, text }
    }
}

/// When a text was processed.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Processed {
    /// When its slice was given to the model, in seconds since 1970.
    pub start: u64,
    /// When the model had answered, in seconds since 1970.
    pub end: u64,
    /// How long the model took for the slice, in milliseconds.
    pub milliseconds: f64,
}

/// An entity of an answer.
#[derive(Serialize)]
struct Named<'a> {
    entity: &'a str,
    category: &'a str,
}

/// The message that answers: the entities, or the error in their place.
pub fn answer(
    fields: &Fields,
    passed: &[Option<Box<RawValue>>],
    processed: Processed,
    outcome: Result<&[Entity], &str>,
) -> Vec<u8> {
    let mut message = Object::default();
    if let Ok(entities) = outcome {
        message.field("ner", &distinct(entities));
    }
    message.field("ts_start", &processed.start);
    message.field("ts_end", &processed.end);
    message.field("process_time", &processed.milliseconds);
    for (index, name) in fields.pass_through.iter().enumerate() {
        message.field(name, &passed.get(index));
    }
    message.field("error_message", &outcome.err());
    message.finish()
}

/// The entities in order, without those whose text came before.
fn distinct(entities: &[Entity]) -> Vec<Named<'_>> {
    let mut seen = std::collections::HashSet::new();
    let new = entities.iter().filter(|entity| seen.insert(entity.text.as_str()));
    new.map(|entity| Named {
        entity: &entity.text,
        category: &entity.label,
    })
    .collect()
}

/// A JSON object in the making, field after field.
#[derive(Default)]
struct Object(Vec<u8>);

impl Object {
    fn field(&mut self, name: &str, value: &impl Serialize) {
        self.0.push(if self.0.is_empty() { b'{' } else { b',' });
        self.json(name);
        self.0.push(b':');
        self.json(value);
    }

    fn json(&mut self, value: &(impl Serialize + ?Sized)) {
        #[expect(
            clippy::expect_used,
            reason = "numbers, strings and lists of them have a JSON form, and memory takes it"
        )]
        serde_json::to_writer(&mut self.0, value).expect("a JSON form");
    }

    fn finish(mut self) -> Vec<u8> {
        self.0.push(b'}');
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(value: &str) -> Request {
        Request::read(Some(value.as_bytes()), &Fields::default())
    }

    fn entity(text: &str, label: &str) -> Entity {
        Entity {
            start: 0,
            end: 0,
            label: label.into(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn a_request_has_a_text_and_what_is_passed_through() {
        let request = request(r#"{"lang":"en","text":"a\n\u00e9","uuid":{"deep":[1,2]},"other":1}"#);
        assert_eq!(request.text.unwrap(), "a\né");
        let passed: Vec<_> = request
            .passed
            .iter()
            .map(|value| value.as_ref().map(|value| value.get()))
            .collect();
        assert_eq!(passed, [Some(r#"{"deep":[1,2]}"#), Some("\"en\"")]);
    }

    #[test]
    fn what_is_no_request_is_told_apart() {
        let why = |value: &str| request(value).text.unwrap_err();
        assert_eq!(why("{"), Unreadable::NotJson);
        assert_eq!(why("[1]"), Unreadable::NotJson);
        assert_eq!(why(r#"{"uuid":"1"}"#), Unreadable::NoText);
        assert_eq!(why(r#"{"text":null}"#), Unreadable::NoText);
        assert_eq!(why(r#"{"text":7}"#), Unreadable::NotText);
        assert_eq!(why(r#"{"text":["a"]}"#), Unreadable::NotText);
        for lone in [
            r#"{"text":"\ud800"}"#,
            r#"{"text":"a\udfff"}"#,
            r#"{"text":"\ud800\u0041"}"#,
            r#"{"\udc00":1,"text":"a"}"#,
        ] {
            assert_eq!(why(lone), Unreadable::LoneSurrogate, "{lone}");
        }
        assert_eq!(why(r#"{"\udc00":1,"text":"a""#), Unreadable::NotJson);
        for value in [&b"\xff"[..], b"{\"text\":\"a\xe9\"}"] {
            assert_eq!(
                Request::read(Some(value), &Fields::default()).text,
                Err(Unreadable::NotUtf8)
            );
        }
        assert_eq!(
            Request::read(None, &Fields::default()).text,
            Err(Unreadable::Null)
        );
    }

    #[test]
    fn an_answer_has_each_entity_once_and_what_was_passed() {
        let fields = Fields::default();
        let passed = request(r#"{"uuid":"u-1","text":""}"#).passed;
        let entities = [
            entity("Ulm", "GPE"),
            entity("Einstein", "PERSON"),
            entity("Ulm", "ORG"),
        ];
        let processed = Processed {
            start: 1,
            end: 2,
            milliseconds: 0.5,
        };
        let message = answer(&fields, &passed, processed, Ok(&entities));
        assert_eq!(
            String::from_utf8(message).unwrap(),
            r#"{"ner":[{"entity":"Ulm","category":"GPE"},{"entity":"Einstein","category":"PERSON"}],"#
                .to_owned()
                + r#""ts_start":1,"ts_end":2,"process_time":0.5,"uuid":"u-1","lang":null,"error_message":null}"#
        );
    }

    #[test]
    fn an_error_stands_in_the_place_of_the_entities() {
        let fields = Fields {
            pass_through: Vec::new(),
            ..Fields::default()
        };
        let message = answer(&fields, &[], Processed::default(), Err("no \"text\""));
        assert_eq!(
            String::from_utf8(message).unwrap(),
            r#"{"ts_start":0,"ts_end":0,"process_time":0.0,"error_message":"no \"text\""}"#
        );
    }
}
