//! spaCy's named-entity recognition without spaCy: the entities of `nlp(text).ents`, exactly.
//!
//! A text goes through `tokenizer` (tokens), `lexicon` and `attributes` (what a word is), `tower` (features, by ONNX
//! Runtime), `ner` and, where sentence starts matter, `parser` (entities); `pipeline` holds them together. The model
//! comes from a `bundle`, which `import` makes of a spaCy wheel.

mod attributes;
mod bundle;
mod dense;
mod hash;
mod import;
mod lexicon;
mod ner;
mod parser;
mod pipeline;
mod runtime;
mod tokenizer;
mod tower;
mod unicode;
mod vectors;

pub use bundle::{BundleError, FileFacts, Manifest};
pub use import::{ImportError, import};
pub use pipeline::{CACHE_BYTES, Pipeline};
pub use runtime::Runtime;
