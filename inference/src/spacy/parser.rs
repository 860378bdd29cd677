//! Owns the greedy decoder of the dependency parser, as far as sentence starts depend on it.
//!
//! spaCy's arc-eager system. Labels are not kept: a sentence starts where the root of a token is not the root of the
//! token before, and no label has a say in that. Pure: features in, sentence starts out.

mod parse;

use pulp::{Arch, Simd, WithSimd};

pub(super) use self::parse::Parse;
use super::bundle::DecoderWeights;
use super::dense::{Feature, FeatureLookup, Scores, add, greatest, maxout};

/// Features of a state: two tokens of the buffer, three of the stack, and three children.
pub(super) const FEATURES: usize = 8;
/// Columns of the scores: left arcs and right arcs, each rounded up to eights, then shift, reduce and break.
const COLUMNS: usize = 112;
const NOBODY: usize = usize::MAX;

/// The parser's decoder.
pub(super) struct Parser {
    arch: Arch,
    pad: [Feature; FEATURES],
    bias: Feature,
    scores: Scores<COLUMNS>,
    left_columns: usize,
    arc_columns: usize,
}

/// How many classes of each kind a parser has, in spaCy's order: shift, reduce, left arcs, right arcs, break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ParserClasses {
    pub(super) left: usize,
    pub(super) right: usize,
}

impl ParserClasses {
    /// How many classes there are.
    pub(super) fn count(self) -> usize {
        self.left + self.right + 3
    }

    /// Whether there is room for them.
    pub(super) fn fit(self) -> bool {
        self.left.next_multiple_of(8) + self.right.next_multiple_of(8) + 3 <= COLUMNS
    }
}

/// What a transition does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Shift,
    Reduce,
    LeftArc,
    RightArc,
    Break,
}

impl Parser {
    pub(super) fn new(weights: &DecoderWeights<FEATURES>, classes: ParserClasses) -> Self {
        let left_columns = classes.left.next_multiple_of(8);
        let arc_columns = left_columns + classes.right.next_multiple_of(8);
        let mut columns = [None; COLUMNS];
        let numbers = (0..classes.left).chain(left_columns..left_columns + classes.right);
        for (column, class) in numbers.zip(2..) {
            columns[column] = Some(class);
        }
        for (column, class) in (arc_columns..).zip([0, 1, classes.count() - 1]) {
            columns[column] = Some(class);
        }
        let class = |number: usize| (weights.upper_row(number), weights.upper_bias[number]);
        let scores = Scores::new(columns.into_iter().map(|number| number.map(class)));
        Self {
            arch: Arch::new(),
            pad: weights.pad,
            bias: weights.bias,
            scores,
            left_columns,
            arc_columns,
        }
    }

    /// Parses until it is known whether the token `until`, and each before it, starts a sentence, or the document ends.
    /// Where features are missing for the next step, it says of which tokens it needs them; [`NOBODY`] needs none.
    pub(super) fn advance(
        &self,
        parse: &mut Parse,
        features: &impl FeatureLookup,
        until: usize,
    ) -> Option<[usize; FEATURES]> {
        self.arch.dispatch(Advance {
            parser: self,
            parse,
            features,
            until,
        })
    }

    #[inline(always)]
    fn sum(&self, tokens: [usize; FEATURES], features: &impl FeatureLookup) -> Feature {
        let mut sum = [0.0; super::dense::FEATURE];
        for (feature, token) in tokens.into_iter().enumerate() {
            add(
                &mut sum,
                if token == NOBODY {
                    &self.pad[feature]
                } else {
                    features.feature(token, feature)
                },
            );
        }
        add(&mut sum, &self.bias);
        sum
    }

    /// The valid action with the greatest score. All labels of a kind are valid together, and on a tie the kind that
    /// comes first in spaCy's order wins.
    #[inline(always)]
    fn best(&self, parse: &Parse, scores: &[f32; COLUMNS]) -> Option<Action> {
        let others = &scores[self.arc_columns..];
        let kinds = [
            (Action::Shift, others[0]),
            (Action::Reduce, others[1]),
            (Action::LeftArc, greatest(&scores[..self.left_columns])),
            (
                Action::RightArc,
                greatest(&scores[self.left_columns..self.arc_columns]),
            ),
            (Action::Break, others[2]),
        ];
        let mut best: Option<(Action, f32)> = None;
        for (action, score) in kinds {
            if parse.allows(action) && best.is_none_or(|(_, so_far)| score > so_far) {
                best = Some((action, score));
            }
        }
        best.map(|(action, _)| action)
    }
}

/// The loop of [`Parser::advance`], for [`pulp`] to compile once per instruction set.
struct Advance<'a, L> {
    parser: &'a Parser,
    parse: &'a mut Parse,
    features: &'a L,
    until: usize,
}

impl<L: FeatureLookup> WithSimd for Advance<'_, L> {
    type Output = Option<[usize; FEATURES]>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) -> Self::Output {
        let Self {
            parser,
            parse,
            features,
            until,
        } = self;
        while !parse.is_over() && !parse.is_settled(until) {
            let tokens = parse.features();
            if !tokens
                .iter()
                .all(|&token| token == NOBODY || features.holds(token))
            {
                return Some(tokens);
            }
            let hidden = maxout(&parser.sum(tokens, features));
            let action = parser.best(parse, &parser.scores.of(&hidden))?;
            parse.apply(action);
        }
        None
    }
}
