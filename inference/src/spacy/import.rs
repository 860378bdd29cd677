//! Owns the way from a spaCy model wheel to a bundle: read, check that everything is supported, write.
//!
//! No Python and no spaCy. What this program does not compute exactly is refused by its name; a damaged wheel is an
//! error. The bundle appears whole or not at all.

mod config;
mod graphs;
mod moves;
mod onnx;
mod tables;
mod thinc;
mod weights;
mod wheel;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use self::wheel::Wheel;
use super::bundle::{
    DECODERS, FORMAT, FileFacts, LEXEME_NORMS, MANIFEST, Manifest, PIPELINE, PipelineTables, TOKENIZER,
};

/// Why a wheel cannot be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A file cannot be read or written.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The output folder has something in it.
    #[error("{} exists and is not empty; remove it or name another folder", .0.display())]
    Occupied(PathBuf),
    /// The wheel, or a file in it, is not what it should be.
    #[error("{file} is damaged or not part of a spaCy model: {what}")]
    Damaged {
        /// The wheel or the file in it.
        file: String,
        /// What is wrong with it.
        what: String,
    },
    /// The model is whole, but this program does not compute it exactly.
    #[error("the model is not supported: {0}")]
    Unsupported(String),
}

impl ImportError {
    fn damaged(file: &str, what: impl Display) -> Self {
        Self::Damaged {
            file: file.to_owned(),
            what: what.to_string(),
        }
    }
}

/// Imports the spaCy model in `wheel` as a bundle in the folder `out`, which must not exist or be empty.
///
/// # Errors
/// Where the wheel is damaged or holds what is not supported, or a file cannot be read or written.
pub fn import(wheel: &Path, out: &Path) -> Result<Manifest, ImportError> {
    if fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(ImportError::Occupied(out.to_owned()));
    }
    let mut wheel = Wheel::open(wheel)?;
    let bundle = convert(&mut wheel)?;
    write(&bundle, out)?;
    Ok(bundle.manifest)
}

/// A bundle's files by name, and its manifest.
struct NewBundle {
    manifest: Manifest,
    files: BTreeMap<String, Vec<u8>>,
}

fn convert(wheel: &mut Wheel) -> Result<NewBundle, ImportError> {
    config::check(&wheel.text("config.cfg")?)?;
    for component in ["ner/cfg", "parser/cfg"] {
        config::check_component(component, &wheel.bytes(component)?)?;
    }
    let meta = tables::Meta::read(&wheel.bytes("meta.json")?)?;
    let labels = moves::entity_labels(&wheel.bytes("ner/moves")?)?;
    let arcs = moves::arcs(&wheel.bytes("parser/moves")?)?;
    let ner = thinc::ThincModel::read("ner/model", &wheel.bytes("ner/model")?)?;
    let tok2vec = thinc::ThincModel::read("tok2vec/model", &wheel.bytes("tok2vec/model")?)?;
    let parser = thinc::ThincModel::read("parser/model", &wheel.bytes("parser/model")?)?;

    let ner_tower = weights::TowerWeights::of(&ner, &ner)?;
    let ner_decoder = weights::Decoder::of(&ner, super::ner::FEATURES, 4 * labels.len() + 2)?;
    let parser_tower = weights::TowerWeights::of(&tok2vec, &parser)?;
    let parser_decoder = weights::Decoder::of(&parser, super::parser::FEATURES, arcs.count())?;
    let pipeline = PipelineTables {
        labels,
        left_arcs: arcs.left,
        right_arcs: arcs.right,
        ner: ner_tower.embedding.clone(),
        parser: parser_tower.embedding.clone(),
    };

    let mut files = components([
        ("ner", &ner_tower, &ner_decoder),
        ("parser", &parser_tower, &parser_decoder),
    ])?;
    files.extend([
        (PIPELINE.to_owned(), json(&pipeline)?),
        (
            TOKENIZER.to_owned(),
            json(&tables::tokenizer(&wheel.bytes("tokenizer")?)?)?,
        ),
        (
            LEXEME_NORMS.to_owned(),
            json(&tables::lexeme_norms(&wheel.bytes("vocab/lookups.bin")?)?)?,
        ),
    ]);
    for license in ["LICENSE", "LICENSES_SOURCES"] {
        if let Some(text) = wheel.optional(license)? {
            files.insert(license.to_owned(), text);
        }
    }
    let manifest = Manifest {
        format: FORMAT,
        name: meta.full_name(),
        version: meta.version,
        license: meta.license,
        source: wheel.facts().clone(),
        imported_by: concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")).to_owned(),
        files: files
            .iter()
            .map(|(name, content)| (name.clone(), FileFacts::of(content)))
            .collect(),
    };
    files.insert(MANIFEST.to_owned(), json(&manifest)?);
    Ok(NewBundle { manifest, files })
}

/// The graphs and decoder weights of components, by name.
fn components(
    components: [(&str, &weights::TowerWeights, &weights::Decoder); 2],
) -> Result<BTreeMap<String, Vec<u8>>, ImportError> {
    let mut files = BTreeMap::from([(DECODERS.to_owned(), weights::decoders(&components)?)]);
    for (name, tower, decoder) in components {
        files.insert(format!("{name}.embed.onnx"), graphs::embed(tower));
        files.insert(format!("{name}.encode.onnx"), graphs::encode(tower, decoder));
    }
    Ok(files)
}

/// Writes the files into a folder beside `out`, and gives it its name when all are there.
fn write(bundle: &NewBundle, out: &Path) -> Result<(), ImportError> {
    let mut name = out.file_name().unwrap_or_default().to_owned();
    name.push(".importing");
    let unfinished = out.with_file_name(name);
    let io = |action, path: &Path| {
        let path = path.to_owned();
        move |source| ImportError::Io { action, path, source }
    };
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).map_err(io("remove", &unfinished))?;
    }
    fs::create_dir_all(&unfinished).map_err(io("create", &unfinished))?;
    for (name, content) in &bundle.files {
        let path = unfinished.join(name);
        fs::write(&path, content).map_err(io("write", &path))?;
    }
    if out.exists() {
        fs::remove_dir(out).map_err(io("replace", out))?;
    }
    fs::rename(&unfinished, out).map_err(io("create", out))
}

fn json(value: &impl Serialize) -> Result<Vec<u8>, ImportError> {
    serde_json::to_vec_pretty(value).map_err(|error| ImportError::Unsupported(error.to_string()))
}
