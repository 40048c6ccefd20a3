//! Problems for the kernels of the loss, their exact solution, and how far another is from it.

use fastft_core::loss::{Format, Options, Outcome, Row, cross_entropy, reference};
use fastft_core::simd::Level;

pub(crate) const WIDTHS: [usize; 9] = [1, 2, 3, 15, 16, 17, 129, 1000, 5003];

/// A sequence of numbers that is the same everywhere.
struct Numbers(u64);

impl Numbers {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "a number among many")]
    fn even(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// About normal.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.even()).sum::<f64>() - 6.0
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.bits() % u64::try_from(limit).unwrap()).unwrap()
    }
}

#[expect(clippy::cast_possible_truncation, reason = "rounding is the point")]
pub(crate) fn narrow(value: f64) -> f32 {
    value as f32
}

/// A problem: rows of one width with labels, some of them ignored.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    pub(crate) width: usize,
    pub(crate) logits: Vec<f32>,
    pub(crate) labels: Vec<i64>,
    pub(crate) class_weight: Vec<f64>,
    pub(crate) row_weight: Vec<f64>,
}

impl Problem {
    pub(crate) fn new(num_rows: usize, width: usize, scale: f64, offset: f64, seed: u64) -> Self {
        let mut numbers = Numbers(seed);
        let logits = (0..num_rows * width)
            .map(|_| narrow(numbers.normal() * scale + offset))
            .collect();
        let labels = (0..num_rows)
            .map(|row| match row % 5 {
                4 => -100,
                _ => i64::try_from(numbers.below(width)).unwrap(),
            })
            .collect();
        Self {
            width,
            logits,
            labels,
            class_weight: (0..width)
                .map(|_| f64::from(narrow(numbers.even() * 2.0)))
                .collect(),
            row_weight: (0..num_rows).map(|_| numbers.even() * 3.0).collect(),
        }
    }

    pub(crate) fn exact(&self, options: &Options<'_>, logits: &[f64]) -> (Vec<Outcome>, Vec<f64>) {
        let mut gradient = logits.to_vec();
        let rows = gradient.chunks_mut(self.width).map(Row::InPlace).collect();
        let outcomes = reference::cross_entropy(rows, &self.labels, options).unwrap();
        (outcomes, gradient)
    }

    pub(crate) fn fast<F: Format>(
        &self,
        options: &Options<'_>,
        logits: &[F::Bits],
        level: Level,
        num_threads: usize,
    ) -> (Vec<Outcome>, Vec<F::Bits>) {
        let mut gradient = logits.to_vec();
        let rows = gradient.chunks_mut(self.width).map(Row::InPlace).collect();
        let outcomes =
            cross_entropy::<F>(rows, &self.labels, options, level, Some(num_threads)).unwrap();
        (outcomes, gradient)
    }
}

pub(crate) fn widened(values: &[f32]) -> Vec<f64> {
    values.iter().copied().map(f64::from).collect()
}

/// The largest difference; NaN has to stand against NaN.
pub(crate) fn apart(found: &[f64], exact: &[f64]) -> f64 {
    let difference = found.iter().zip(exact).map(|(a, b)| {
        assert_eq!(a.is_nan(), b.is_nan(), "{a} for {b}");
        if a == b || a.is_nan() {
            0.0
        } else {
            (a - b).abs()
        }
    });
    difference.fold(0.0, f64::max)
}

/// The largest difference, over the largest of the exact values.
pub(crate) fn error(found: &[f64], exact: &[f64]) -> f64 {
    let size = exact
        .iter()
        .fold(0.0_f64, |size, value| size.max(value.abs()));
    apart(found, exact) / size.max(f64::MIN_POSITIVE)
}

/// The loss relatively; the others are differences of larger numbers.
pub(crate) fn assert_outcomes(found: &[Outcome], exact: &[Outcome], tolerance: f64) {
    let losses = |outcomes: &[Outcome]| outcomes.iter().map(|one| one.loss).collect::<Vec<f64>>();
    let off = error(&losses(found), &losses(exact));
    assert!(off < tolerance, "{off:e}: {found:?} for {exact:?}");
    for (found, exact) in found.iter().zip(exact) {
        for (one, right) in [(found.lse, exact.lse), (found.entropy, exact.entropy)] {
            let off = (one - right).abs();
            assert!(off < tolerance * right.abs().max(1.0), "{one} for {right}");
        }
    }
}

pub(crate) fn assert_same_hits(found: &[Outcome], exact: &[Outcome]) {
    for (found, exact) in found.iter().zip(exact) {
        assert_eq!(found.is_correct, exact.is_correct);
    }
}

pub(crate) fn every_option(problem: &Problem) -> Vec<Options<'_>> {
    let plain = Options::default();
    let statistics = Options {
        statistics: true,
        ..plain
    };
    let smooth = Options {
        label_smoothing: 0.1,
        ..plain
    };
    vec![
        plain,
        statistics,
        smooth,
        Options {
            z_loss: 1e-3,
            ..plain
        },
        Options {
            softcap: Some(30.0),
            ..statistics
        },
        Options {
            logit_scale: 0.25,
            gradient_factor: 1.0 / 7.0,
            ..plain
        },
        Options {
            class_weight: Some(&problem.class_weight),
            ..plain
        },
        Options {
            row_weight: Some(&problem.row_weight),
            ..plain
        },
        Options {
            class_weight: Some(&problem.class_weight),
            ..smooth
        },
        Options {
            class_weight: Some(&problem.class_weight),
            row_weight: Some(&problem.row_weight),
            z_loss: 1e-4,
            softcap: Some(5.0),
            logit_scale: 1.5,
            gradient_factor: 0.01,
            statistics: true,
            ..smooth
        },
    ]
}
