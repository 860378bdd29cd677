//! The seam to a model: texts in, named entities out.
//!
//! Nothing here knows where texts come from or which engine answers. A model is owned by one session thread at a
//! time, so it may keep caches without locks. Every text gets exactly one answer, in the order of the texts.

use std::ops::AddAssign;
use std::sync::Arc;
use std::time::Duration;

/// A model that finds named entities.
pub trait Model {
    /// The entities of each of `texts`: one answer per text, in order. Blocks for as long as the model computes.
    fn entities(&mut self, texts: &[&str]) -> Vec<Result<Vec<Entity>, TextError>>;
    /// Where the time of the calls since the last question went.
    fn spent(&mut self) -> Spent;
}

/// Where a model's time goes. What is left of it is decoding.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spent {
    /// Making tokens of text.
    pub tokenize: Duration,
    /// Making vectors of tokens: hashing, and looking up or computing what is not known yet.
    pub embed: Duration,
    /// The networks.
    pub network: Duration,
    /// How many floating-point operations the networks' matrix products had.
    pub operations: u64,
}

impl AddAssign for Spent {
    fn add_assign(&mut self, more: Self) {
        self.tokenize += more.tokenize;
        self.embed += more.embed;
        self.network += more.network;
        self.operations += more.operations;
    }
}

/// A named entity: a slice of its text and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entity {
    /// Where it begins, in Unicode scalar values from the start of the text.
    pub start: usize,
    /// Where it ends, exclusive, in Unicode scalar values.
    pub end: usize,
    /// Its category, in the model's own spelling (`PERSON`, `GPE`).
    pub label: Arc<str>,
    /// The slice of the text itself.
    pub text: String,
}

/// Why a model gives no answer to a text; the other texts of the call are not affected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// The text is over the model's limit. spaCy refuses such a text too (its error E088).
    #[error("text of {characters} characters exceeds the model's limit of {limit}")]
    TooLong {
        /// The length of the text in Unicode scalar values.
        characters: usize,
        /// The greatest length that the model takes.
        limit: usize,
    },
    /// The engine failed on this text.
    #[error("the model failed: {0}")]
    Failed(String),
    /// The engine panicked on this text.
    #[error("the model panicked on this text")]
    Panicked,
}

impl TextError {
    /// Its name in metrics.
    pub fn class(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "text_too_long",
            Self::Failed(_) => "model_failed",
            Self::Panicked => "model_panicked",
        }
    }
}
