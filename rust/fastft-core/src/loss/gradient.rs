//! The pass over one row that makes its gradient, of what the others left in `work`.

use super::format::Format;
use super::passes::{padded, unpad};
use crate::simd::{Lanes, WIDTH};

/// Exponentials become the gradient: `exp * softmax - each`.
#[inline(always)]
pub(super) fn spread_in_place<L: Lanes>(lanes: L, work: &mut [f32], softmax: f32, each: f32) {
    let (factor, less) = (lanes.splat(softmax), lanes.splat(-each));
    let (vectors, tail) = work.as_chunks_mut::<WIDTH>();
    for vector in vectors {
        let gradient = lanes.mul_add(lanes.load(vector), factor, less);
        lanes.store(gradient, vector);
    }
    let mut last = padded(tail, 0.0);
    lanes.store(lanes.mul_add(lanes.load(&last), factor, less), &mut last);
    unpad(&last, tail);
}

/// The same into another row, in its format.
#[inline(always)]
pub(super) fn spread<F: Format, L: Lanes>(
    lanes: L,
    work: &[f32],
    gradient: &mut [F::Bits],
    softmax: f32,
    each: f32,
) {
    let (factor, less) = (lanes.splat(softmax), lanes.splat(-each));
    let (from, from_tail) = work.as_chunks::<WIDTH>();
    let (to, to_tail) = gradient.as_chunks_mut::<WIDTH>();
    for (from, to) in from.iter().zip(to) {
        F::narrow(lanes, lanes.mul_add(lanes.load(from), factor, less), to);
    }
    let last = lanes.mul_add(lanes.load(&padded(from_tail, 0.0)), factor, less);
    let mut narrow = [F::Bits::default(); WIDTH];
    F::narrow(lanes, last, &mut narrow);
    unpad(&narrow, to_tail);
}

/// What the gradient of a row with a softcap or with weights is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bent<'a> {
    /// Where `work` holds shaped logits, their maximum; None where it holds exponentials.
    pub(super) max: Option<f32>,
    pub(super) softmax: f32,
    pub(super) each: f32,
    pub(super) softcap: Option<f32>,
    /// Class weights; empty for none.
    pub(super) weights: &'a [f32],
}

/// The gradient where it takes more than a product: in place of `work`.
#[inline(always)]
pub(super) fn spread_bent<L: Lanes>(lanes: L, work: &mut [f32], bent: Bent<'_>) {
    let (vectors, tail) = work.as_chunks_mut::<WIDTH>();
    let (weights, weight_tail) = bent.weights.as_chunks::<WIDTH>();
    for (place, vector) in vectors.iter_mut().enumerate() {
        let weight = weights.get(place).copied().unwrap_or([1.0; WIDTH]);
        let gradient = bent.gradient(lanes, lanes.load(vector), &weight);
        lanes.store(gradient, vector);
    }
    let weight = padded(weight_tail, 1.0);
    let mut last = padded(tail, 0.0);
    let gradient = bent.gradient(lanes, lanes.load(&last), &weight);
    lanes.store(gradient, &mut last);
    unpad(&last, tail);
}

impl Bent<'_> {
    #[inline(always)]
    fn gradient<L: Lanes>(&self, lanes: L, values: L::Vector, weight: &[f32; WIDTH]) -> L::Vector {
        let exp = match self.max {
            Some(max) => lanes.exp(lanes.sub(values, lanes.splat(max))),
            None => values,
        };
        let even = lanes.mul(lanes.load(weight), lanes.splat(-self.each));
        let gradient = lanes.mul_add(exp, lanes.splat(self.softmax), even);
        let Some(cap) = self.softcap else {
            return gradient;
        };
        let share = lanes.div(values, lanes.splat(cap));
        let slope = lanes.sub(lanes.splat(1.0), lanes.mul(share, share));
        lanes.mul(gradient, slope)
    }
}

/// Float32 to the format of the gradient.
#[inline(always)]
pub(super) fn narrow<F: Format, L: Lanes>(lanes: L, work: &[f32], gradient: &mut [F::Bits]) {
    let (from, from_tail) = work.as_chunks::<WIDTH>();
    let (to, to_tail) = gradient.as_chunks_mut::<WIDTH>();
    for (from, to) in from.iter().zip(to) {
        F::narrow(lanes, lanes.load(from), to);
    }
    for (from, to) in from_tail.iter().zip(to_tail) {
        *to = F::narrow_one(*from);
    }
}
