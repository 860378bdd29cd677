//! Owns the form of an imported model: a folder of files, each with its SHA-256 in `manifest.json`.
//!
//! Nothing is used before its hash agrees, so a truncated or altered bundle is an error that names the file.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::attributes::LexemeNorms;
use super::dense::{FEATURE, Feature, HIDDEN, Hidden};
use super::tokenizer::TokenizerTables;

/// The version of this form.
pub(super) const FORMAT: u32 = 1;
/// The manifest's name.
pub(super) const MANIFEST: &str = "manifest.json";
/// The tokenizer's tables: [`TokenizerTables`].
pub(super) const TOKENIZER: &str = "tokenizer.json";
/// Norms by the id of a word, as decimal text.
pub(super) const LEXEME_NORMS: &str = "lexeme_norms.json";
/// What the towers and decoders are: [`PipelineTables`].
pub(super) const PIPELINE: &str = "pipeline.json";
/// The weights that no ONNX graph holds.
pub(super) const DECODERS: &str = "decoders.safetensors";
/// The greatest file that a bundle may have.
const MAX_FILE_BYTES: u64 = 256 << 20;

/// Why a bundle cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not what the manifest says, or not of the form that it should be.
    #[error("{} is damaged: {what}; import the model again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The bundle was made by another version of this program.
    #[error("{} has format {found}, this program reads format {FORMAT}; import the model again", path.display())]
    Format {
        /// The manifest.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// ONNX Runtime is missing, or refuses a graph.
    #[error("ONNX Runtime cannot run the model: {what}")]
    Runtime {
        /// What it says.
        what: String,
    },
}

/// What a bundle is and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of the bundle's form.
    pub format: u32,
    /// The model's name in spaCy's notation (`en_core_web_sm`).
    pub name: String,
    /// The model's version.
    pub version: String,
    /// The model's licence, by its short name.
    pub license: String,
    /// The file that was imported.
    pub source: FileFacts,
    /// The program that imported it.
    pub imported_by: String,
    /// Every other file of the bundle, by name.
    pub files: BTreeMap<String, FileFacts>,
}

/// A file's size and content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileFacts {
    /// Its length.
    pub bytes: u64,
    /// The SHA-256 of its content, in lower-case hexadecimal.
    pub sha256: String,
}

impl FileFacts {
    /// The facts of `content`.
    pub(super) fn of(content: &[u8]) -> Self {
        let digest = Sha256::digest(content);
        let mut sha256 = String::with_capacity(digest.len() * 2);
        for byte in digest {
            // Writing to a string cannot fail.
            let _infallible = write!(sha256, "{byte:02x}");
        }
        Self {
            bytes: content.len() as u64,
            sha256,
        }
    }
}

/// The towers and decoders of a pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PipelineTables {
    /// The entity labels, in the order of the recogniser's classes.
    pub(super) labels: Vec<String>,
    /// How many left arcs the parser knows.
    pub(super) left_arcs: usize,
    /// How many right arcs the parser knows.
    pub(super) right_arcs: usize,
    /// How the recogniser's tower looks up a token.
    pub(super) ner: EmbeddingTables,
    /// How the parser's tower looks up a token.
    pub(super) parser: EmbeddingTables,
}

/// The tables of a hash embedding, one column per attribute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EmbeddingTables {
    pub(super) columns: Vec<Column>,
}

/// One column of a hash embedding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Column {
    /// The attribute that it looks up.
    pub(super) attribute: Attribute,
    /// The seed of its hash.
    pub(super) seed: u32,
    /// How many rows its table has.
    pub(super) rows: u32,
}

/// An attribute of a token, by spaCy's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum Attribute {
    Norm,
    Prefix,
    Suffix,
    Shape,
    Spacy,
    IsSpace,
}

/// A decoder's weights, with `F` features per state.
pub(super) struct DecoderWeights<const F: usize> {
    /// What stands for a feature whose token is missing.
    pub(super) pad: [Feature; F],
    pub(super) bias: Feature,
    upper: Vec<f32>,
    pub(super) upper_bias: Vec<f32>,
}

impl<const F: usize> DecoderWeights<F> {
    /// The weights of one class.
    pub(super) fn upper_row(&self, class: usize) -> Hidden {
        let mut row = [0.0; HIDDEN];
        row.copy_from_slice(&self.upper[class * HIDDEN..(class + 1) * HIDDEN]);
        row
    }
}

/// A bundle whose files have been checked.
pub(super) struct Bundle {
    folder: PathBuf,
    pub(super) manifest: Manifest,
    decoders: Vec<u8>,
}

impl Bundle {
    /// Reads the manifest and checks every file that it names.
    pub(super) fn open(folder: &Path) -> Result<Self, BundleError> {
        let path = folder.join(MANIFEST);
        let content = read(&path)?;
        let format = parse::<FormatOnly>(&path, &content)?.format;
        if format != FORMAT {
            return Err(BundleError::Format { path, found: format });
        }
        let manifest: Manifest = parse(&path, &content)?;
        let mut bundle = Self {
            folder: folder.to_owned(),
            manifest,
            decoders: Vec::new(),
        };
        for name in bundle.manifest.files.keys() {
            bundle.file(name)?;
        }
        bundle.decoders = bundle.file(DECODERS)?;
        Ok(bundle)
    }

    pub(super) fn pipeline(&self) -> Result<PipelineTables, BundleError> {
        self.json(PIPELINE)
    }

    pub(super) fn tokenizer(&self) -> Result<TokenizerTables, BundleError> {
        self.json(TOKENIZER)
    }

    pub(super) fn lexeme_norms(&self) -> Result<LexemeNorms, BundleError> {
        self.json(LEXEME_NORMS)
    }

    /// The weights of a decoder for `classes` classes.
    pub(super) fn decoder<const F: usize>(
        &self,
        name: &str,
        classes: usize,
    ) -> Result<DecoderWeights<F>, BundleError> {
        let pad = self.tensor(&format!("{name}.pad"), &[F, FEATURE])?;
        let mut weights = DecoderWeights {
            pad: [[0.0; FEATURE]; F],
            bias: [0.0; FEATURE],
            upper: self.tensor(&format!("{name}.upper.weight"), &[classes, HIDDEN])?,
            upper_bias: self.tensor(&format!("{name}.upper.bias"), &[classes])?,
        };
        weights
            .bias
            .copy_from_slice(&self.tensor(&format!("{name}.bias"), &[FEATURE])?);
        weights.pad.as_flattened_mut().copy_from_slice(&pad);
        Ok(weights)
    }

    /// The values of a tensor of [`DECODERS`], which must have this shape.
    pub(super) fn tensor(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, BundleError> {
        let damaged = |what: String| self.damaged(DECODERS, what);
        let tensors = SafeTensors::deserialize(&self.decoders).map_err(|error| damaged(error.to_string()))?;
        let tensor = tensors.tensor(name).map_err(|error| damaged(error.to_string()))?;
        if tensor.shape() != shape || tensor.dtype() != safetensors::Dtype::F32 {
            return Err(damaged(format!(
                "{name} is {:?} {:?}, not F32 {shape:?}",
                tensor.dtype(),
                tensor.shape()
            )));
        }
        let (values, _) = tensor.data().as_chunks::<4>();
        Ok(values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
    }

    /// The content of a file, which must be what the manifest says.
    pub(super) fn file(&self, name: &str) -> Result<Vec<u8>, BundleError> {
        let Some(expected) = self.manifest.files.get(name) else {
            return Err(self.damaged(MANIFEST, format!("it does not list {name}")));
        };
        let content = read(&self.folder.join(name))?;
        let found = FileFacts::of(&content);
        if found != *expected {
            let what = format!(
                "{} bytes with SHA-256 {}, the manifest says {} bytes with {}",
                found.bytes, found.sha256, expected.bytes, expected.sha256
            );
            return Err(self.damaged(name, what));
        }
        Ok(content)
    }

    /// The error that says what is wrong with a file.
    pub(super) fn damaged(&self, name: &str, what: String) -> BundleError {
        BundleError::Damaged {
            path: self.folder.join(name),
            what,
        }
    }

    fn json<T: for<'de> Deserialize<'de>>(&self, name: &str) -> Result<T, BundleError> {
        parse(&self.folder.join(name), &self.file(name)?)
    }
}

#[derive(Deserialize)]
struct FormatOnly {
    format: u32,
}

fn read(path: &Path) -> Result<Vec<u8>, BundleError> {
    let unreadable = |source| BundleError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let bytes = fs::metadata(path).map_err(unreadable)?.len();
    if bytes > MAX_FILE_BYTES {
        let what = format!("{bytes} bytes are more than a bundle's file may have");
        return Err(BundleError::Damaged {
            path: path.to_owned(),
            what,
        });
    }
    fs::read(path).map_err(unreadable)
}

fn parse<T: for<'de> Deserialize<'de>>(path: &Path, content: &[u8]) -> Result<T, BundleError> {
    serde_json::from_slice(content).map_err(|error| BundleError::Damaged {
        path: path.to_owned(),
        what: error.to_string(),
    })
}
