//! What a loss is made of, and what a row gives; the arithmetic that is done once a row, in float64.

use std::borrow::Cow;

/// What is computed; the defaults are plain cross entropy.
///
/// With `y = softcap * tanh(logit_scale * x / softcap)` (without a softcap `logit_scale * x`), label
/// `l`, class weights `w` and `V` classes, the loss of a row is
///
/// `row_weight * ((1 - s) w[l] (lse - y[l]) + s/V sum_j w[j] (lse - y[j]) + z_loss * lse^2)`
///
/// where `s` is `label_smoothing` and `lse` the logarithm of the sum of `exp(y)`.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// Rows with this label have no loss and a gradient of zero.
    pub ignore_index: i64,
    /// A weight for each class.
    pub class_weight: Option<&'a [f64]>,
    /// A weight for each row.
    pub row_weight: Option<&'a [f64]>,
    /// The share of the target that is spread evenly over all classes.
    pub label_smoothing: f64,
    /// The factor of the squared log-sum-exp.
    pub z_loss: f64,
    /// The bound that logits are softly held under.
    pub softcap: Option<f64>,
    /// What logits are multiplied by, before the softcap.
    pub logit_scale: f64,
    /// What the gradient is multiplied by; the loss is not.
    pub gradient_factor: f64,
    /// Whether entropy and correctness are wanted; without, they are 0 and false.
    pub statistics: bool,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self {
            ignore_index: -100,
            class_weight: None,
            row_weight: None,
            label_smoothing: 0.0,
            z_loss: 0.0,
            softcap: None,
            logit_scale: 1.0,
            gradient_factor: 1.0,
            statistics: false,
        }
    }
}

impl Options<'_> {
    /// The class weights in the width of the vector passes.
    #[expect(clippy::cast_possible_truncation, reason = "float32 is what is wanted")]
    pub(super) fn narrow_class_weight(&self) -> Cow<'_, [f32]> {
        let weights = self.class_weight.unwrap_or_default();
        weights.iter().map(|&weight| weight as f32).collect()
    }

    pub(super) fn weight_of_row(&self, row: usize) -> f64 {
        self.row_weight
            .and_then(|weights| weights.get(row).copied())
            .unwrap_or(1.0)
    }

    pub(super) fn weight_of_class(&self, class: usize) -> f64 {
        self.class_weight
            .and_then(|weights| weights.get(class).copied())
            .unwrap_or(1.0)
    }
}

/// What one row gives. A row that is ignored gives zeros.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Outcome {
    /// The loss.
    pub loss: f64,
    /// The logarithm of the sum of the exponentials.
    pub lse: f64,
    /// The entropy of the softmax.
    pub entropy: f64,
    /// Whether the label is the first of the largest logits.
    pub is_correct: bool,
}

/// The sums over one row that all else follows from; `d` is a logit less the maximum.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sums {
    /// The maximum.
    pub(super) max: f64,
    /// Whether the maximum is infinite and no logit NaN: then it is the log-sum-exp too, which the
    /// exponentials do not tell.
    pub(super) is_infinite: bool,
    /// `d` at the label.
    pub(super) label: f64,
    /// `sum exp(d)` without the label: beside a label of 1 what is small would be lost.
    pub(super) others: f64,
    /// `sum exp(d) d`, with statistics.
    pub(super) exp_times: f64,
    /// `sum w d`, with label smoothing.
    pub(super) weighted: f64,
}

impl Sums {
    /// `sum exp(d)`.
    pub(super) fn exp(&self) -> f64 {
        self.others + self.label.exp()
    }

    /// The logarithm of the sum of the exponentials of the logits themselves.
    pub(super) fn lse(&self) -> f64 {
        if self.is_infinite {
            self.max
        } else {
            self.max + self.log()
        }
    }

    /// The logarithm of [`Sums::exp`].
    pub(super) fn log(&self) -> f64 {
        if self.label == 0.0 {
            self.others.ln_1p()
        } else {
            self.exp().ln()
        }
    }
}

/// The gradient of a row by its capped logits: `softmax[j] * p - label * [j = l] - each * w[j]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Slopes {
    pub(super) softmax: f64,
    pub(super) label: f64,
    pub(super) each: f64,
}

impl Slopes {
    /// The gradient at the label; `p - 1` is taken from the other classes, so that it keeps its
    /// digits where `p` is all but 1.
    pub(super) fn at_label(&self, sums: &Sums, class_weight: f64) -> f64 {
        let less_one = -sums.others / sums.exp();
        self.softmax * less_one + (self.softmax - self.label) - self.each * class_weight
    }
}

/// Row and label, and the weights that belong to them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    pub(super) label: usize,
    pub(super) row_weight: f64,
    pub(super) class_weight: f64,
    /// `s/V`.
    pub(super) share: f64,
    /// The sum of all class weights.
    pub(super) all_weights: f64,
}

impl Target {
    #[expect(clippy::cast_precision_loss, reason = "no vocabulary has 2^52 entries")]
    pub(super) fn new(options: &Options<'_>, row: usize, label: usize, width: usize) -> Self {
        let smoothing = options.label_smoothing > 0.0;
        let sum = |weights: &[f64]| weights.iter().sum();
        Self {
            label,
            row_weight: options.weight_of_row(row),
            class_weight: options.weight_of_class(label),
            share: options.label_smoothing / width as f64,
            all_weights: if smoothing {
                options.class_weight.map_or(width as f64, sum)
            } else {
                0.0
            },
        }
    }

    /// Loss and slopes from the sums; a statistic that is not wanted is left at zero.
    pub(super) fn outcome(
        &self,
        options: &Options<'_>,
        sums: &Sums,
        is_correct: bool,
    ) -> (Outcome, Slopes) {
        let (log_sum, lse) = (sums.log(), sums.lse());
        let hard = (1.0 - options.label_smoothing) * self.class_weight;
        let mut loss = hard * (log_sum - sums.label);
        let mut softmax = hard;
        if options.label_smoothing > 0.0 {
            loss += self.share * (self.all_weights * log_sum - sums.weighted);
            softmax += self.share * self.all_weights;
        }
        if options.z_loss > 0.0 {
            loss += options.z_loss * lse * lse;
            softmax += 2.0 * options.z_loss * lse;
        }
        let factor = options.gradient_factor * self.row_weight;
        let entropy = if options.statistics {
            log_sum - sums.exp_times / sums.exp()
        } else {
            0.0
        };
        let outcome = Outcome {
            loss: self.row_weight * loss,
            lse,
            entropy,
            is_correct,
        };
        let slopes = Slopes {
            softmax: factor * softmax,
            label: factor * hard,
            each: factor * self.share,
        };
        (outcome, slopes)
    }
}
