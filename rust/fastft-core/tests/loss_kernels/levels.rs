//! The kernels of the loss, at every level that this processor has, against float64 and each other.

use fastft_core::loss::{BF16, F16, F32, Format, Options, Row, cross_entropy};
use fastft_core::simd::Level;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::problems::{
    Problem, WIDTHS, apart, assert_outcomes, assert_same_hits, error, every_option, widened,
};

#[test]
fn float32_is_right_at_every_level_for_every_option() {
    for (seed, width) in (1..).zip(WIDTHS) {
        for (scale, offset) in [(1.0, 0.0), (20.0, 0.0), (1.0, 1e4)] {
            let problem = Problem::new(6, width, scale, offset, seed);
            for options in every_option(&problem) {
                let exact = problem.exact(&options, &widened(&problem.logits));
                for level in Level::available() {
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
            for level in Level::available() {
                let (outcomes, gradient) = problem.fast::<F32>(&options, &problem.logits, level, 1);
                assert_outcomes(&outcomes, &exact, 1e-7);
                assert!(error(&widened(&gradient), &exact_gradient) < 3e-7);
            }
        }
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
    for level in Level::available() {
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
    for level in Level::available() {
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
        for level in Level::available() {
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
            for level in Level::available() {
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
