//! Owns `--dry-run`: what would be pushed goes to standard output.

use std::io::Write;

use super::{PushError, Sink};
use crate::document::Document;

/// Standard output in the place of a sink.
#[derive(Debug)]
pub struct Printed {
    place: String,
}

impl Printed {
    /// In the place of the sink of this name.
    pub fn new(place: impl Into<String>) -> Self {
        Self { place: place.into() }
    }
}

impl Sink for Printed {
    async fn put(&mut self, document: &Document<'_>) -> Result<(), PushError> {
        let text = format!(
            "# {} samples for {}\n{}",
            document.len(),
            self.place,
            document.to_text()
        );
        let written = std::io::stdout().write_all(text.as_bytes());
        written.map_err(|error| PushError::Failed(format!("cannot write to standard output: {error}")))
    }

    async fn delete(&mut self) -> Result<(), PushError> {
        Ok(())
    }

    async fn owner(&mut self) -> Result<Option<String>, PushError> {
        Ok(None)
    }
}
