//! Owns the messages of the demo: what it sends, and what it reads.

use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

/// A document to send.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub(crate) struct Document {
    pub(crate) uuid: String,
    pub(crate) text: String,
    pub(crate) lang: String,
}

/// What is answered.
#[derive(Debug, Deserialize)]
pub(crate) struct Answer {
    pub(crate) uuid: String,
    #[serde(default)]
    pub(crate) ner: Vec<Named>,
    pub(crate) error_message: Option<String>,
}

/// An entity.
#[derive(Debug, Deserialize)]
pub(crate) struct Named {
    pub(crate) entity: String,
    pub(crate) category: String,
}

/// The documents of a file.
pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<Document>> {
    let content = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let parse = |(number, line): (usize, &str)| {
        serde_json::from_str(line)
            .with_context(|| format!("{}:{} is no document", path.display(), number + 1))
    };
    content
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.is_empty())
        .map(parse)
        .collect()
}
