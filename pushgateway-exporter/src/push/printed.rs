//! Owns `--dry-run`: what would be pushed goes to standard output.

use std::io::Write;

use super::{PushError, Sink};
use crate::document::Document;
use crate::exposition::Labels;

/// Standard output in the place of a sink.
#[derive(Debug)]
pub struct Printed {
    destinations: Vec<String>,
}

impl Printed {
    /// In the place of a sink at which each target has a destination of this name.
    pub fn new(destinations: Vec<String>) -> Self {
        Self { destinations }
    }
}

impl Sink for Printed {
    async fn put(&self, target: usize, document: &Document<'_>) -> Result<(), PushError> {
        let text = format!(
            "# {} samples for {}\n{}",
            document.samples().count(),
            self.destinations[target],
            document.to_text()
        );
        let written = std::io::stdout().write_all(text.as_bytes());
        written.map_err(|error| PushError::Failed(format!("cannot write to standard output: {error}")))
    }

    async fn delete(&self, _target: usize) -> Result<(), PushError> {
        Ok(())
    }

    async fn owned(&self, _run: &Labels) -> Result<Vec<bool>, PushError> {
        Ok(vec![true; self.destinations.len()])
    }
}
