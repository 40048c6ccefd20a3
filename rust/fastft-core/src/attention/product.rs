//! Small matrix products: `out = left * right`, sixteen columns at a time.
//!
//! Matrices are views of larger arrays: rows of `stride` elements, of which some are looked at. The
//! right side and the outcome are whole vectors wide; the left side is read element by element.

use crate::simd::{Lanes, WIDTH};

/// Rows that begin `stride` apart.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    values: &'a [f32],
    stride: usize,
}

impl<'a> View<'a> {
    #[inline(always)]
    pub(super) fn new(values: &'a [f32], stride: usize) -> Self {
        Self { values, stride }
    }

    /// The rows from `first` on, as they lie.
    #[inline(always)]
    fn at(self, first: usize) -> &'a [f32] {
        self.values.get(first * self.stride..).unwrap_or_default()
    }
}

/// The same, to be written.
pub(super) struct ViewMut<'a> {
    values: &'a mut [f32],
    stride: usize,
}

impl<'a> ViewMut<'a> {
    #[inline(always)]
    pub(super) fn new(values: &'a mut [f32], stride: usize) -> Self {
        Self { values, stride }
    }
}

/// The left side of a product.
pub(super) trait Left: Copy {
    /// `R` rows of the product from `first` on, in the columns of one vector.
    fn tile<const R: usize, L: Lanes>(
        self,
        lanes: L,
        first: usize,
        right: View<'_>,
        column: usize,
        depth: usize,
    ) -> [L::Vector; R];
}

/// A matrix as it lies.
#[derive(Clone, Copy)]
pub(super) struct Plain<'a>(pub(super) View<'a>);

/// The transpose of a matrix.
#[derive(Clone, Copy)]
pub(super) struct Transposed<'a>(pub(super) View<'a>);

impl Left for Plain<'_> {
    #[inline(always)]
    fn tile<const R: usize, L: Lanes>(
        self,
        lanes: L,
        first: usize,
        right: View<'_>,
        column: usize,
        depth: usize,
    ) -> [L::Vector; R] {
        let mut rows = [&[] as &[f32]; R];
        for (index, row) in rows.iter_mut().enumerate() {
            *row = self.0.at(first + index).get(..depth).unwrap_or_default();
        }
        let mut sums = [lanes.splat(0.0); R];
        for place in 0..depth {
            let vector = lanes.load(vector(right, place, column));
            for (sum, row) in sums.iter_mut().zip(rows) {
                if let Some(&factor) = row.get(place) {
                    *sum = lanes.mul_add(lanes.splat(factor), vector, *sum);
                }
            }
        }
        sums
    }
}

impl Left for Transposed<'_> {
    #[inline(always)]
    fn tile<const R: usize, L: Lanes>(
        self,
        lanes: L,
        first: usize,
        right: View<'_>,
        column: usize,
        depth: usize,
    ) -> [L::Vector; R] {
        let mut sums = [lanes.splat(0.0); R];
        for place in 0..depth {
            let vector = lanes.load(vector(right, place, column));
            let row = self.0.at(place).get(first..).unwrap_or_default();
            let factors = row.first_chunk::<R>().unwrap_or(&[0.0; R]);
            for (sum, &factor) in sums.iter_mut().zip(factors) {
                *sum = lanes.mul_add(lanes.splat(factor), vector, *sum);
            }
        }
        sums
    }
}

/// Sixteen elements of a row, from `column` on.
#[inline(always)]
fn vector(view: View<'_>, row: usize, column: usize) -> &[f32; WIDTH] {
    let row = view.at(row).get(column..).unwrap_or_default();
    row.first_chunk().unwrap_or(&[0.0; WIDTH])
}

/// Writes `left * right`: `num_rows` rows of `width` columns, a multiple of sixteen; `depth` rows of
/// the right side count.
#[inline(always)]
pub(super) fn product<A: Left, L: Lanes>(
    lanes: L,
    left: A,
    right: View<'_>,
    mut out: ViewMut<'_>,
    [num_rows, depth, width]: [usize; 3],
) {
    let mut first = 0;
    while first + 8 <= num_rows {
        rows::<8, A, L>(lanes, left, right, &mut out, [first, depth, width]);
        first += 8;
    }
    if first + 4 <= num_rows {
        rows::<4, A, L>(lanes, left, right, &mut out, [first, depth, width]);
        first += 4;
    }
    if first + 2 <= num_rows {
        rows::<2, A, L>(lanes, left, right, &mut out, [first, depth, width]);
        first += 2;
    }
    if first < num_rows {
        rows::<1, A, L>(lanes, left, right, &mut out, [first, depth, width]);
    }
}

#[inline(always)]
fn rows<const R: usize, A: Left, L: Lanes>(
    lanes: L,
    left: A,
    right: View<'_>,
    out: &mut ViewMut<'_>,
    [first, depth, width]: [usize; 3],
) {
    for column in (0..width).step_by(WIDTH) {
        let sums = left.tile::<R, L>(lanes, first, right, column, depth);
        for (index, sum) in sums.into_iter().enumerate() {
            let start = (first + index) * out.stride + column;
            let place = out.values.get_mut(start..).unwrap_or_default();
            if let Some(place) = place.first_chunk_mut() {
                lanes.store(sum, place);
            }
        }
    }
}
