//! What the kernels of the loss refuse: labels, lengths, sizes and levels that cannot be.

use fastft_core::Error;
use fastft_core::loss::{F32, Options, Row, check_labels, cross_entropy, span};
use fastft_core::simd::Level;

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
    for level in Level::available() {
        assert_eq!(Level::named(level.name()).unwrap().name(), level.name());
    }
    assert_eq!(Level::named("").unwrap().name(), Level::best().name());
    assert!(matches!(Level::named("mmx"), Err(Error::NoSuchSimd { name }) if name == "mmx"));
}
