//! One head of one row: weights and outputs, and the gradients of what they were made from.
//!
//! Weights lie by key: `weights[key][query]`, so that a softmax over the keys of sixteen queries
//! needs no sum across lanes. Queries are filled up to whole vectors; what stands there is finite,
//! and nobody reads it.

use super::product::{Left, Plain, Transposed, View, ViewMut, product};
use super::{Gradients, Heads, Inputs};
use crate::simd::{Lanes, WIDTH};

/// The size of a row.
#[derive(Clone, Copy)]
pub(super) struct Size {
    pub(super) length: usize,
    /// The next multiple of sixteen, not zero.
    pub(super) filled: usize,
}

impl Size {
    pub(super) fn of(length: usize) -> Self {
        let filled = length
            .max(1)
            .checked_next_multiple_of(WIDTH)
            .unwrap_or(usize::MAX);
        Self { length, filled }
    }

    /// Of one head.
    pub(super) fn num_weights(self) -> usize {
        self.length.saturating_mul(self.filled)
    }
}

/// Room for one head, kept from one to the next.
#[derive(Default)]
pub(super) struct Scratch {
    turned: Vec<f32>,
    used: Vec<f32>,
    slopes: Vec<f32>,
}

/// One head of one row; its arrays begin with its first element of the first token.
#[derive(Clone, Copy)]
pub(super) struct Head<'a, L> {
    pub(super) lanes: L,
    pub(super) heads: &'a Heads,
    pub(super) size: Size,
}

impl<L: Lanes> Head<'_, L> {
    /// Writes the weights and the outputs.
    #[inline(always)]
    pub(super) fn forward(
        self,
        inputs: Inputs<'_>,
        scratch: &mut Scratch,
        weights: &mut [f32],
        out: &mut [f32],
    ) {
        let Size { length, filled } = self.size;
        self.turn(inputs.query, &mut scratch.turned);
        let scores = ViewMut::new(weights, filled);
        let queries = View::new(&scratch.turned, filled);
        let shape = [length, self.heads.width, filled];
        self.product(Plain(self.tokens(inputs.key)), queries, scores, shape);
        self.softmax(weights);
        let used = self.used(weights, inputs.kept, &mut scratch.used);
        let used = Transposed(View::new(used, filled));
        let out = self.tokens_mut(out);
        self.product(used, self.tokens(inputs.value), out, self.shape());
    }

    /// Writes the gradients, by the weights that `forward` left and the gradient of the outputs.
    #[inline(always)]
    pub(super) fn backward(
        self,
        inputs: Inputs<'_>,
        scratch: &mut Scratch,
        weights: &[f32],
        gradient: &[f32],
        to: Gradients<'_>,
    ) {
        let Size { length, filled } = self.size;
        let Scratch {
            turned,
            used,
            slopes,
        } = scratch;
        let Gradients { query, key, value } = to;
        self.turn(gradient, turned);
        slopes.resize(weights.len(), 0.0);
        let by_weight = ViewMut::new(slopes, filled);
        let shape = [length, self.heads.width, filled];
        let values = Plain(self.tokens(inputs.value));
        self.product(values, View::new(turned, filled), by_weight, shape);
        if let Some(kept) = inputs.kept {
            times(self.lanes, slopes, kept);
        }
        self.softmax_slopes(weights, slopes);

        let used = Plain(View::new(self.used(weights, inputs.kept, used), filled));
        let slopes = View::new(slopes, filled);
        let (to_value, to_key) = (self.tokens_mut(value), self.tokens_mut(key));
        self.product(used, self.tokens(gradient), to_value, self.shape());
        self.product(
            Plain(slopes),
            self.tokens(inputs.query),
            to_key,
            self.shape(),
        );
        let (slopes, to_query) = (Transposed(slopes), self.tokens_mut(query));
        self.product(slopes, self.tokens(inputs.key), to_query, self.shape());
    }

    #[inline(always)]
    fn product<A: Left>(self, left: A, right: View<'_>, out: ViewMut<'_>, shape: [usize; 3]) {
        product(self.lanes, left, right, out, shape);
    }

    #[inline(always)]
    fn shape(self) -> [usize; 3] {
        [self.size.length, self.size.length, self.heads.width]
    }

    #[inline(always)]
    fn tokens(self, values: &[f32]) -> View<'_> {
        View::new(values, self.heads.stride())
    }

    #[inline(always)]
    fn tokens_mut(self, values: &mut [f32]) -> ViewMut<'_> {
        ViewMut::new(values, self.heads.stride())
    }

    /// Writes tokens x width as width x filled, zeros behind the tokens.
    #[inline(always)]
    fn turn(self, from: &[f32], to: &mut Vec<f32>) {
        to.clear();
        to.resize(self.heads.width * self.size.filled, 0.0);
        let tokens = from.chunks(self.heads.stride()).take(self.size.length);
        for (index, token) in tokens.enumerate() {
            let column = to.iter_mut().skip(index).step_by(self.size.filled);
            for (to, &value) in column.zip(token) {
                *to = value;
            }
        }
    }

    /// Scores become weights: a softmax over the keys of each query.
    #[inline(always)]
    fn softmax(self, weights: &mut [f32]) {
        let (lanes, filled) = (self.lanes, self.size.filled);
        let scaling = lanes.splat(self.heads.scaling);
        for (key, row) in weights.chunks_exact_mut(filled).enumerate() {
            for vector in row.as_chunks_mut::<WIDTH>().0 {
                lanes.store(lanes.mul(lanes.load(vector), scaling), vector);
            }
            if self.heads.is_causal
                && let Some(earlier) = row.get_mut(..key)
            {
                earlier.fill(f32::NEG_INFINITY);
            }
        }
        for column in 0..filled / WIDTH {
            let mut max = lanes.splat(f32::NEG_INFINITY);
            for row in weights.chunks_exact(filled) {
                max = lanes.max(lanes.load(vector(row, column)), max);
            }
            let mut sum = lanes.splat(0.0);
            for row in weights.chunks_exact_mut(filled) {
                if let Some(place) = vector_mut(row, column) {
                    let exp = lanes.exp(lanes.sub(lanes.load(place), max));
                    sum = lanes.add(sum, exp);
                    lanes.store(exp, place);
                }
            }
            let share = lanes.div(lanes.splat(1.0), sum);
            for row in weights.chunks_exact_mut(filled) {
                if let Some(place) = vector_mut(row, column) {
                    lanes.store(lanes.mul(lanes.load(place), share), place);
                }
            }
        }
    }

    /// Gradients of weights become those of the scores, before scaling.
    #[inline(always)]
    fn softmax_slopes(self, weights: &[f32], slopes: &mut [f32]) {
        let (lanes, filled) = (self.lanes, self.size.filled);
        let scaling = lanes.splat(self.heads.scaling);
        for column in 0..filled / WIDTH {
            let mut sum = lanes.splat(0.0);
            for (weight, slope) in weights
                .chunks_exact(filled)
                .zip(slopes.chunks_exact(filled))
            {
                let weight = lanes.load(vector(weight, column));
                sum = lanes.mul_add(weight, lanes.load(vector(slope, column)), sum);
            }
            let rows = weights
                .chunks_exact(filled)
                .zip(slopes.chunks_exact_mut(filled));
            for (weight, slope) in rows {
                if let Some(slope) = vector_mut(slope, column) {
                    let weight = lanes.mul(lanes.load(vector(weight, column)), scaling);
                    let beyond = lanes.sub(lanes.load(slope), sum);
                    lanes.store(lanes.mul(weight, beyond), slope);
                }
            }
        }
    }

    /// The weights after dropout.
    #[inline(always)]
    fn used<'b>(
        self,
        weights: &'b [f32],
        kept: Option<&[f32]>,
        room: &'b mut Vec<f32>,
    ) -> &'b [f32] {
        let Some(kept) = kept else {
            return weights;
        };
        room.clear();
        room.extend_from_slice(weights);
        times(self.lanes, room, kept);
        room
    }
}

#[inline(always)]
fn times<L: Lanes>(lanes: L, values: &mut [f32], factors: &[f32]) {
    let values = values.as_chunks_mut::<WIDTH>().0;
    for (value, factor) in values.iter_mut().zip(factors.as_chunks::<WIDTH>().0) {
        lanes.store(lanes.mul(lanes.load(value), lanes.load(factor)), value);
    }
}

/// Sixteen elements of a row.
#[inline(always)]
fn vector(row: &[f32], index: usize) -> &[f32; WIDTH] {
    row.as_chunks().0.get(index).unwrap_or(&[0.0; WIDTH])
}

#[inline(always)]
fn vector_mut(row: &mut [f32], index: usize) -> Option<&mut [f32; WIDTH]> {
    row.as_chunks_mut().0.get_mut(index)
}
