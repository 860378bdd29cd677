//! Owns the tables of a model's tokenizer, as they stand in a bundle.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Patterns are in Python's `re` syntax, as the model brings them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenizerTables {
    /// What is split off the front of a chunk.
    pub(crate) prefix: String,
    /// What is split off the end of a chunk.
    pub(crate) suffix: String,
    /// What splits the rest of a chunk.
    pub(crate) infix: String,
    /// What is left whole.
    pub(crate) url: String,
    /// Chunks with tokens of their own.
    pub(crate) exceptions: BTreeMap<String, Vec<ExceptionToken>>,
}

/// A token of an exception.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExceptionToken {
    /// The token's text. The texts of an exception's tokens, put together, are the exception.
    pub(crate) orth: String,
    /// Its norm, where the exception sets one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) norm: Option<String>,
}
