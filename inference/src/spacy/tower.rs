//! Owns a tower: the network that turns the tokens of documents into the features a decoder reads.
//!
//! Two ONNX graphs. `embed` is a function of one word alone: its vector and what it gives to the first convolution as
//! left neighbour, as itself and as right neighbour; the answers are kept in [`Vectors`]. `encode` does the rest.
//! Documents are laid one behind the other with [`PADDING`] zero rows around each, as thinc does, so that no document
//! sees its neighbour: what a row depends on reaches [`PADDING`] rows to each side, no further.

mod segments;

use ort::session::Session;
use ort::value::TensorRef;
use tokio::time::Instant;

use self::segments::Segments;
use super::attributes::Attributes;
use super::bundle::{Attribute, Bundle, BundleError, EmbeddingTables};
use super::dense::{FEATURE, Rows};
use super::hash::embedding_keys;
use super::lexicon::Lexicon;
use super::pipeline::SLICE_ROWS;
use super::runtime::Runtime;
use super::tokenizer::Token;
use super::vectors::{CONVOLUTION, PARTS, Vectors, WIDTH};
use crate::model::Spent;

/// Zero rows between documents, and how far a row of features looks to each side.
pub(super) const PADDING: usize = 4;
/// Tokens of a long document that one run decodes; the rest of a slice is what they look at to each side.
const SEGMENT: usize = SLICE_ROWS - 2 * PADDING;
/// How many words one run of `embed` takes.
const EMBED_ROWS: usize = 256;
/// Table rows per attribute of a word.
const KEYS: usize = 4;

/// The network of one decoder.
pub(super) struct Tower {
    name: &'static str,
    embed: Session,
    encode: Session,
    tables: EmbeddingTables,
    /// What the first convolution adds to every row.
    bias: Vec<f32>,
    vectors: Vectors,
    features_per_token: usize,
    layout: Layout,
    spent: Spent,
}

/// The features of the documents of one run.
pub(super) struct Features<'a> {
    documents: &'a [&'a [Token]],
    starts: &'a [usize],
    per_token: usize,
    values: &'a [f32],
}

impl<'a> Features<'a> {
    /// Those of one document.
    pub(super) fn of(&self, document: usize) -> Rows<'a> {
        let width = self.per_token * FEATURE;
        let (start, tokens) = (self.starts[document], self.documents[document].len());
        Rows::new(
            &self.values[start * width..(start + tokens) * width],
            self.per_token,
        )
    }
}

/// The rows of one run, kept between runs for their memory.
#[derive(Default)]
struct Layout {
    /// The row of each document's first token.
    starts: Vec<usize>,
    words: Vec<f32>,
    convolution: Vec<f32>,
}

/// What a tower is.
pub(super) struct Plan {
    /// Its name in the bundle.
    pub(super) name: &'static str,
    /// How its words are embedded.
    pub(super) tables: EmbeddingTables,
    /// How many features its decoder looks at for each token.
    pub(super) features_per_token: usize,
    /// The most bytes that its vectors may take.
    pub(super) cache_bytes: usize,
}

/// A tower failed; what it says is for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {tower} network failed: {what}")]
pub(super) struct TowerError {
    tower: &'static str,
    what: String,
}

impl Tower {
    /// The tower of `plan` in the bundle.
    pub(super) fn load(runtime: &Runtime, bundle: &Bundle, plan: Plan) -> Result<Self, BundleError> {
        let Plan {
            name,
            tables,
            features_per_token,
            cache_bytes,
        } = plan;
        let graph = |part: &str| runtime.session(&bundle.file(&format!("{name}.{part}.onnx"))?);
        let sees_space = tables
            .columns
            .iter()
            .any(|column| column.attribute == Attribute::Spacy);
        Ok(Self {
            name,
            embed: graph("embed")?,
            encode: graph("encode")?,
            bias: bundle.tensor(&format!("{name}.convolution.bias"), &[CONVOLUTION])?,
            vectors: Vectors::new(cache_bytes, if sees_space { 2 } else { 1 }),
            tables,
            features_per_token,
            layout: Layout::default(),
            spent: Spent::default(),
        })
    }

    /// Gives this tower the other's network for words, and the other this one's: both fail on what they are asked.
    #[cfg(test)]
    pub(super) fn break_by_swapping(&mut self, other: &mut Self) {
        std::mem::swap(&mut self.embed, &mut other.embed);
    }

    /// What was spent since the last question.
    pub(super) fn spent(&mut self) -> Spent {
        std::mem::take(&mut self.spent)
    }

    /// Forgets the vectors of all words: their ids are void.
    pub(super) fn forget(&mut self) {
        self.vectors.clear();
    }

    /// Computes the features of documents, each of at least one token, and gives them to `read`. Together they must
    /// have no more than [`SLICE_ROWS`] tokens.
    pub(super) fn encode<R>(
        &mut self,
        lexicon: &Lexicon,
        documents: &[&[Token]],
        read: impl FnOnce(Features<'_>) -> R,
    ) -> Result<R, TowerError> {
        let tower = self.name;
        let encode = || -> ort::Result<R> {
            let began = Instant::now();
            self.embed(lexicon, documents)?;
            let embedded = Instant::now();
            self.layout.fill(documents, &self.bias, &self.vectors);
            let rows = self.layout.words.len() / WIDTH;
            let outputs = self.encode.run(ort::inputs![
                "words" => TensorRef::from_array_view(([rows, WIDTH], self.layout.words.as_slice()))?,
                "convolution" =>
                    TensorRef::from_array_view(([rows, CONVOLUTION], self.layout.convolution.as_slice()))?
            ])?;
            self.spent += Spent {
                embed: embedded - began,
                network: embedded.elapsed(),
                operations: rows as u64 * operations_per_row(self.features_per_token),
                ..Spent::default()
            };
            let (_, values) = outputs["features"].try_extract_tensor::<f32>()?;
            let per_token = self.features_per_token;
            Ok(read(Features {
                documents,
                starts: &self.layout.starts,
                per_token,
                values,
            }))
        };
        encode().map_err(|error| TowerError {
            tower,
            what: error.to_string(),
        })
    }

    /// The features of a document of any length, computed as they are asked for.
    pub(super) fn segments<'a>(&'a mut self, lexicon: &'a Lexicon, document: &'a [Token]) -> Segments<'a> {
        Segments::new(self, lexicon, document)
    }

    /// Sees to it that the vectors of all tokens are known.
    fn embed(&mut self, lexicon: &Lexicon, documents: &[&[Token]]) -> Result<(), ort::Error> {
        let tokens = || documents.iter().flat_map(|tokens| tokens.iter());
        let mut missing = self.vectors.missing(tokens());
        if self.vectors.is_overfull() {
            self.vectors.forget_rare();
            missing = self.vectors.missing(tokens());
        }
        for words in missing.chunks(EMBED_ROWS) {
            let mut keys = Vec::with_capacity(words.len() * self.tables.columns.len() * KEYS);
            for word in words {
                self.tables
                    .push_keys(lexicon.attributes(word.lexeme), word.space_after, &mut keys);
            }
            let shape = [words.len(), self.tables.columns.len(), KEYS];
            let keys = TensorRef::from_array_view((shape, keys.as_slice()))?;
            let outputs = self.embed.run(ort::inputs!["keys" => keys])?;
            let (_, vectors) = outputs["words"].try_extract_tensor::<f32>()?;
            let (_, convolution) = outputs["convolution"].try_extract_tensor::<f32>()?;
            let parts = convolution.chunks_exact(PARTS * CONVOLUTION);
            for ((word, vector), parts) in words.iter().zip(vectors.chunks_exact(WIDTH)).zip(parts) {
                self.vectors.insert(*word, vector, parts);
            }
        }
        Ok(())
    }
}

/// Two for each weight that a row is multiplied with: three convolutions (the first is looked up), and the layer below
/// the decoder.
fn operations_per_row(features_per_token: usize) -> u64 {
    let weights = 3 * CONVOLUTION * CONVOLUTION + WIDTH * features_per_token * FEATURE;
    2 * weights as u64
}

impl EmbeddingTables {
    /// Appends the table rows of a word: [`KEYS`] for each column.
    fn push_keys(&self, word: &Attributes, space_after: bool, keys: &mut Vec<i32>) {
        for column in &self.columns {
            let id = match column.attribute {
                Attribute::Norm => word.norm,
                Attribute::Prefix => word.prefix,
                Attribute::Suffix => word.suffix,
                Attribute::Shape => word.shape,
                Attribute::Spacy => u64::from(space_after),
                Attribute::IsSpace => u64::from(word.is_space),
            };
            let rows = embedding_keys(id, column.seed).map(|key| key % column.rows);
            keys.extend(rows.map(u32::cast_signed));
        }
    }
}

impl Layout {
    fn fill(&mut self, documents: &[&[Token]], bias: &[f32], vectors: &Vectors) {
        self.starts.clear();
        let mut rows = PADDING;
        for tokens in documents {
            self.starts.push(rows);
            rows += tokens.len() + PADDING;
        }
        self.words.clear();
        self.words.resize(rows * WIDTH, 0.0);
        self.convolution.clear();
        for _ in 0..rows {
            self.convolution.extend_from_slice(bias);
        }
        for (tokens, &start) in documents.iter().zip(&self.starts) {
            for (token, row) in tokens.iter().zip(start..) {
                let (vector, parts) = vectors.get(token);
                self.words[row * WIDTH..(row + 1) * WIDTH].copy_from_slice(vector);
                // As left neighbour of the next row, as itself, as right neighbour of the row before.
                for (part, row) in parts.chunks_exact(CONVOLUTION).zip([row + 1, row, row - 1]) {
                    add(
                        &mut self.convolution[row * CONVOLUTION..(row + 1) * CONVOLUTION],
                        part,
                    );
                }
            }
        }
    }
}

fn add(sum: &mut [f32], part: &[f32]) {
    for (sum, value) in sum.iter_mut().zip(part) {
        *sum += value;
    }
}
