//! The passes over one row that measure it: maximum, exponentials with their sums.
//!
//! `work` is the row in float32: the row itself where it is float32 and may be overwritten, else a
//! row beside it that stays in the cache. What does not fill sixteen lanes is padded so that it adds
//! nothing: with minus infinity below a maximum and an exponential, with 0 in a sum.
//!
//! `ahead` is the row that comes next: the exponentials, which compute the most, ask for its memory
//! meanwhile.

use super::format::{F32, Format};
use crate::simd::{Lanes, WIDTH, prefetch};

/// Sums are float32 within a block and float64 beyond, so that their error does not grow with the
/// vocabulary.
const BLOCK: usize = 2048;

/// Vectors that are computed side by side, because each sum waits for itself.
const ABREAST: usize = 4;

/// How logits are shaped before the softmax.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) scale: f32,
    pub(super) softcap: Option<f32>,
}

impl Shape {
    #[expect(clippy::float_cmp, reason = "exactly 1 changes nothing")]
    pub(super) fn is_plain(self) -> bool {
        self.scale == 1.0 && self.softcap.is_none()
    }

    #[inline(always)]
    fn apply<L: Lanes>(self, lanes: L, values: L::Vector) -> L::Vector {
        let scaled = lanes.mul(values, lanes.splat(self.scale));
        let Some(cap) = self.softcap else {
            return scaled;
        };
        let cap = lanes.splat(cap);
        lanes.mul(cap, lanes.tanh(lanes.div(scaled, cap)))
    }
}

/// The first elements of sixteen, the others as `fill`.
#[inline(always)]
pub(super) fn padded<T: Copy>(tail: &[T], fill: T) -> [T; WIDTH] {
    let mut lanes = [fill; WIDTH];
    for (lane, &value) in lanes.iter_mut().zip(tail) {
        *lane = value;
    }
    lanes
}

#[inline(always)]
pub(super) fn unpad<T: Copy>(lanes: &[T; WIDTH], tail: &mut [T]) {
    for (value, &lane) in tail.iter_mut().zip(lanes) {
        *value = lane;
    }
}

/// The maximum; NaN counts as nothing, and comes back with the exponentials.
#[inline(always)]
pub(super) fn maximum<F: Format, L: Lanes>(lanes: L, row: &[F::Bits]) -> f32 {
    let (vectors, tail) = row.as_chunks::<WIDTH>();
    let (groups, singles) = vectors.as_chunks::<ABREAST>();
    let lowest = lanes.splat(f32::NEG_INFINITY);
    let tail = padded(tail, F::narrow_one(f32::NEG_INFINITY));
    // NaN may only ever be the first operand.
    let rest = lanes.max(F::widen(lanes, &tail), lowest);
    let mut max = [rest; ABREAST];
    for group in groups {
        for (max, vector) in max.iter_mut().zip(group) {
            *max = lanes.max(F::widen(lanes, vector), *max);
        }
    }
    let [mut max, others @ ..] = max;
    for other in others {
        max = lanes.max(other, max);
    }
    for vector in singles {
        max = lanes.max(F::widen(lanes, vector), max);
    }
    lanes.largest(max)
}

/// Shapes `work` where it lies and gives its maximum.
#[inline(always)]
pub(super) fn shape_in_place<L: Lanes>(lanes: L, work: &mut [f32], shape: Shape) -> f32 {
    if !shape.is_plain() {
        let (vectors, tail) = work.as_chunks_mut::<WIDTH>();
        for vector in vectors {
            let shaped = shape.apply(lanes, lanes.load(vector));
            lanes.store(shaped, vector);
        }
        let mut last = padded(tail, 0.0);
        let shaped = shape.apply(lanes, lanes.load(&last));
        lanes.store(shaped, &mut last);
        unpad(&last, tail);
    }
    maximum::<F32, L>(lanes, work)
}

/// Widens a row into `work`; both have the same length.
#[inline(always)]
pub(super) fn widen<F: Format, L: Lanes>(lanes: L, row: &[F::Bits], work: &mut [f32]) {
    let (from, from_tail) = row.as_chunks::<WIDTH>();
    let (to, to_tail) = work.as_chunks_mut::<WIDTH>();
    for (from, to) in from.iter().zip(to) {
        lanes.store(F::widen(lanes, from), to);
    }
    for (from, to) in from_tail.iter().zip(to_tail) {
        *to = F::widen_one(*from);
    }
}

/// `sum exp(work - max)`; with `keep` the exponentials take the place of `work`.
#[inline(always)]
pub(super) fn exponentials<T, L: Lanes>(
    lanes: L,
    work: &mut [f32],
    max: f32,
    keep: bool,
    ahead: &[T],
) -> f64 {
    let mut total = 0.0;
    for (index, block) in work.chunks_mut(BLOCK).enumerate() {
        let ahead = block_of(ahead, index);
        total += f64::from(block_exponentials(lanes, block, max, keep, ahead));
    }
    total
}

/// The same of a row in its format, without `left_out`; the exponentials are written to `work`.
///
/// Block by block, so that what is widened is still in the nearest cache.
#[inline(always)]
pub(super) fn widened_exponentials<F: Format, L: Lanes>(
    lanes: L,
    row: &[F::Bits],
    work: &mut [f32],
    max: f32,
    left_out: usize,
    ahead: &[F::Bits],
) -> f64 {
    let mut total = 0.0;
    let blocks = row.chunks(BLOCK).zip(work.chunks_mut(BLOCK));
    for (index, (from, to)) in blocks.enumerate() {
        widen::<F, L>(lanes, from, to);
        let place = left_out.checked_sub(index * BLOCK);
        if let Some(place) = place.and_then(|place| to.get_mut(place)) {
            *place = f32::NEG_INFINITY;
        }
        let ahead = block_of(ahead, index);
        total += f64::from(block_exponentials(lanes, to, max, true, ahead));
    }
    total
}

/// A row from the start of one of its blocks on.
#[inline(always)]
fn block_of<T>(row: &[T], index: usize) -> &[T] {
    row.get(index * BLOCK..).unwrap_or_default()
}

#[inline(always)]
fn block_exponentials<T, L: Lanes>(
    lanes: L,
    block: &mut [f32],
    max: f32,
    keep: bool,
    ahead: &[T],
) -> f32 {
    let shift = lanes.splat(max);
    let (vectors, tail) = block.as_chunks_mut::<WIDTH>();
    let (groups, singles) = vectors.as_chunks_mut::<ABREAST>();
    let (aheads, _) = ahead.as_chunks::<{ ABREAST * WIDTH }>();
    let mut sums = [lanes.splat(0.0); ABREAST];
    for (index, group) in groups.iter_mut().enumerate() {
        if let Some(values) = aheads.get(index) {
            prefetch(values);
        }
        for (sum, vector) in sums.iter_mut().zip(group) {
            let exp = lanes.exp(lanes.sub(lanes.load(vector), shift));
            *sum = lanes.add(*sum, exp);
            if keep {
                lanes.store(exp, vector);
            }
        }
    }
    let [a, b, c, d] = sums;
    let mut sum = lanes.add(lanes.add(a, b), lanes.add(c, d));
    for vector in singles {
        let exp = lanes.exp(lanes.sub(lanes.load(vector), shift));
        sum = lanes.add(sum, exp);
        if keep {
            lanes.store(exp, vector);
        }
    }
    if !tail.is_empty() {
        let mut last = padded(tail, f32::NEG_INFINITY);
        let exp = lanes.exp(lanes.sub(lanes.load(&last), shift));
        // Where the maximum itself is minus infinity the padding is NaN, as the row is.
        sum = lanes.add(sum, exp);
        lanes.store(exp, &mut last);
        if keep {
            unpad(&last, tail);
        }
    }
    lanes.total(sum)
}

/// `sum exp(d) d` and `sum w d` for `d = work - max`; without weights `w` is 1.
#[inline(always)]
pub(super) fn further_sums<L: Lanes>(
    lanes: L,
    work: &[f32],
    max: f32,
    weights: &[f32],
) -> (f64, f64) {
    let shift = lanes.splat(max);
    let (mut exp_times, mut weighted) = (0.0, 0.0);
    for (index, block) in work.chunks(BLOCK).enumerate() {
        let weights = weights.get(index * BLOCK..).unwrap_or_default();
        let (mut times, mut all) = (lanes.splat(0.0), lanes.splat(0.0));
        let (vectors, tail) = block.as_chunks::<WIDTH>();
        let (weight_vectors, weight_tail) = weights.as_chunks::<WIDTH>();
        for (place, vector) in vectors.iter().enumerate() {
            let below = lanes.sub(lanes.load(vector), shift);
            times = lanes.add(times, entropy_term(lanes, below));
            let weighted = match weight_vectors.get(place) {
                Some(weight) => lanes.mul(lanes.load(weight), below),
                None => below,
            };
            all = lanes.add(all, weighted);
        }
        exp_times += f64::from(lanes.total(times));
        weighted += f64::from(lanes.total(all));
        if !tail.is_empty() {
            let last = lanes.sub(lanes.load(&padded(tail, f32::NEG_INFINITY)), shift);
            exp_times += f64::from(lanes.total(entropy_term(lanes, last)));
            for (place, &value) in tail.iter().enumerate() {
                let weight = weight_tail.get(place).copied().unwrap_or(1.0);
                weighted += f64::from(weight) * (f64::from(value) - f64::from(max));
            }
        }
    }
    (exp_times, weighted)
}

/// `exp(d) d`, 0 where `d` is minus infinity.
#[inline(always)]
fn entropy_term<L: Lanes>(lanes: L, below: L::Vector) -> L::Vector {
    let held = lanes.max(lanes.splat(-100.0), below);
    lanes.mul(lanes.exp(below), held)
}
