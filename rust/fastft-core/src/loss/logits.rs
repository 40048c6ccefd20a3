//! The logits of a linear layer in float32: rows times the transpose of its weight.
//!
//! Python leaves its products to torch, whose library (MKL) is the fastest on Intel processors but
//! loses about a third on AMD in this shape: few rows, many classes. There this one is taken, which
//! is that of the `matrixmultiply` crate; Python times both once and chooses.
//!
//! Invariants: each logit is summed over the width in an order that depends on the width alone, so
//! neither on threads nor on the rows beside it.

use std::ops::Range;

use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayView1, ArrayView2, ArrayViewMut2, Axis, s};

use crate::error::{Result, expect_length};
use crate::parallelism::{map_parts, ranges};

/// How many classes a thread takes at a time: as many as the product lays out for its cache at once.
const CLASSES_AT_ONCE: usize = 1024;

/// Writes `hidden` (N, H) times the transpose of `weight` (V, H), plus `bias` (V), to `out` (N, V).
///
/// # Errors
///
/// [`Error::LengthMismatch`](crate::error::Error::LengthMismatch) for shapes that do not fit; then
/// nothing was written.
#[expect(clippy::needless_pass_by_value, reason = "a view is a reference")]
pub fn logits(
    hidden: ArrayView2<'_, f32>,
    weight: ArrayView2<'_, f32>,
    bias: Option<ArrayView1<'_, f32>>,
    mut out: ArrayViewMut2<'_, f32>,
    num_threads: Option<usize>,
) -> Result<()> {
    expect_length("row of weight", weight.ncols(), hidden.ncols())?;
    expect_length("out", out.nrows(), hidden.nrows())?;
    expect_length("row of out", out.ncols(), weight.nrows())?;
    if let Some(bias) = bias {
        expect_length("bias", bias.len(), weight.nrows())?;
    }
    let classes = ranges(weight.nrows(), CLASSES_AT_ONCE).into_iter();
    let parts = classes.zip(out.axis_chunks_iter_mut(Axis(1), CLASSES_AT_ONCE));
    map_parts(
        num_threads,
        parts.collect(),
        |(range, mut out): Part<'_>| {
            let weight = weight.slice(s![range.clone(), ..]);
            general_mat_mul(1.0, &hidden, &weight.t(), 0.0, &mut out);
            if let Some(bias) = bias {
                out += &bias.slice(s![range]);
            }
            Ok(())
        },
    )?;
    Ok(())
}

/// Some classes, and where their logits go.
type Part<'a> = (Range<usize>, ArrayViewMut2<'a, f32>);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use ndarray::{Array1, Array2, array};

    fn made(rows: usize, columns: usize, salt: usize) -> Array2<f32> {
        let values = [0.7, -1.3, 0.2, 2.9, -0.1, -2.2, 1.1_f32];
        Array2::from_shape_fn((rows, columns), |(row, column)| {
            values[(row * 31 + column * 17 + row * column + salt) % values.len()]
        })
    }

    fn by_definition(
        hidden: &Array2<f32>,
        weight: &Array2<f32>,
        bias: &Array1<f32>,
    ) -> Array2<f64> {
        Array2::from_shape_fn((hidden.nrows(), weight.nrows()), |(row, class)| {
            let terms = hidden.row(row).into_iter().zip(weight.row(class));
            terms
                .map(|(&one, &other)| f64::from(one) * f64::from(other))
                .sum::<f64>()
                + f64::from(bias[class])
        })
    }

    #[test]
    fn it_is_the_product_by_definition() {
        for (rows, width, classes) in [(1, 1, 1), (3, 5, 7), (9, 300, 1025), (40, 64, 3000)] {
            let (hidden, weight) = (made(rows, width, 1), made(classes, width, 2));
            let bias = made(1, classes, 5).row(0).to_owned();
            let mut out = Array2::from_elem((rows, classes), f32::NAN);
            logits(
                hidden.view(),
                weight.view(),
                Some(bias.view()),
                out.view_mut(),
                Some(2),
            )
            .expect("shapes that fit");
            let expected = by_definition(&hidden, &weight, &bias);
            for (&found, &wanted) in out.iter().zip(&expected) {
                assert!((f64::from(found) - wanted).abs() < 1e-5 * wanted.abs().max(10.0));
            }
        }
    }

    #[test]
    fn it_depends_neither_on_threads_nor_on_other_rows() {
        let (hidden, weight) = (made(37, 700, 3), made(2500, 700, 4));
        let product = |rows: Range<usize>, num_threads| {
            let hidden = hidden.slice(s![rows, ..]);
            let mut out = Array2::zeros((hidden.nrows(), 2500));
            logits(
                hidden,
                weight.view(),
                None,
                out.view_mut(),
                Some(num_threads),
            )
            .expect("shapes that fit");
            out
        };
        let whole = product(0..37, 1);
        assert_eq!(whole, product(0..37, 3));
        for (first, last) in [(0, 1), (5, 21), (36, 37)] {
            assert_eq!(whole.slice(s![first..last, ..]), product(first..last, 2));
        }
    }

    #[test]
    fn nothing_and_no_width_are_products_too() {
        let mut out = array![[f32::NAN, f32::NAN]];
        let (hidden, weight) = (Array2::zeros((1, 0)), Array2::zeros((2, 0)));
        let done = logits(hidden.view(), weight.view(), None, out.view_mut(), Some(1));
        assert_eq!((done, out), (Ok(()), array![[0.0, 0.0]]));
        let (hidden, mut out) = (Array2::zeros((0, 4)), Array2::zeros((0, 2)));
        let weight = Array2::zeros((2, 4));
        let done = logits(hidden.view(), weight.view(), None, out.view_mut(), None);
        assert_eq!(done, Ok(()));
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        let (hidden, weight) = (made(3, 4, 0), made(5, 4, 0));
        let bias = Array1::zeros(4);
        let faults = [
            (made(5, 3, 0), (3, 5), None, "row of weight"),
            (weight.clone(), (2, 5), None, "out"),
            (weight.clone(), (3, 4), None, "row of out"),
            (weight, (3, 5), Some(bias.view()), "bias"),
        ];
        for (weight, shape, bias, expected) in faults {
            let mut out = Array2::zeros(shape);
            let fault = logits(hidden.view(), weight.view(), bias, out.view_mut(), None);
            assert!(
                matches!(fault, Err(Error::LengthMismatch { name, .. }) if name == expected),
                "{fault:?}"
            );
        }
    }
}
