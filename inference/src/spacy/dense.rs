//! Owns the last step of a transition's score: state vector to hidden layer to scores, in plain loops.
//!
//! Everything is inlined into a caller that [`pulp`] compiles once per instruction set. Sums run over the hidden units
//! in order, so the answer does not depend on the width of the machine's vectors.

/// Width of the hidden layer.
pub(super) const HIDDEN: usize = 64;
/// Pieces of the hidden layer's maxout.
pub(super) const PIECES: usize = 2;
/// Width of a state feature: piece-major, so that the maxout is one pass over two halves.
pub(super) const FEATURE: usize = HIDDEN * PIECES;

/// A feature of a parse state, or the sum of several.
pub(super) type Feature = [f32; FEATURE];
/// The hidden layer of a parse state.
pub(super) type Hidden = [f32; HIDDEN];

/// Where a decoder finds the features of tokens.
pub(super) trait FeatureLookup {
    /// Whether the features of `token` are here.
    fn holds(&self, token: usize) -> bool;
    /// Feature number `feature` of `token`, which must be here.
    fn feature(&self, token: usize, feature: usize) -> &Feature;
}

/// Rows of state features that a tower computed for the first tokens of one document.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    values: &'a [f32],
    features_per_token: usize,
    /// How many tokens there are features of.
    count: usize,
}

impl<'a> Rows<'a> {
    pub(super) fn new(values: &'a [f32], features_per_token: usize) -> Self {
        Self {
            values,
            features_per_token,
            count: values.len() / (features_per_token * FEATURE),
        }
    }

    /// The values of a range of tokens.
    pub(super) fn tokens(&self, range: std::ops::Range<usize>) -> &'a [f32] {
        let width = self.features_per_token * FEATURE;
        &self.values[range.start * width..range.end * width]
    }

    /// Feature number `feature` of `token`.
    #[inline(always)]
    #[expect(
        clippy::expect_used,
        reason = "a chunk of FEATURE values is an array of FEATURE values"
    )]
    pub(super) fn get(&self, token: usize, feature: usize) -> &'a Feature {
        let start = (token * self.features_per_token + feature) * FEATURE;
        self.values[start..start + FEATURE]
            .try_into()
            .expect("FEATURE values")
    }

    /// Those of the tokens before `end`.
    pub(super) fn until(&self, end: usize) -> Self {
        Self::new(self.tokens(0..end), self.features_per_token)
    }
}

impl FeatureLookup for Rows<'_> {
    #[inline(always)]
    fn holds(&self, token: usize) -> bool {
        token < self.count
    }

    #[inline(always)]
    fn feature(&self, token: usize, feature: usize) -> &Feature {
        self.get(token, feature)
    }
}

/// Adds `feature` to `sum`.
#[inline(always)]
pub(super) fn add(sum: &mut Feature, feature: &Feature) {
    for (sum, value) in sum.iter_mut().zip(feature) {
        *sum += value;
    }
}

/// The greater of the two pieces of each hidden unit.
#[inline(always)]
pub(super) fn maxout(sum: &Feature) -> Hidden {
    let mut hidden = [0.0; HIDDEN];
    let (first, second) = sum.split_at(HIDDEN);
    for ((unit, &a), &b) in hidden.iter_mut().zip(first).zip(second) {
        *unit = if a > b { a } else { b };
    }
    hidden
}

/// A linear layer over the hidden units with `N` outputs.
pub(super) struct Scores<const N: usize> {
    weights: Box<[[f32; N]; HIDDEN]>,
    bias: [f32; N],
}

impl<const N: usize> Scores<N> {
    /// Takes, for each output, the row of weights and the bias of that class; an output without one scores -∞.
    pub(super) fn new(classes: impl Iterator<Item = Option<(Hidden, f32)>>) -> Self {
        let mut scores = Self {
            weights: Box::new([[0.0; N]; HIDDEN]),
            bias: [f32::NEG_INFINITY; N],
        };
        for (output, class) in classes.take(N).enumerate() {
            let Some((weights, bias)) = class else { continue };
            scores.bias[output] = bias;
            for (row, weight) in scores.weights.iter_mut().zip(weights) {
                row[output] = weight;
            }
        }
        scores
    }

    /// The score of every output.
    #[inline(always)]
    pub(super) fn of(&self, hidden: &Hidden) -> [f32; N] {
        let mut sums = [0.0; N];
        for (row, &unit) in self.weights.iter().zip(hidden) {
            for (sum, &weight) in sums.iter_mut().zip(row) {
                *sum = unit.mul_add(weight, *sum);
            }
        }
        for (sum, bias) in sums.iter_mut().zip(&self.bias) {
            *sum += bias;
        }
        sums
    }
}

/// The greatest of some scores, which come in groups of eight.
#[inline(always)]
pub(super) fn greatest(scores: &[f32]) -> f32 {
    let (groups, _) = scores.as_chunks::<8>();
    let mut best = [f32::NEG_INFINITY; 8];
    for group in groups {
        for (best, &score) in best.iter_mut().zip(group) {
            *best = if score > *best { score } else { *best };
        }
    }
    best.into_iter().fold(
        f32::NEG_INFINITY,
        |best, score| if score > best { score } else { best },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hidden_layer_takes_the_greater_piece() {
        let mut sum = [0.0; FEATURE];
        (sum[3], sum[HIDDEN + 3]) = (1.0, 2.0);
        (sum[5], sum[HIDDEN + 5]) = (4.0, -1.0);
        let hidden = maxout(&sum);
        assert_eq!((hidden[3], hidden[5], hidden[0]), (2.0, 4.0, 0.0));
    }

    #[test]
    fn an_output_without_a_class_never_wins() {
        let mut weights = [0.0; HIDDEN];
        weights[0] = 2.0;
        let scores = Scores::<8>::new([None, Some((weights, 1.0))].into_iter());
        let mut hidden = [0.0; HIDDEN];
        hidden[0] = 3.0;
        let of = scores.of(&hidden);
        assert_eq!((of[0], of[1], greatest(&of)), (f32::NEG_INFINITY, 7.0, 7.0));
    }
}
