//! Softmax cross entropy of rows of logits: loss and gradient in one visit, in place if wanted.
//!
//! Each row is gone over three times while it lies in the cache: its maximum, its exponentials and
//! their sum, its gradient. Half precision is widened into a row of float32 beside it, so that each
//! exponential is taken once and each gradient rounded once. float64 takes the plain way
//! ([`reference`]), which the tests hold against the others.
//!
//! Invariants: a label outside the vocabulary is an error before anything is written; the result of
//! a row depends on that row alone, so neither on threads nor on its neighbours; AVX2 and AVX-512 do
//! the same arithmetic in the same order and agree to the bit.
//!
//! Cost: about 0.35 ns per float32 logit with AVX-512, 1.0 to 1.5 times reading and writing it; the
//! memory of a row is asked for while the one before it is computed.

#![expect(
    clippy::inline_always,
    reason = "what is not inlined is compiled without the vector instructions of its caller"
)]

mod format;
mod gradient;
mod options;
mod passes;
pub mod reference;
mod row;
mod scratch;
mod wide_sum;

use std::ops::Range;

use crate::error::{Error, Result, expect_length};
use crate::parallelism::map_parts;
use crate::simd::{Kernel, Lanes, Level};

pub use format::{BF16, F16, F32, Format};
pub use options::{Options, Outcome};
pub use wide_sum::add_widened;

/// How many logits a thread takes at a time, at least.
const LOGITS_AT_ONCE: usize = 1 << 17;

/// Parts that many rows are cut into: some for each thread, and each of many rows, since its first
/// is not asked for ahead.
const PARTS: usize = 32;

/// One row of logits, and where its gradient goes.
#[derive(Debug)]
pub enum Row<'a, T> {
    /// The gradient takes the place of the logits.
    InPlace(&'a mut [T]),
    /// The logits stay; the gradient is written beside them.
    Beside {
        /// The logits.
        logits: &'a [T],
        /// Where the gradient goes; as long as the logits.
        gradient: &'a mut [T],
    },
    /// No gradient is wanted.
    LossOnly(&'a [T]),
}

impl<T> Row<'_, T> {
    /// Its logits.
    #[must_use]
    pub fn logits(&self) -> &[T] {
        match self {
            Self::InPlace(logits) => logits,
            Self::Beside { logits, .. } | Self::LossOnly(logits) => logits,
        }
    }

    /// How many they are.
    #[must_use]
    pub fn width(&self) -> usize {
        self.logits().len()
    }
}

/// The loss of each row, and its gradient where a row has a place for it.
///
/// # Errors
///
/// [`Error::LabelOutOfRange`], and [`Error::LengthMismatch`] for labels, weights or rows of another
/// length than the others; then nothing was written.
pub fn cross_entropy<F: Format>(
    rows: Vec<Row<'_, F::Bits>>,
    labels: &[i64],
    options: &Options<'_>,
    level: Level,
    num_threads: Option<usize>,
) -> Result<Vec<Outcome>> {
    let width = check(&rows, labels, options)?;
    let class_weight = options.narrow_class_weight();
    let call = row::Call::new(options, &class_weight, width);
    let at_once = rows_at_once(rows.len(), width);
    let parts = parts(rows, at_once);
    let outcomes = map_parts(num_threads, parts, |part| {
        Ok(level.run(RowsOf::<F> {
            call: &call,
            part,
            labels,
        }))
    })?;
    Ok(outcomes.into_iter().flatten().collect())
}

/// Rows that one thread takes at a time, and which they are.
pub(crate) struct Part<'a, T> {
    pub(crate) range: Range<usize>,
    pub(crate) rows: Vec<Row<'a, T>>,
}

/// What one thread does.
struct RowsOf<'a, F: Format> {
    call: &'a row::Call<'a>,
    part: Part<'a, F::Bits>,
    labels: &'a [i64],
}

impl<F: Format> Kernel for RowsOf<'_, F> {
    type Outcome = Vec<Outcome>;

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) -> Vec<Outcome> {
        row::rows::<F, L>(lanes, self.call, self.part, self.labels)
    }
}

fn rows_at_once(num_rows: usize, width: usize) -> usize {
    let fewest = LOGITS_AT_ONCE.div_ceil(width.max(1));
    fewest.max(num_rows.div_ceil(PARTS))
}

fn parts<T>(rows: Vec<Row<'_, T>>, size: usize) -> Vec<Part<'_, T>> {
    let mut rows = rows.into_iter();
    let mut parts = Vec::new();
    let mut start = 0;
    loop {
        let taken: Vec<_> = rows.by_ref().take(size).collect();
        if taken.is_empty() {
            return parts;
        }
        let end = start + taken.len();
        parts.push(Part {
            range: start..end,
            rows: taken,
        });
        start = end;
    }
}

/// The width that all rows have; every fault of the call is found here.
fn check<T>(rows: &[Row<'_, T>], labels: &[i64], options: &Options<'_>) -> Result<usize> {
    let width = rows.first().map_or(0, Row::width);
    expect_length("labels", labels.len(), rows.len())?;
    if let Some(weights) = options.row_weight {
        expect_length("row_weight", weights.len(), rows.len())?;
    }
    if let Some(weights) = options.class_weight
        && !rows.is_empty()
    {
        expect_length("class_weight", weights.len(), width)?;
    }
    for row in rows {
        expect_length("row", row.width(), width)?;
        if let Row::Beside { gradient, .. } = row {
            expect_length("gradient", gradient.len(), width)?;
        }
    }
    check_labels(labels, width, options.ignore_index)?;
    Ok(width)
}

/// Looks whether each label is below `num_classes` or `ignore_index`.
///
/// # Errors
///
/// [`Error::LabelOutOfRange`] names the first that is not.
pub fn check_labels(labels: &[i64], num_classes: usize, ignore_index: i64) -> Result<()> {
    let is_right = |label: i64| {
        label == ignore_index || usize::try_from(label).is_ok_and(|class| class < num_classes)
    };
    match labels.iter().position(|&label| !is_right(label)) {
        None => Ok(()),
        Some(row) => Err(Error::LabelOutOfRange {
            row,
            label: labels.get(row).copied().unwrap_or_default(),
            num_classes,
        }),
    }
}

/// How many elements lie from the first to the last of `num_rows` rows that begin `stride` apart.
///
/// # Errors
///
/// [`Error::BatchTooLarge`] where the number does not fit in an `isize`, and
/// [`Error::RowsOverlap`] for a stride that is shorter than a row.
pub fn span(num_rows: usize, width: usize, stride: usize) -> Result<usize> {
    if num_rows > 1 && stride < width {
        return Err(Error::RowsOverlap { width, stride });
    }
    let Some(steps) = num_rows.checked_sub(1) else {
        return Ok(0);
    };
    steps
        .checked_mul(stride)
        .and_then(|begin| begin.checked_add(width))
        .filter(|&elements| isize::try_from(elements).is_ok())
        .ok_or(Error::BatchTooLarge { num_rows, width })
}
