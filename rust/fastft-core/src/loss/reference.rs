//! The plain way, in float64: one loop after the other, as the formulas are written.
//!
//! It is the path of float64 logits and what the tests hold the vector kernels against.

use super::options::{Options, Outcome, Slopes, Sums, Target};
use super::{Row, check};
use crate::error::Result;

/// [`cross_entropy`](super::cross_entropy) of float64 rows.
///
/// # Errors
///
/// Those of [`cross_entropy`](super::cross_entropy).
pub fn cross_entropy(
    rows: Vec<Row<'_, f64>>,
    labels: &[i64],
    options: &Options<'_>,
) -> Result<Vec<Outcome>> {
    check(&rows, labels, options)?;
    let numbered = rows.into_iter().zip(labels).enumerate();
    Ok(numbered
        .map(|(row, (logits, &label))| one_row(logits, row, label, options))
        .collect())
}

fn one_row(row: Row<'_, f64>, number: usize, label: i64, options: &Options<'_>) -> Outcome {
    let label = usize::try_from(label)
        .ok()
        .filter(|_| label != options.ignore_index);
    let (logits, gradient) = match row {
        Row::InPlace(logits) => (logits.to_vec(), Some(logits)),
        Row::Beside { logits, gradient } => (logits.to_vec(), Some(gradient)),
        Row::LossOnly(logits) => (logits.to_vec(), None),
    };
    let Some(label) = label else {
        if let Some(gradient) = gradient {
            gradient.fill(0.0);
        }
        return Outcome::default();
    };
    let target = Target::new(options, number, label, logits.len());
    let shaped: Vec<f64> = logits.iter().map(|&logit| shape(options, logit)).collect();
    let sums = sums(options, &shaped, label);
    let is_correct = options.statistics && first_largest(&shaped) == Some(label);
    let (outcome, slopes) = target.outcome(options, &sums, is_correct);
    if let Some(gradient) = gradient {
        write_gradient(options, &shaped, &sums, slopes, label, gradient);
    }
    outcome
}

fn shape(options: &Options<'_>, logit: f64) -> f64 {
    let scaled = logit * options.logit_scale;
    options
        .softcap
        .map_or(scaled, |cap| cap * (scaled / cap).tanh())
}

/// The slope of [`shape`], from its value.
fn slope(options: &Options<'_>, shaped: f64) -> f64 {
    let capped = options
        .softcap
        .map_or(1.0, |cap| 1.0 - (shaped / cap).powi(2));
    options.logit_scale * capped
}

fn sums(options: &Options<'_>, shaped: &[f64], label: usize) -> Sums {
    // `f64::max` leaves NaN out; it comes back with the exponentials.
    let max = shaped.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut sums = Sums {
        max,
        is_infinite: max.is_infinite() && !shaped.iter().any(|logit| logit.is_nan()),
        label: shaped.get(label).copied().unwrap_or(f64::NAN) - max,
        ..Sums::default()
    };
    for (class, &logit) in shaped.iter().enumerate() {
        let below = logit - max;
        let exp = below.exp();
        if class != label {
            sums.others += exp;
        }
        // The limit of x exp(x) for a logit of minus infinity is 0.
        sums.exp_times += if exp == 0.0 { 0.0 } else { exp * below };
        if options.label_smoothing > 0.0 {
            sums.weighted += options.weight_of_class(class) * below;
        }
    }
    sums
}

/// The place of the first of the largest values; None for NaN alone.
#[expect(clippy::float_cmp, reason = "the maximum is one of the values")]
fn first_largest(values: &[f64]) -> Option<usize> {
    let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    values.iter().position(|&value| value == max)
}

fn write_gradient(
    options: &Options<'_>,
    shaped: &[f64],
    sums: &Sums,
    slopes: Slopes,
    label: usize,
    gradient: &mut [f64],
) {
    for (class, (place, &logit)) in gradient.iter_mut().zip(shaped).enumerate() {
        let softmax = (logit - sums.max).exp() / sums.exp();
        let hit = if class == label { slopes.label } else { 0.0 };
        let even = slopes.each * options.weight_of_class(class);
        *place = (slopes.softmax * softmax - hit - even) * slope(options, logit);
    }
}
