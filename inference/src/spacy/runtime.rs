//! Owns ONNX Runtime: finding its library, and making sessions that compute on the thread that calls them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ort::environment::Environment;
use ort::session::Session;

use super::bundle::BundleError;

/// The variable by which every user of `ort` names ONNX Runtime's shared library.
const LIBRARY_VARIABLE: &str = "ORT_DYLIB_PATH";
/// What the system's loader is asked for if nobody says where the library is.
const LIBRARY: &str = "libonnxruntime.so";

/// ONNX Runtime, loaded. Clones are the same runtime.
#[derive(Clone)]
pub struct Runtime(Arc<Environment>);

impl Runtime {
    /// Loads the shared library at `library`, or else the one that `ORT_DYLIB_PATH` names, or else the system's.
    /// A process has one: clone it where another is wanted.
    ///
    /// # Errors
    /// Where there is no such library, it is not ONNX Runtime 1.17 or newer, or the process has one already.
    pub fn load(library: Option<&Path>) -> Result<Self, BundleError> {
        let library = library.map_or_else(library_by_default, Path::to_owned);
        let fail = |what: String| BundleError::Runtime {
            what: format!(
                "its library cannot be loaded from {}: {what}; set {LIBRARY_VARIABLE} to {LIBRARY} of version 1.17 or newer",
                library.display()
            ),
        };
        let builder = ort::init_from(&library).map_err(|error| fail(error.to_string()))?;
        let environment = builder
            .with_name("inference")
            .with_telemetry(false)
            .build()
            .map_err(|error| fail(error.to_string()))?;
        Ok(Self(Arc::new(environment)))
    }

    /// A session for the graph in `model`.
    pub(super) fn session(&self, model: &[u8]) -> Result<Session, BundleError> {
        let session = || -> ort::Result<Session> {
            let builder = Session::builder(&self.0)?
                .with_intra_threads(1)?
                .with_inter_threads(1)?;
            // The number of rows changes with every run, so a plan made for one run does not serve the next.
            builder.with_memory_pattern(false)?.commit_from_memory(model)
        };
        session().map_err(|error| BundleError::Runtime {
            what: error.to_string(),
        })
    }
}

/// The variable is ort's, not a setting of this program.
fn library_by_default() -> PathBuf {
    std::env::var_os(LIBRARY_VARIABLE).map_or_else(|| LIBRARY.into(), PathBuf::from)
}
