//! Owns where the reference model's wheel and ONNX Runtime are.

use std::path::PathBuf;

use anyhow::Context;

use crate::script;

/// What the reference model needs, downloaded.
#[derive(Debug, Clone)]
pub struct ModelFiles {
    /// The wheel of `en_core_web_sm` 3.8.0.
    pub wheel: PathBuf,
    /// ONNX Runtime's shared library.
    pub library: PathBuf,
}

impl ModelFiles {
    /// Fetches the files, if they are not in the cache.
    ///
    /// # Errors
    /// Where they cannot be had, and what is missing.
    pub async fn fetch() -> anyhow::Result<Self> {
        let lines = script::run("fetch-runtime", &[]).await?;
        let mut paths = lines.into_iter().map(PathBuf::from);
        let (wheel, library) = (paths.next(), paths.next());
        Ok(Self {
            wheel: wheel.context("fetch-runtime prints the wheel")?,
            library: library.context("fetch-runtime prints the library")?,
        })
    }
}
