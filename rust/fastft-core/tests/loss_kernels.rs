//! The kernels of the loss, at every level that this processor has, against float64 and each other.

#![expect(clippy::unwrap_used, reason = "a panic is how a test says no")]
#![expect(clippy::float_cmp, reason = "what is equal has to be equal")]

use fastft_core::Error;
use fastft_core::loss::{
    BF16, F16, F32, Format, Level, Options, Outcome, Row, check_labels, cross_entropy, reference,
    span,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

const WIDTHS: [usize; 9] = [1, 2, 3, 15, 16, 17, 129, 1000, 5003];

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
fn narrow(value: f64) -> f32 {
    value as f32
}

fn levels() -> Vec<Level> {
    let names = ["scalar", "avx2", "avx512"];
    names
        .iter()
        .filter_map(|name| Level::named(name).ok())
        .collect()
}

/// A problem: rows of one width with labels, some of them ignored.
#[derive(Debug, Clone)]
struct Problem {
    width: usize,
    logits: Vec<f32>,
    labels: Vec<i64>,
    class_weight: Vec<f64>,
    row_weight: Vec<f64>,
}

impl Problem {
    fn new(num_rows: usize, width: usize, scale: f64, offset: f64, seed: u64) -> Self {
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

    fn exact(&self, options: &Options<'_>, logits: &[f64]) -> (Vec<Outcome>, Vec<f64>) {
        let mut gradient = logits.to_vec();
        let rows = gradient.chunks_mut(self.width).map(Row::InPlace).collect();
        let outcomes = reference::cross_entropy(rows, &self.labels, options).unwrap();
        (outcomes, gradient)
    }

    fn fast<F: Format>(
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

fn widened(values: &[f32]) -> Vec<f64> {
    values.iter().copied().map(f64::from).collect()
}

/// The largest difference; NaN has to stand against NaN.
fn apart(found: &[f64], exact: &[f64]) -> f64 {
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
fn error(found: &[f64], exact: &[f64]) -> f64 {
    let size = exact
        .iter()
        .fold(0.0_f64, |size, value| size.max(value.abs()));
    apart(found, exact) / size.max(f64::MIN_POSITIVE)
}

/// The loss relatively; the others are differences of larger numbers.
fn assert_outcomes(found: &[Outcome], exact: &[Outcome], tolerance: f64) {
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

fn assert_same_hits(found: &[Outcome], exact: &[Outcome]) {
    for (found, exact) in found.iter().zip(exact) {
        assert_eq!(found.is_correct, exact.is_correct);
    }
}

fn every_option(problem: &Problem) -> Vec<Options<'_>> {
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

#[test]
fn float32_is_right_at_every_level_for_every_option() {
    for (seed, width) in (1..).zip(WIDTHS) {
        for (scale, offset) in [(1.0, 0.0), (20.0, 0.0), (1.0, 1e4)] {
            let problem = Problem::new(6, width, scale, offset, seed);
            for options in every_option(&problem) {
                let exact = problem.exact(&options, &widened(&problem.logits));
                for level in levels() {
                    let (outcomes, gradient) =
                        problem.fast::<F32>(&options, &problem.logits, level, 1);
                    // Scaled or capped logits are themselves rounded to float32.
                    let tolerance = if options.logit_scale == 1.0 && options.softcap.is_none() {
                        1e-6
                    } else {
                        3e-6 * (1.0 + scale) + 4e-7 * offset
                    };
                    assert_outcomes(&outcomes, &exact.0, tolerance);
                    assert_same_hits(&outcomes, &exact.0);
                    let off = error(&widened(&gradient), &exact.1);
                    assert!(off < tolerance, "{off:e}, {width} wide, {options:?}");
                }
            }
        }
    }
}

#[test]
fn large_spreads_keep_their_digits() {
    for width in [3, 129, 50257] {
        for offset in [0.0, 1e4] {
            let problem = Problem::new(5, width, 300.0, offset, 9);
            let options = Options::default();
            let (exact, exact_gradient) = problem.exact(&options, &widened(&problem.logits));
            for level in levels() {
                let (outcomes, gradient) = problem.fast::<F32>(&options, &problem.logits, level, 1);
                assert_outcomes(&outcomes, &exact, 1e-7);
                assert!(error(&widened(&gradient), &exact_gradient) < 3e-7);
            }
        }
    }
}

#[test]
fn a_row_that_is_all_but_certain_keeps_its_loss_and_gradient() {
    for level in levels() {
        let mut row = vec![0.0_f32; 18];
        row[5] = 20.0;
        let rows = vec![Row::InPlace(row.as_mut_slice())];
        let outcome = cross_entropy::<F32>(rows, &[5], &Options::default(), level, None).unwrap();
        // Beside 1, float32 would not see 17 exp(-20).
        let exact = 17.0 * (-20.0_f64).exp();
        assert!((outcome[0].loss / exact - 1.0).abs() < 1e-6);
        assert!((f64::from(-row[5]) / exact - 1.0).abs() < 1e-6);
    }
}

#[test]
fn half_precision_rounds_the_exact_gradient_once() {
    for width in [1, 3, 17, 1000] {
        let problem = Problem::new(6, width, 3.0, 0.0, 4);
        for options in every_option(&problem) {
            half::<BF16>(&problem, &options, 1.0 / 256.0, 0.0);
            half::<F16>(&problem, &options, 1.0 / 2048.0, 6e-8);
        }
    }
}

/// Each gradient within half a unit in the last place (`relative`, `absolute`) and a bit.
fn half<F: Format>(problem: &Problem, options: &Options<'_>, relative: f64, absolute: f64) {
    let bits: Vec<F::Bits> = problem.logits.iter().map(|&x| F::narrow_one(x)).collect();
    let wide = |bits: &[F::Bits]| -> Vec<f64> {
        bits.iter().map(|&b| f64::from(F::widen_one(b))).collect()
    };
    let (exact, exact_gradient) = problem.exact(options, &wide(&bits));
    for level in levels() {
        let (outcomes, gradient) = problem.fast::<F>(options, &bits, level, 1);
        assert_outcomes(&outcomes, &exact, 1e-5);
        let size = exact_gradient.iter().fold(0.0_f64, |a, b| a.max(b.abs()));
        for (found, exact) in wide(&gradient).iter().zip(&exact_gradient) {
            let allowed = exact.abs() * relative + absolute + size * 1e-5;
            assert!((found - exact).abs() <= allowed, "{found:e} for {exact:e}");
        }
    }
}

#[test]
fn vector_levels_agree_to_the_bit() {
    let (Ok(avx2), Ok(avx512)) = (Level::named("avx2"), Level::named("avx512")) else {
        return;
    };
    for width in WIDTHS {
        let problem = Problem::new(6, width, 10.0, 3.0, 5);
        for options in every_option(&problem) {
            let narrow = problem.fast::<F32>(&options, &problem.logits, avx2, 1);
            assert_eq!(
                narrow,
                problem.fast::<F32>(&options, &problem.logits, avx512, 1)
            );
            let bits: Vec<u16> = problem
                .logits
                .iter()
                .map(|&x| BF16::narrow_one(x))
                .collect();
            let narrow = problem.fast::<BF16>(&options, &bits, avx2, 1);
            assert_eq!(narrow, problem.fast::<BF16>(&options, &bits, avx512, 1));
            let bits: Vec<u16> = problem.logits.iter().map(|&x| F16::narrow_one(x)).collect();
            let narrow = problem.fast::<F16>(&options, &bits, avx2, 1);
            assert_eq!(narrow, problem.fast::<F16>(&options, &bits, avx512, 1));
        }
    }
}

#[test]
fn neither_threads_nor_neighbours_change_a_row() {
    let problem = Problem::new(300, 1000, 2.0, 0.0, 6);
    let options = Options {
        row_weight: Some(&problem.row_weight),
        statistics: true,
        ..Options::default()
    };
    for level in levels() {
        let alone = problem.fast::<F32>(&options, &problem.logits, level, 1);
        for num_threads in [2, 3, 7] {
            let many = problem.fast::<F32>(&options, &problem.logits, level, num_threads);
            assert_eq!(alone, many);
        }
        for row in [0, 1, 298] {
            let mut logits = problem.logits[row * 1000..(row + 1) * 1000].to_vec();
            let options = Options {
                row_weight: Some(&problem.row_weight[row..=row]),
                ..options
            };
            let one = vec![Row::InPlace(logits.as_mut_slice())];
            let labels = &problem.labels[row..=row];
            let outcomes = cross_entropy::<F32>(one, labels, &options, level, None).unwrap();
            assert_eq!(outcomes[0], alone.0[row]);
            assert_eq!(logits, alone.1[row * 1000..(row + 1) * 1000]);
        }
    }
}

#[test]
fn the_gradient_may_lie_beside_the_logits_or_be_left_out() {
    let problem = Problem::new(7, 129, 2.0, 0.0, 7);
    for options in every_option(&problem) {
        for level in levels() {
            let (outcomes, gradient) = problem.fast::<F32>(&options, &problem.logits, level, 1);
            let rows = problem.logits.chunks(129).map(Row::LossOnly).collect();
            let only = cross_entropy::<F32>(rows, &problem.labels, &options, level, None);
            let only = only.unwrap();
            assert_outcomes(&only, &outcomes, 1e-12);
            assert_same_hits(&only, &outcomes);
            let mut beside = vec![f32::NAN; 7 * 129];
            let places = problem.logits.chunks(129).zip(beside.chunks_mut(129));
            let rows = places.map(|(logits, gradient)| Row::Beside { logits, gradient });
            let rows = rows.collect();
            cross_entropy::<F32>(rows, &problem.labels, &options, level, None).unwrap();
            assert_eq!(beside, gradient);
        }
    }
}

#[test]
fn infinite_and_undefined_logits_are_as_in_float64() {
    let infinite = f32::INFINITY;
    for width in [3, 17, 40] {
        for place in [0, 1, width - 1] {
            for value in [-infinite, infinite, f32::NAN, -1e30, 1e30] {
                let mut problem = Problem::new(3, width, 1.0, 0.0, 8);
                problem.logits[place] = value;
                problem.logits[width..2 * width].fill(-infinite);
                problem.logits[width + place] = 0.5;
                problem.labels = vec![1, i64::try_from(place).unwrap(), 0];
                let options = Options {
                    statistics: true,
                    ..Options::default()
                };
                let (exact, exact_gradient) = problem.exact(&options, &widened(&problem.logits));
                for level in levels() {
                    let (found, gradient) =
                        problem.fast::<F32>(&options, &problem.logits, level, 1);
                    for (found, exact) in found.iter().zip(&exact) {
                        assert_eq!(found.loss.is_nan(), exact.loss.is_nan());
                        let same = found.loss.is_nan()
                            || (found.loss - exact.loss).abs() <= 1e-6 * exact.loss.abs()
                            || found.loss == exact.loss;
                        assert!(same, "{found:?} for {exact:?}");
                        assert_eq!(found.is_correct, exact.is_correct);
                    }
                    for row in 0..3 {
                        let of = row * width..(row + 1) * width;
                        let found = widened(&gradient[of.clone()]);
                        assert!(error(&found, &exact_gradient[of]) < 3e-7);
                    }
                    // A logit of minus infinity has a gradient of exactly 0.
                    assert!((0..width).all(|j| gradient[width + j] == 0.0));
                }
            }
        }
    }
}

#[test]
fn rows_of_minus_infinity_alone_are_undefined() {
    let mut row = vec![f32::NEG_INFINITY; 19];
    for level in levels() {
        let rows = vec![Row::InPlace(row.as_mut_slice())];
        let outcome = cross_entropy::<F32>(rows, &[3], &Options::default(), level, None).unwrap();
        assert!(outcome[0].loss.is_nan());
        row.fill(f32::NEG_INFINITY);
    }
}

#[test]
fn the_first_of_equal_logits_is_the_one_that_counts() {
    let logits = [1.0_f32, 3.0, 0.0, 3.0];
    let options = Options {
        statistics: true,
        ..Options::default()
    };
    for level in levels() {
        let rows = Vec::new();
        assert!(
            cross_entropy::<F32>(rows, &[], &options, level, None)
                .unwrap()
                .is_empty()
        );
        let rows = (0..4).map(|_| Row::LossOnly(logits.as_slice())).collect();
        let found = cross_entropy::<F32>(rows, &[0, 1, 2, 3], &options, level, None).unwrap();
        let correct: Vec<bool> = found.iter().map(|outcome| outcome.is_correct).collect();
        assert_eq!(correct, [false, true, false, false]);
    }
}

#[test]
fn wrong_labels_are_named_before_anything_is_written() {
    for (labels, row, label) in [
        ([0, 5, 9], 1, 5),
        ([0, -1, 2], 1, -1),
        ([-100, 0, i64::MAX], 2, i64::MAX),
    ] {
        let mut logits = vec![1.0_f32; 15];
        let rows = logits.chunks_mut(5).map(Row::InPlace).collect();
        let found = cross_entropy::<F32>(rows, &labels, &Options::default(), Level::best(), None);
        assert_eq!(
            found,
            Err(Error::LabelOutOfRange {
                row,
                label,
                num_classes: 5
            })
        );
        assert_eq!(logits, vec![1.0; 15]);
    }
    assert_eq!(check_labels(&[3, -7], 4, -7), Ok(()));
    assert!(check_labels(&[0], 0, -100).is_err());
}

#[test]
fn lengths_that_do_not_fit_are_named() {
    let logits = [0.0_f32; 6];
    let call = |labels: &[i64], options: &Options<'_>| {
        let rows = logits.chunks(3).map(Row::LossOnly).collect();
        cross_entropy::<F32>(rows, labels, options, Level::SCALAR, None).unwrap_err()
    };
    let plain = Options::default();
    assert!(matches!(
        call(&[0], &plain),
        Error::LengthMismatch {
            name: "labels",
            found: 1,
            expected: 2
        }
    ));
    let options = Options {
        class_weight: Some(&[1.0]),
        ..plain
    };
    assert!(matches!(
        call(&[0, 1], &options),
        Error::LengthMismatch {
            name: "class_weight",
            ..
        }
    ));
    let options = Options {
        row_weight: Some(&[1.0]),
        ..plain
    };
    assert!(matches!(
        call(&[0, 1], &options),
        Error::LengthMismatch {
            name: "row_weight",
            ..
        }
    ));
    let rows = vec![Row::LossOnly(&logits[..3]), Row::LossOnly(&logits[..2])];
    let found = cross_entropy::<F32>(rows, &[0, 0], &plain, Level::SCALAR, None);
    assert!(matches!(
        found,
        Err(Error::LengthMismatch {
            name: "row",
            found: 2,
            expected: 3
        })
    ));
}

#[test]
fn spans_are_checked_for_overflow() {
    assert_eq!(span(3, 5, 7), Ok(19));
    assert_eq!(span(0, 5, 7), Ok(0));
    assert_eq!(span(1, 5, 0), Ok(5));
    assert!(matches!(
        span(2, 5, 4),
        Err(Error::RowsOverlap {
            width: 5,
            stride: 4
        })
    ));
    let half = usize::MAX / 2;
    assert_eq!(span(2, 1, half - 1), Ok(half));
    for (num_rows, width, stride) in [
        (2, 1, half),
        (3, half, half),
        (usize::MAX, 2, 2),
        (1, half + 1, 0),
    ] {
        let expected = Error::BatchTooLarge { num_rows, width };
        assert_eq!(span(num_rows, width, stride), Err(expected));
    }
}

#[test]
fn levels_have_names() {
    for level in levels() {
        assert_eq!(Level::named(level.name()).unwrap().name(), level.name());
    }
    assert_eq!(Level::named("").unwrap().name(), Level::best().name());
    assert!(matches!(Level::named("mmx"), Err(Error::NoSuchSimd { name }) if name == "mmx"));
}

#[test]
fn any_problem_is_solved_alike() {
    let strategy = (
        0_usize..5,
        1_usize..200,
        0.0_f64..40.0,
        -100.0_f64..100.0,
        any::<u64>(),
        0_usize..10,
    );
    let mut runner = TestRunner::new(Config {
        failure_persistence: None,
        ..Config::default()
    });
    let test =
        |(num_rows, width, scale, offset, seed, which): (usize, usize, f64, f64, u64, usize)| {
            let problem = Problem::new(num_rows, width, scale, offset, seed);
            let options = every_option(&problem)[which];
            let (exact, exact_gradient) = problem.exact(&options, &widened(&problem.logits));
            for level in levels() {
                let (found, gradient) = problem.fast::<F32>(&options, &problem.logits, level, 2);
                assert_outcomes(&found, &exact, 1e-4);
                // Under a softcap logits that are apart in float64 may be equal in float32.
                if options.softcap.is_none() {
                    assert_same_hits(&found, &exact);
                }
                // Where tanh is all but 1, float32 has few digits of its slope.
                let gradient = widened(&gradient);
                let off = 1e2 * apart(&gradient, &exact_gradient);
                let off = off.min(error(&gradient, &exact_gradient));
                prop_assert!(off < 1e-4, "{off:e}");
            }
            Ok(())
        };
    runner.run(&strategy, test).unwrap();
}
