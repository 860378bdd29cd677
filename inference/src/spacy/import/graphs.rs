//! Owns the two graphs of a tower: `embed`, a function of one word, and `encode`, a function of a run of words.
//!
//! The first convolution is cut in two: what a word gives to it is linear and depends on the word alone, so `embed`
//! computes that and it can be kept per word; adding up and the maxout come after.

use super::onnx::{Edge, Graph, Setting};
use super::weights::{DEPTH, Decoder, MAXOUT_PIECES, MaxoutLayer, TowerWeights};
use crate::spacy::dense::{FEATURE, HIDDEN};
use crate::spacy::vectors::{CONVOLUTION, PARTS, WIDTH};

/// Rows of a table that are added up for one attribute.
const KEYS: usize = 4;
/// thinc's, added to the variance.
const LAYER_NORM_EPSILON: f32 = 1e-8;
/// ONNX's way to say "to the end".
const END: i64 = i64::MAX;

/// Table rows of words (`keys`) to their vectors (`words`) and their parts in the first convolution (`convolution`):
/// as left neighbour, as themselves, as right neighbour.
pub(super) fn embed(tower: &TowerWeights) -> Vec<u8> {
    let mut graph = Graph::new("embed");
    let columns = tower.embedding.columns.len();
    let keys = graph.integers("keys", &[columns, KEYS]);
    let mut embedded = Vec::new();
    for (column, table) in (0_i64..).zip(&tower.tables) {
        let column = graph.scalar(column);
        let rows = graph.apply("Gather", &[&keys, &column], &[Setting::Integer("axis", 1)]);
        let table = graph.weights(&[table.len() / WIDTH, WIDTH], table);
        let vectors = graph.apply("Gather", &[&table, &rows], &[Setting::Integer("axis", 0)]);
        let axes = graph.list(&[1]);
        embedded.push(graph.apply(
            "ReduceSum",
            &[&vectors, &axes],
            &[Setting::Integer("keepdims", 0)],
        ));
    }
    let embedded = graph.apply(
        "Concat",
        &embedded.iter().collect::<Vec<_>>(),
        &[Setting::Integer("axis", 1)],
    );
    let mixed = product(&mut graph, &embedded, &tower.layers[0]);
    let words = maxout(&mut graph, &mixed, &tower.layers[0]);
    graph.output("words", &words, &[WIDTH]);

    let parts = tower.first_convolution();
    // A row of the joint matrix holds that input's weights in each of the parts.
    let row = |input: usize| {
        parts
            .iter()
            .flat_map(move |part| &part[input * CONVOLUTION..(input + 1) * CONVOLUTION])
    };
    let weights: Vec<f32> = (0..WIDTH).flat_map(row).copied().collect();
    let weights = graph.weights(&[WIDTH, PARTS * CONVOLUTION], &weights);
    let convolution = graph.apply("MatMul", &[&words, &weights], &[]);
    graph.output("convolution", &convolution, &[PARTS * CONVOLUTION]);
    graph.finish()
}

/// The vectors of a run of words (`words`) and the sums of their parts in the first convolution (`convolution`) to
/// the features that a decoder reads.
pub(super) fn encode(tower: &TowerWeights, decoder: &Decoder) -> Vec<u8> {
    let mut graph = Graph::new("encode");
    let words = graph.floats("words", &[WIDTH]);
    let convolution = graph.floats("convolution", &[CONVOLUTION]);
    let first = maxout(&mut graph, &convolution, &tower.layers[1]);
    let mut rows = graph.apply("Add", &[&words, &first], &[]);
    for layer in &tower.layers[2..=DEPTH] {
        let window = window(&mut graph, &rows);
        let product = product(&mut graph, &window, layer);
        let convolved = maxout(&mut graph, &product, layer);
        rows = graph.apply("Add", &[&rows, &convolved], &[]);
    }
    let projection = graph.weights(&[HIDDEN, WIDTH], &tower.projection);
    let bias = graph.weights(&[HIDDEN], &tower.projection_bias);
    let projected = graph.apply(
        "Gemm",
        &[&rows, &projection, &bias],
        &[Setting::Integer("transB", 1)],
    );
    let width = decoder.features * FEATURE;
    let lower = graph.weights(&[HIDDEN, width], &decoder.lower);
    let features = graph.apply("MatMul", &[&projected, &lower], &[]);
    graph.output("features", &features, &[width]);
    graph.finish()
}

/// Each row with the row before in front and the row after behind; zeros beyond the ends.
fn window(graph: &mut Graph, rows: &Edge) -> Edge {
    let axis = graph.list(&[0]);
    let mut shifted = |start: i64, end: i64, padding: [i64; 4]| {
        let (start, end, padding) = (graph.list(&[start]), graph.list(&[end]), graph.list(&padding));
        let kept = graph.apply("Slice", &[rows, &start, &end, &axis], &[]);
        graph.apply("Pad", &[&kept, &padding], &[])
    };
    let before = shifted(0, -1, [1, 0, 0, 0]);
    let after = shifted(1, END, [0, 0, 1, 0]);
    graph.apply("Concat", &[&before, rows, &after], &[Setting::Integer("axis", 1)])
}

fn product(graph: &mut Graph, rows: &Edge, layer: &MaxoutLayer) -> Edge {
    let weights = graph.weights(&[layer.inputs, CONVOLUTION], &layer.columns(0..layer.inputs));
    let bias = graph.weights(&[CONVOLUTION], &layer.bias());
    graph.apply("Gemm", &[rows, &weights, &bias], &[])
}

/// The greatest of the pieces, normalised.
fn maxout(graph: &mut Graph, product: &Edge, layer: &MaxoutLayer) -> Edge {
    let sizes = graph.list(&[i64::try_from(WIDTH).unwrap_or_default(); MAXOUT_PIECES]);
    let pieces = graph.apply_split(&[product, &sizes], MAXOUT_PIECES, &[Setting::Integer("axis", 1)]);
    let greatest = graph.apply("Max", &pieces.iter().collect::<Vec<_>>(), &[]);
    let gain = graph.weights(&[WIDTH], &layer.gain);
    let shift = graph.weights(&[WIDTH], &layer.shift);
    let settings = [
        Setting::Integer("axis", -1),
        Setting::Float("epsilon", LAYER_NORM_EPSILON),
    ];
    graph.apply("LayerNormalization", &[&greatest, &gain, &shift], &settings)
}
