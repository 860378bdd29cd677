//! Owns the greedy decoder of the named-entity recogniser: one action per token, `BILUO` with constraints.
//!
//! spaCy's `BiluoPushDown`. Pure: features in, spans out. Documents do not influence each other.

use pulp::{Arch, Simd, WithSimd};

use super::bundle::DecoderWeights;
use super::dense::{Feature, FeatureLookup, HIDDEN, Hidden, Scores, add, maxout};

/// Features of a state: the token, the first token of the open entity, the token before.
pub(super) const FEATURES: usize = 3;
/// Columns of the scores outside of an entity: `B-` and `U-` of each label, `O`, and room to the next eight.
const OUTSIDE: usize = 48;

/// An entity over whole tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EntitySpan {
    /// Its first token.
    pub(super) start: usize,
    /// The token behind its last.
    pub(super) end: usize,
    /// Its label, by number.
    pub(super) label: usize,
}

/// What the decoder has to know of a document's tokens.
pub(super) trait Tokens {
    /// How many there are.
    fn count(&self) -> usize;
    /// Whether a token is white space.
    fn is_space(&self, token: usize) -> bool;
    /// Whether a sentence starts with a token.
    fn starts_sentence(&self, token: usize) -> bool;
}

/// The recogniser's decoder.
pub(super) struct Recogniser {
    arch: Arch,
    pad: [Feature; FEATURES],
    bias: Feature,
    outside: Scores<OUTSIDE>,
    /// Weights and bias of `I-` and `L-` for each label.
    inside: Vec<[(Hidden, f32); 2]>,
}

/// How far a document is decoded.
#[derive(Debug, Default)]
pub(super) struct Recognition {
    next: usize,
    open: Option<(usize, usize)>,
    /// The entities found so far, in order.
    pub(super) entities: Vec<EntitySpan>,
}

impl Recognition {
    /// The tokens at which the next step looks.
    #[inline(always)]
    fn looks_at(&self) -> [usize; FEATURES] {
        match self.open {
            Some((start, _)) => [self.next, start, self.next - 1],
            None => [self.next; FEATURES],
        }
    }
}

impl Recogniser {
    /// A decoder for classes in spaCy's order: `B-`, `I-`, `L-`, `U-` of each of `labels`, `U-` alone, `O`.
    pub(super) fn new(weights: &DecoderWeights<FEATURES>, labels: usize) -> Self {
        let class = |number: usize| (weights.upper_row(number), weights.upper_bias[number]);
        let outside = (0..labels).chain(3 * labels..4 * labels).chain([4 * labels + 1]);
        Self {
            arch: Arch::new(),
            pad: weights.pad,
            bias: weights.bias,
            outside: Scores::new(outside.map(|number| Some(class(number)))),
            inside: (0..labels)
                .map(|label| [class(labels + label), class(2 * labels + label)])
                .collect(),
        }
    }

    /// The greatest number of labels there is room for.
    pub(super) const MAX_LABELS: usize = (OUTSIDE - 1) / 2;

    /// Decodes a document to its end. Where features are missing for the next step, it says of which tokens.
    pub(super) fn advance(
        &self,
        state: &mut Recognition,
        features: &impl FeatureLookup,
        tokens: &impl Tokens,
    ) -> Option<[usize; FEATURES]> {
        self.arch.dispatch(Advance {
            recogniser: self,
            state,
            features,
            tokens,
        })
    }

    #[inline(always)]
    fn step(
        &self,
        state: &mut Recognition,
        features: &impl FeatureLookup,
        tokens: &impl Tokens,
        token: usize,
    ) {
        let last = token + 1 == tokens.count();
        let may_go_on = !last && !tokens.starts_sentence(token + 1);
        match state.open {
            Some((start, label)) => {
                if may_go_on && self.goes_on(features, start, token, label) {
                    return;
                }
                state.entities.push(EntitySpan {
                    start,
                    end: token + 1,
                    label,
                });
                state.open = None;
            }
            None if tokens.is_space(token) => {}
            None => match self.begins(features, token, may_go_on) {
                Action::Begin(label) => state.open = Some((token, label)),
                Action::Unit(label) => state.entities.push(EntitySpan {
                    start: token,
                    end: token + 1,
                    label,
                }),
                Action::Out => {}
            },
        }
    }

    /// Whether `I-` scores more than `L-` within an entity. On a tie the lower class, `I-`, wins.
    #[inline(always)]
    fn goes_on(&self, features: &impl FeatureLookup, start: usize, token: usize, label: usize) -> bool {
        let hidden = self.hidden(
            features,
            token,
            features.feature(start, 1),
            features.feature(token - 1, 2),
        );
        let [inside, last] = &self.inside[label];
        let score = |(weights, bias): &(Hidden, f32)| {
            let products = hidden.iter().zip(weights);
            products.fold(0.0_f32, |sum, (unit, weight)| unit.mul_add(*weight, sum)) + bias
        };
        score(inside) >= score(last)
    }

    #[inline(always)]
    fn begins(&self, features: &impl FeatureLookup, token: usize, may_go_on: bool) -> Action {
        let labels = self.inside.len();
        let scores = self
            .outside
            .of(&self.hidden(features, token, &self.pad[1], &self.pad[2]));
        let first = if may_go_on { 0 } else { labels };
        let mut best = first;
        for column in first + 1..=2 * labels {
            if scores[column] > scores[best] {
                best = column;
            }
        }
        match best {
            begin if begin < labels => Action::Begin(begin),
            unit if unit < 2 * labels => Action::Unit(unit - labels),
            _ => Action::Out,
        }
    }

    #[inline(always)]
    fn hidden(
        &self,
        features: &impl FeatureLookup,
        token: usize,
        start: &Feature,
        before: &Feature,
    ) -> [f32; HIDDEN] {
        let mut sum = *features.feature(token, 0);
        add(&mut sum, start);
        add(&mut sum, before);
        add(&mut sum, &self.bias);
        maxout(&sum)
    }
}

/// The loop of [`Recogniser::advance`], for [`pulp`] to compile once per instruction set.
struct Advance<'a, L, T> {
    recogniser: &'a Recogniser,
    state: &'a mut Recognition,
    features: &'a L,
    tokens: &'a T,
}

impl<L: FeatureLookup, T: Tokens> WithSimd for Advance<'_, L, T> {
    type Output = Option<[usize; FEATURES]>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) -> Self::Output {
        let Self {
            recogniser,
            state,
            features,
            tokens,
        } = self;
        while state.next < tokens.count() {
            let needed = state.looks_at();
            if !needed.iter().all(|&token| features.holds(token)) {
                return Some(needed);
            }
            recogniser.step(state, features, tokens, state.next);
            state.next += 1;
        }
        None
    }
}

/// What to do with a token outside of an entity.
enum Action {
    Begin(usize),
    Unit(usize),
    Out,
}
