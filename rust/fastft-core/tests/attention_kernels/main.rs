//! Attention within short rows through its public face.

#![expect(clippy::unwrap_used, reason = "a panic is how a test says no")]
#![expect(clippy::float_cmp, reason = "what is equal has to be equal")]

mod problems;

use fastft_core::Error;
use fastft_core::attention::{Backward, Forward, Gradients, Heads, Inputs, attention, reference};
use fastft_core::simd::Level;
use problems::{Problem, Solved};
use proptest::prelude::*;

/// Differences that float32 explains, as a share of the largest number, where scores are near 1.
const ROUNDING: f64 = 4e-6;

fn expect_near(name: &str, found: &[f32], expected: &[f64], tolerance: f64) {
    let largest = expected.iter().fold(0.1_f64, |a, b| a.max(b.abs()));
    for (index, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        let share = (f64::from(found) - expected).abs() / largest;
        assert!(share <= tolerance, "{name} {index}: {found} for {expected}");
    }
}

fn expect_exact(problem: &Problem, solved: &Solved) {
    let kept = |place| f64::from(problem.kept_at(place));
    let exact = reference::attention(
        &problem.lengths,
        &problem.heads,
        problem.inputs(),
        &kept,
        &problem.gradient,
    );
    // A softmax turns the rounding of large scores into that of its weights.
    let tolerance = ROUNDING * f64::from(problem.size * problem.size).max(1.0);
    expect_near("out", &solved.out, &exact.out, tolerance);
    let names = ["query", "key", "value"];
    for ((name, found), expected) in names.iter().zip(&solved.gradients).zip(&exact.gradients) {
        expect_near(name, found, expected, tolerance);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_level_gives_what_the_reference_gives(
        lengths in proptest::collection::vec(0_usize..40, 0..6),
        count in 1_usize..4,
        vectors in 1_usize..4,
        is_causal: bool,
        drops: bool,
        size in proptest::sample::select(vec![0.1_f32, 1.0, 5.0]),
        seed: u64,
    ) {
        let heads = Heads { count, width: 16 * vectors, scaling: 0.3, is_causal };
        let problem = Problem::new(&lengths, heads, drops, size, seed);
        for level in Level::available() {
            expect_exact(&problem, &problem.solve(level, 1));
        }
    }
}

#[test]
fn rows_around_whole_vectors_and_tiles_are_right() {
    for length in [1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 64, 100] {
        for is_causal in [false, true] {
            let heads = Heads {
                count: 2,
                width: 32,
                scaling: 0.2,
                is_causal,
            };
            let problem = Problem::new(&[length, 5], heads, false, 1.0, length as u64);
            for level in Level::available() {
                expect_exact(&problem, &problem.solve(level, 1));
            }
        }
    }
}

#[test]
fn neither_threads_nor_neighbours_nor_wider_vectors_change_a_bit() {
    let heads = Heads {
        count: 4,
        width: 64,
        scaling: 0.125,
        is_causal: false,
    };
    let lengths: Vec<usize> = (0..120).map(|row| 1 + row * 7 % 61).collect();
    let problem = Problem::new(&lengths, heads, true, 1.0, 3);
    let whole = problem.solve(Level::best(), 1);
    assert!(whole == problem.solve(Level::best(), 3), "threads");
    let row = problem.row(77);
    let tokens: usize = lengths.iter().take(77).sum();
    let start = tokens * heads.count * heads.width;
    let alone = row.solve(Level::best(), 1).out;
    assert!(
        whole.out.get(start..start + alone.len()) == Some(&alone[..]),
        "neighbours"
    );
    if let (Ok(avx2), Ok(avx512)) = (Level::named("avx2"), Level::named("avx512")) {
        assert!(
            problem.solve(avx2, 1) == problem.solve(avx512, 1),
            "vectors"
        );
    }
}

#[test]
fn large_scores_neither_overflow_nor_vanish() {
    let heads = Heads {
        count: 1,
        width: 16,
        scaling: 1.0,
        is_causal: false,
    };
    let mut problem = Problem::new(&[3], heads, false, 1.0, 1);
    problem.size = 100.0;
    problem.query.fill(100.0);
    problem.key = [100.0, -100.0, 100.0]
        .iter()
        .flat_map(|&value| [value; 16])
        .collect();
    for level in Level::available() {
        let solved = problem.solve(level, 1);
        let weights: Vec<f32> = solved.weights.chunks(16).map(|row| row[0]).collect();
        assert_eq!(weights, [0.5, 0.0, 0.5], "{}", level.name());
        expect_exact(&problem, &solved);
    }
}

#[test]
fn what_is_not_a_number_stays_in_its_row() {
    let heads = Heads {
        count: 1,
        width: 16,
        scaling: 1.0,
        is_causal: false,
    };
    let mut problem = Problem::new(&[2, 2], heads, false, 1.0, 1);
    problem.key[3] = f32::NAN;
    for level in Level::available() {
        let solved = problem.solve(level, 1);
        let (first, second) = solved.out.split_at(32);
        assert!(first.iter().all(|value| value.is_nan()), "{}", level.name());
        assert!(
            second.iter().all(|value| value.is_finite()),
            "{}",
            level.name()
        );
    }
}

#[test]
fn faults_are_found_before_anything_is_written() {
    let heads = Heads {
        count: 1,
        width: 16,
        scaling: 1.0,
        is_causal: false,
    };
    let problem = Problem::new(&[2, 3], heads, true, 1.0, 1);
    let run = |lengths: &[usize], heads: Heads, inputs: Inputs<'_>, num_weights: usize| {
        let (mut weights, mut out) = (vec![7.0; num_weights], vec![7.0; 80]);
        let pass = Forward {
            inputs,
            weights: &mut weights,
            out: &mut out,
        };
        let found = attention(pass, lengths, &heads, Level::best(), Some(1));
        assert!(found.is_ok() || out.iter().chain(&weights).all(|&value| value == 7.0));
        found
    };
    let inputs = problem.inputs();
    assert_eq!(run(&[2, 3], heads, inputs, 80), Ok(()));
    let narrow = Heads { width: 8, ..heads };
    let expected = Err(Error::HeadWidth {
        width: 8,
        multiple: 16,
    });
    assert_eq!(run(&[2, 3], narrow, inputs, 80), expected);
    let none = Heads { width: 0, ..heads };
    assert!(run(&[2, 3], none, inputs, 80).is_err());
    let named = |found| match found {
        Err(Error::LengthMismatch { name, .. }) => name,
        other => panic!("{other:?}"),
    };
    assert_eq!(named(run(&[2, 4], heads, inputs, 80)), "query");
    assert_eq!(named(run(&[2, usize::MAX], heads, inputs, 80)), "query");
    assert_eq!(named(run(&[2, 3], heads, inputs, 79)), "weights");
    let short = &problem.key[..79];
    assert_eq!(
        named(run(
            &[2, 3],
            heads,
            Inputs {
                key: short,
                ..inputs
            },
            80
        )),
        "key"
    );
    assert_eq!(
        named(run(
            &[2, 3],
            heads,
            Inputs {
                value: short,
                ..inputs
            },
            80
        )),
        "value"
    );
    let kept = Inputs {
        kept: Some(short),
        ..inputs
    };
    assert_eq!(named(run(&[2, 3], heads, kept, 80)), "kept");

    let weights = vec![0.0; 80];
    let back = |gradient: &[f32], sizes: [usize; 3]| {
        let [mut query, mut key, mut value] = sizes.map(|size| vec![7.0_f32; size]);
        let to = Gradients {
            query: &mut query,
            key: &mut key,
            value: &mut value,
        };
        let pass = Backward {
            inputs,
            weights: &weights,
            gradient,
            to,
        };
        let found = named(attention(pass, &[2, 3], &heads, Level::best(), Some(1)));
        assert!(
            query
                .iter()
                .chain(&key)
                .chain(&value)
                .all(|&value| value == 7.0)
        );
        found
    };
    assert_eq!(back(short, [80; 3]), "gradient");
    assert_eq!(back(&problem.gradient, [79, 80, 80]), "to query");
    assert_eq!(back(&problem.gradient, [80, 79, 80]), "to key");
    assert_eq!(back(&problem.gradient, [80, 80, 79]), "to value");
}
