//! Rows that are special: all but certain, infinite, undefined, with equal logits.

use fastft_core::loss::{F32, Options, Row, cross_entropy};
use fastft_core::simd::Level;

use crate::problems::{Problem, error, widened};

#[test]
fn a_row_that_is_all_but_certain_keeps_its_loss_and_gradient() {
    for level in Level::available() {
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
                for level in Level::available() {
                    let (found, gradient) =
                        problem.fast::<F32>(&options, &problem.logits, level, 1);
                    for (found, exact) in found.iter().zip(&exact) {
                        assert_eq!(found.loss.is_nan(), exact.loss.is_nan());
                        let same = found.loss.is_nan()
                            || (found.loss - exact.loss).abs() <= 1e-6 * exact.loss.abs()
                            || found.loss == exact.loss;
                        assert!(same, "{found:?} for {exact:?}");
                        assert_eq!(found.lse.is_nan(), exact.lse.is_nan());
                        assert_eq!(found.lse.is_infinite(), exact.lse.is_infinite());
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
    for level in Level::available() {
        let rows = vec![Row::InPlace(row.as_mut_slice())];
        let outcome = cross_entropy::<F32>(rows, &[3], &Options::default(), level, None).unwrap();
        assert!(outcome[0].loss.is_nan());
        assert_eq!(outcome[0].lse, f64::NEG_INFINITY);
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
    for level in Level::available() {
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
