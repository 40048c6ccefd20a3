//! One row through all passes, for any lanes and any format.

use super::format::Format;
use super::gradient::{Bent, narrow, spread, spread_bent, spread_in_place};
use super::options::{Options, Outcome, Slopes, Sums, Target};
use super::passes::{
    Shape, exponentials, further_sums, maximum, shape_in_place, widen, widened_exponentials,
};
use super::scratch::Scratch;
use super::{Part, Row};
use crate::simd::Lanes;

/// What all rows of a call share.
pub(super) struct Call<'a> {
    options: &'a Options<'a>,
    /// The class weights in float32; empty for none.
    weights: &'a [f32],
    shape: Shape,
    width: usize,
}

impl<'a> Call<'a> {
    #[expect(clippy::cast_possible_truncation, reason = "float32 is what is wanted")]
    pub(super) fn new(options: &'a Options<'a>, weights: &'a [f32], width: usize) -> Self {
        let shape = Shape {
            scale: options.logit_scale as f32,
            softcap: options.softcap.map(|cap| cap as f32),
        };
        Self {
            options,
            weights,
            shape,
            width,
        }
    }

    /// The label of a row; None where it is ignored.
    fn label(&self, labels: &[i64], row: usize) -> Option<usize> {
        let label = labels.get(row).copied();
        let label = label.filter(|&label| label != self.options.ignore_index)?;
        usize::try_from(label).ok()
    }

    fn smoothing(&self) -> bool {
        self.options.label_smoothing > 0.0
    }

    /// Whether more is asked of the logits than their maximum and exponentials.
    fn needs_logits(&self) -> bool {
        !self.shape.is_plain() || self.options.statistics || self.smoothing()
    }
}

/// All rows of a part, in order.
///
/// A loop and no closure: a closure would be compiled without the vector instructions of the caller.
#[inline(always)]
pub(super) fn rows<F: Format, L: Lanes>(
    lanes: L,
    call: &Call<'_>,
    part: Part<'_, F::Bits>,
    labels: &[i64],
) -> Vec<Outcome> {
    let mut scratch = Scratch::default();
    let mut outcomes = Vec::with_capacity(part.rows.len());
    let mut rows = part.rows.into_iter().peekable();
    for number in part.range {
        let Some(row) = rows.next() else { break };
        let ahead = rows.peek().map(Row::logits).unwrap_or_default();
        let outcome = match call.label(labels, number) {
            None => ignored::<F>(row),
            Some(label) => {
                let target = Target::new(call.options, number, label, call.width);
                one::<F, L>(lanes, call, row, &target, &mut scratch, ahead)
            }
        };
        outcomes.push(outcome);
    }
    outcomes
}

fn ignored<F: Format>(row: Row<'_, F::Bits>) -> Outcome {
    if let Row::InPlace(gradient) | Row::Beside { gradient, .. } = row {
        gradient.fill(F::Bits::default());
    }
    Outcome::default()
}

#[inline(always)]
fn one<F: Format, L: Lanes>(
    lanes: L,
    call: &Call<'_>,
    row: Row<'_, F::Bits>,
    target: &Target,
    scratch: &mut Scratch,
    ahead: &[F::Bits],
) -> Outcome {
    match row {
        Row::LossOnly(logits) => {
            let work = scratch.row(logits.len());
            measure_beside::<F, L>(lanes, call, logits, work, target, ahead).outcome
        }
        Row::Beside { logits, gradient } => {
            let work = scratch.row(logits.len());
            let found = measure_beside::<F, L>(lanes, call, logits, work, target, ahead);
            finish::<F, L>(lanes, call, &found, work, gradient, target);
            found.outcome
        }
        Row::InPlace(row) => {
            if let Some(work) = F::as_float32(row) {
                let found = measure(lanes, call, work, target, ahead);
                finish_in_place(lanes, call, &found, work);
                if let Some(place) = work.get_mut(target.label) {
                    *place = found.at_label;
                }
                return found.outcome;
            }
            let work = scratch.row(row.len());
            let found = measure_beside::<F, L>(lanes, call, row, work, target, ahead);
            finish::<F, L>(lanes, call, &found, work, row, target);
            found.outcome
        }
    }
}

/// What is known of a row once its sums are.
struct Found {
    outcome: Outcome,
    max: f32,
    /// The factor of the exponentials in the gradient.
    softmax: f32,
    /// What is taken from the gradient of each class.
    each: f32,
    /// The gradient at the label.
    at_label: f32,
}

/// Loss and slopes of a row that is not overwritten yet; `work` holds what [`measure`] leaves.
#[inline(always)]
fn measure_beside<F: Format, L: Lanes>(
    lanes: L,
    call: &Call<'_>,
    row: &[F::Bits],
    work: &mut [f32],
    target: &Target,
    ahead: &[F::Bits],
) -> Found {
    if call.needs_logits() {
        widen::<F, L>(lanes, row, work);
        return measure(lanes, call, work, target, ahead);
    }
    let max = maximum::<F, L>(lanes, row);
    let value = row
        .get(target.label)
        .map_or(f32::NAN, |&bits| F::widen_one(bits));
    let sums = Sums {
        max: f64::from(max),
        is_infinite: max.is_infinite() && !row.iter().any(|&bits| F::widen_one(bits).is_nan()),
        label: f64::from(value) - f64::from(max),
        others: widened_exponentials::<F, L>(lanes, row, work, max, target.label, ahead),
        exp_times: 0.0,
        weighted: 0.0,
    };
    Found::new(call.options, &sums, target, value, false)
}

/// Loss and slopes; `work` holds exponentials afterwards, or still the logits under a softcap.
#[inline(always)]
fn measure<T, L: Lanes>(
    lanes: L,
    call: &Call<'_>,
    work: &mut [f32],
    target: &Target,
    ahead: &[T],
) -> Found {
    let options = call.options;
    let max = shape_in_place(lanes, work, call.shape);
    let value = work.get(target.label).copied().unwrap_or(f32::NAN);
    let is_infinite = max.is_infinite() && !work.iter().any(|value| value.is_nan());
    let is_correct = options.statistics && is_first_largest(work, max, target.label);
    let (exp_times, weighted) = if options.statistics || call.smoothing() {
        further_sums(lanes, work, max, call.weights)
    } else {
        (0.0, 0.0)
    };
    if let Some(place) = work.get_mut(target.label) {
        // Left out of the sum; its gradient is written apart.
        *place = f32::NEG_INFINITY;
    }
    let sums = Sums {
        max: f64::from(max),
        is_infinite,
        label: f64::from(value) - f64::from(max),
        others: exponentials(lanes, work, max, call.shape.softcap.is_none(), ahead),
        exp_times,
        weighted,
    };
    Found::new(options, &sums, target, value, is_correct)
}

impl Found {
    /// What follows from the sums of a row and the shaped logit at its label.
    #[expect(clippy::cast_possible_truncation, reason = "float32 is what is wanted")]
    fn new(
        options: &Options<'_>,
        sums: &Sums,
        target: &Target,
        value: f32,
        is_correct: bool,
    ) -> Self {
        let (outcome, slopes) = target.outcome(options, sums, is_correct);
        Self {
            outcome,
            max: sums.max as f32,
            softmax: (slopes.softmax / sums.exp() * linear_slope(options)) as f32,
            each: (slopes.each * linear_slope(options)) as f32,
            at_label: label_gradient(options, sums, slopes, target, f64::from(value)) as f32,
        }
    }
}

fn linear_slope(options: &Options<'_>) -> f64 {
    options.logit_scale
}

fn label_gradient(
    options: &Options<'_>,
    sums: &Sums,
    slopes: Slopes,
    target: &Target,
    value: f64,
) -> f64 {
    let gradient = slopes.at_label(sums, target.class_weight);
    let capped = options
        .softcap
        .map_or(1.0, |cap| 1.0 - (value / cap) * (value / cap));
    gradient * capped * linear_slope(options)
}

/// Whether the label is where `argmax` would point; looked for only where it ties the maximum.
#[expect(clippy::float_cmp, reason = "the maximum is one of the values")]
fn is_first_largest(work: &[f32], max: f32, label: usize) -> bool {
    work.get(label) == Some(&max)
        && work
            .get(..label)
            .is_some_and(|before| before.iter().all(|&value| value != max))
}

/// None where a product makes the gradient.
fn bent<'a>(call: &Call<'a>, found: &Found) -> Option<Bent<'a>> {
    let needs_weights = call.smoothing() && !call.weights.is_empty();
    if !needs_weights && call.shape.softcap.is_none() {
        return None;
    }
    Some(Bent {
        max: call.shape.softcap.map(|_| found.max),
        softmax: found.softmax,
        each: found.each,
        softcap: call.shape.softcap,
        weights: call.weights,
    })
}

#[inline(always)]
fn finish_in_place<L: Lanes>(lanes: L, call: &Call<'_>, found: &Found, work: &mut [f32]) {
    match bent(call, found) {
        None => spread_in_place(lanes, work, found.softmax, found.each),
        Some(bent) => spread_bent(lanes, work, bent),
    }
}

#[inline(always)]
fn finish<F: Format, L: Lanes>(
    lanes: L,
    call: &Call<'_>,
    found: &Found,
    work: &mut [f32],
    gradient: &mut [F::Bits],
    target: &Target,
) {
    match bent(call, found) {
        None => spread::<F, L>(lanes, work, gradient, found.softmax, found.each),
        Some(bent) => {
            spread_bent(lanes, work, bent);
            narrow::<F, L>(lanes, work, gradient);
        }
    }
    if let Some(place) = gradient.get_mut(target.label) {
        *place = F::narrow_one(found.at_label);
    }
}
