//! A stand-in for the model.

use inference::model::{Entity, Model, Spent, TextError};

/// A model that finds every text to be an entity, but panics at "panic" and fails at "fail".
pub(crate) struct FakeModel;

impl Model for FakeModel {
    fn entities(&mut self, texts: &[&str]) -> Vec<Result<Vec<Entity>, TextError>> {
        let answer = |text: &&str| match *text {
            "fail" => Err(TextError::Failed("as asked".to_owned())),
            "panic" => panic!("as asked"),
            text => Ok(vec![Entity {
                start: 0,
                end: text.chars().count(),
                label: "TEXT".into(),
                text: text.to_owned(),
            }]),
        };
        texts.iter().map(answer).collect()
    }

    fn spent(&mut self) -> Spent {
        Spent::default()
    }
}
