//! Owns the weights of a model: which layer of thinc's holds which, their shapes, and their order in the bundle.

use safetensors::tensor::{Dtype, TensorView};

use super::ImportError;
use super::thinc::{Node, ThincModel};
use crate::spacy::bundle::{Attribute, Column, EmbeddingTables};
use crate::spacy::dense::{FEATURE, HIDDEN, PIECES};
use crate::spacy::vectors::{CONVOLUTION, WIDTH};

/// Pieces of a tower's maxout layers.
pub(super) const MAXOUT_PIECES: usize = 3;
/// Convolutions of a tower, after the layer that mixes the embeddings.
pub(super) const DEPTH: usize = 4;

/// The weights of a tower.
pub(super) struct TowerWeights {
    pub(super) embedding: EmbeddingTables,
    /// A table of [`WIDTH`] values per row for each column.
    pub(super) tables: Vec<Vec<f32>>,
    /// The layer that mixes the columns, then the convolutions.
    pub(super) layers: Vec<MaxoutLayer>,
    /// Output [`HIDDEN`], input [`WIDTH`]; output first.
    pub(super) projection: Vec<f32>,
    pub(super) projection_bias: Vec<f32>,
}

/// Maxout and layer normalisation, [`WIDTH`] wide.
pub(super) struct MaxoutLayer {
    pub(super) inputs: usize,
    /// `[output][piece][input]`.
    weights: Vec<f32>,
    bias: Vec<f32>,
    pub(super) gain: Vec<f32>,
    pub(super) shift: Vec<f32>,
}

impl MaxoutLayer {
    /// The weights from a range of inputs, `[input][piece][output]`: the right side of a matrix product whose result
    /// has one piece behind the other.
    pub(super) fn columns(&self, inputs: std::ops::Range<usize>) -> Vec<f32> {
        let mut columns = Vec::with_capacity(inputs.len() * CONVOLUTION);
        for input in inputs {
            for piece in 0..MAXOUT_PIECES {
                let weight =
                    |output: usize| self.weights[(output * MAXOUT_PIECES + piece) * self.inputs + input];
                columns.extend((0..WIDTH).map(weight));
            }
        }
        columns
    }

    /// The bias, `[piece][output]`.
    pub(super) fn bias(&self) -> Vec<f32> {
        let places =
            (0..MAXOUT_PIECES).flat_map(|piece| (0..WIDTH).map(move |output| output * MAXOUT_PIECES + piece));
        places.map(|place| self.bias[place]).collect()
    }
}

impl TowerWeights {
    /// The tower in `tok2vec`, with the projection in `model`.
    pub(super) fn of(tok2vec: &ThincModel, model: &ThincModel) -> Result<Self, ImportError> {
        let (embedding, tables) = embedding(tok2vec)?;
        let mixed = embedding.columns.len() * WIDTH;
        let (maxouts, norms) = (tok2vec.named("maxout"), tok2vec.named("layernorm"));
        if maxouts.len() != DEPTH + 1 || norms.len() != DEPTH + 1 {
            let what = format!(
                "{} has {} maxout layers, only {} are",
                tok2vec.file(),
                maxouts.len(),
                DEPTH + 1
            );
            return Err(ImportError::Unsupported(what));
        }
        // Breadth first, so the mixing layer, which is nested less, comes before the convolutions.
        let inputs = std::iter::once(mixed).chain([3 * WIDTH; DEPTH]);
        let layers = maxouts
            .iter()
            .zip(norms)
            .zip(inputs)
            .map(|((maxout, norm), inputs)| {
                Ok(MaxoutLayer {
                    inputs,
                    weights: maxout.parameter("W", &[WIDTH, MAXOUT_PIECES, inputs])?.to_vec(),
                    bias: maxout.parameter("b", &[WIDTH, MAXOUT_PIECES])?.to_vec(),
                    gain: norm.parameter("G", &[WIDTH])?.to_vec(),
                    shift: norm.parameter("b", &[WIDTH])?.to_vec(),
                })
            });
        let projection = projection(model)?;
        Ok(Self {
            embedding,
            tables,
            layers: layers.collect::<Result<_, ImportError>>()?,
            projection: projection.parameter("W", &[HIDDEN, WIDTH])?.to_vec(),
            projection_bias: projection.parameter("b", &[HIDDEN])?.to_vec(),
        })
    }

    /// The weights of the first convolution for a left neighbour, the word itself and a right neighbour, each
    /// `[input][piece][output]`.
    pub(super) fn first_convolution(&self) -> [Vec<f32>; 3] {
        [0, 1, 2].map(|part| self.layers[1].columns(part * WIDTH..(part + 1) * WIDTH))
    }
}

fn embedding(tok2vec: &ThincModel) -> Result<(EmbeddingTables, Vec<Vec<f32>>), ImportError> {
    let file = tok2vec.file();
    let extract = tok2vec.named("extract_features");
    let extract = extract
        .first()
        .ok_or_else(|| ImportError::damaged(file, "it extracts no features"))?;
    let names = extract.names("columns")?;
    let mut embeds = Vec::new();
    for node in tok2vec.named("hashembed") {
        embeds.push((node.number("column")?, node));
    }
    embeds.sort_by_key(|(column, _)| *column);
    if embeds.len() != names.len()
        || embeds
            .iter()
            .zip(0..)
            .any(|((column, _), place)| *column != place)
    {
        return Err(ImportError::damaged(
            file,
            format!("it has {} tables for {names:?}", embeds.len()),
        ));
    }
    let (mut columns, mut tables) = (Vec::new(), Vec::new());
    for (name, (_, node)) in names.iter().zip(embeds) {
        let attribute = serde_json::from_value::<Attribute>(name.as_str().into())
            .map_err(|_unknown| ImportError::Unsupported(format!("{file} embeds the attribute {name}")))?;
        let rows = node.tensor("E")?.shape.first().copied().unwrap_or_default();
        let number = |value: u64| u32::try_from(value).map_err(|error| ImportError::damaged(file, error));
        columns.push(Column {
            attribute,
            seed: number(node.number("seed")?)?,
            rows: number(rows.max(1) as u64)?,
        });
        tables.push(node.parameter("E", &[rows.max(1), WIDTH])?.to_vec());
    }
    Ok((EmbeddingTables { columns }, tables))
}

/// The linear layer between tower and decoder: the one that is not the decoder's upper layer.
fn projection(model: &ThincModel) -> Result<&Node, ImportError> {
    let upper = model.reference("upper")?;
    let mut others = model
        .named("linear")
        .into_iter()
        .filter(|node| !std::ptr::eq(*node, upper));
    match (others.next(), others.next()) {
        (Some(projection), None) => Ok(projection),
        _ => Err(ImportError::Unsupported(format!(
            "{} has not one linear layer below its decoder",
            model.file()
        ))),
    }
}

/// The weights of a decoder, each state feature piece-major (spaCy's are unit-major).
pub(super) struct Decoder {
    pub(super) features: usize,
    classes: usize,
    /// `[input][feature][piece][unit]`.
    pub(super) lower: Vec<f32>,
    pad: Vec<f32>,
    bias: Vec<f32>,
    upper: Vec<f32>,
    upper_bias: Vec<f32>,
}

impl Decoder {
    pub(super) fn of(model: &ThincModel, features: usize, classes: usize) -> Result<Self, ImportError> {
        let (lower, upper) = (model.reference("lower")?, model.reference("upper")?);
        let weights = lower.parameter("W", &[features, HIDDEN, PIECES, HIDDEN])?;
        let pad = lower.parameter("pad", &[1, features, HIDDEN, PIECES])?;
        let bias = lower.parameter("b", &[HIDDEN, PIECES])?;
        // Where each piece-major place of a feature stands in spaCy's order.
        let places = (0..PIECES).flat_map(|piece| (0..HIDDEN).map(move |unit| unit * PIECES + piece));
        let places: Vec<usize> = places.collect();
        let outputs =
            (0..features).flat_map(|feature| places.iter().map(move |place| feature * FEATURE + place));
        let outputs: Vec<usize> = outputs.collect();
        let lower_of = |input: usize| outputs.iter().map(move |output| weights[output * HIDDEN + input]);
        Ok(Self {
            features,
            classes,
            lower: (0..HIDDEN).flat_map(lower_of).collect(),
            pad: outputs.iter().map(|&output| pad[output]).collect(),
            bias: places.iter().map(|&place| bias[place]).collect(),
            upper: upper.parameter("W", &[classes, HIDDEN])?.to_vec(),
            upper_bias: upper.parameter("b", &[classes])?.to_vec(),
        })
    }
}

/// The weights of both decoders, and what the towers add outside of their graphs, as one file.
pub(super) fn decoders(parts: &[(&str, &TowerWeights, &Decoder)]) -> Result<Vec<u8>, ImportError> {
    let mut tensors: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
    for (name, tower, decoder) in parts {
        let mut add = |part: &str, shape: &[usize], values: &[f32]| {
            let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            tensors.push((format!("{name}.{part}"), shape.to_vec(), bytes));
        };
        add("pad", &[decoder.features, FEATURE], &decoder.pad);
        add("bias", &[FEATURE], &decoder.bias);
        add("upper.weight", &[decoder.classes, HIDDEN], &decoder.upper);
        add("upper.bias", &[decoder.classes], &decoder.upper_bias);
        add("convolution.bias", &[CONVOLUTION], &tower.layers[1].bias());
    }
    let unsupported = |error: safetensors::SafeTensorError| ImportError::Unsupported(error.to_string());
    let mut views = Vec::new();
    for (name, shape, bytes) in &tensors {
        views.push((
            name.as_str(),
            TensorView::new(Dtype::F32, shape.clone(), bytes).map_err(unsupported)?,
        ));
    }
    safetensors::serialize(views, None).map_err(unsupported)
}
