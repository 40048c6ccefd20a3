//! One step of `AdamW` on the rows of an embedding that have a gradient, or had one before.
//!
//! A row that never had a gradient has moments of zero, and `AdamW` leaves it as it is: such rows are
//! passed over. Rows that had one go on by their moments, with a gradient of zero. So the step is
//! that of all rows (Loshchilov and Hutter, <https://arxiv.org/abs/1711.05101>), not that of
//! `torch.optim.SparseAdam`, whose moments stand still while a row is not seen. Weight decay, which
//! reaches every row, is the caller's.
//!
//! Invariants: every fault of the call is found before anything is written; the result of an
//! element depends on that element alone, so neither on threads nor on vector instructions.
//!
//! Cost: 24 bytes read and written for each element of a row that lives; a flag for any other row.

mod row;

use crate::error::{Error, Result, expect_length};
use crate::parallelism::map_parts;

pub use row::AdamW;

/// How many elements a thread takes at a time, at least.
const ELEMENTS_AT_ONCE: usize = 1 << 16;

/// An embedding of `live.len()` rows of `width`, and what `AdamW` keeps of it.
#[derive(Debug)]
pub struct Embedding<'a> {
    /// Elements of a row.
    pub width: usize,
    /// The weights.
    pub param: &'a mut [f32],
    /// Their first moments.
    pub exp_avg: &'a mut [f32],
    /// Their second moments.
    pub exp_avg_sq: &'a mut [f32],
    /// Which rows have moments; rows with a gradient join them.
    pub live: &'a mut [bool],
}

/// The rows of the gradient that are not zero.
#[derive(Debug, Clone, Copy)]
pub struct RowGradient<'a> {
    /// Which rows, ascending, each once.
    pub rows: &'a [i64],
    /// Their gradients, one after the other.
    pub values: &'a [f32],
}

/// One row that lives.
struct LiveRow<'a> {
    state: row::State<'a>,
    gradient: Option<&'a [f32]>,
}

/// Takes the step, and returns how many rows live.
///
/// # Errors
///
/// [`Error::Zero`] for a width of zero, [`Error::LengthMismatch`] for arrays of another length than
/// the others, [`Error::IndexOutOfRange`] and [`Error::RepeatedIndex`] for rows that do not exist or
/// do not ascend; then nothing was written.
pub fn adamw_rows(
    embedding: Embedding<'_>,
    gradient: RowGradient<'_>,
    adamw: &AdamW,
    num_threads: Option<usize>,
) -> Result<usize> {
    check(&embedding, gradient)?;
    let width = embedding.width;
    for &row in gradient.rows {
        if let Some(lives) = usize::try_from(row)
            .ok()
            .and_then(|r| embedding.live.get_mut(r))
        {
            *lives = true;
        }
    }
    let mut rows = live_rows(embedding, gradient);
    let num_live = rows.len();
    let parts = rows.chunks_mut(ELEMENTS_AT_ONCE.div_ceil(width)).collect();
    let factors = adamw.factors();
    map_parts(num_threads, parts, |part| {
        for LiveRow { state, gradient } in part {
            factors.step(state, *gradient);
        }
        Ok(())
    })?;
    Ok(num_live)
}

fn live_rows<'a>(embedding: Embedding<'a>, gradient: RowGradient<'a>) -> Vec<LiveRow<'a>> {
    let Embedding {
        width,
        param,
        exp_avg,
        exp_avg_sq,
        live,
    } = embedding;
    let values = gradient.values.chunks_exact(width);
    let mut given = gradient.rows.iter().zip(values).peekable();
    let moments = exp_avg
        .chunks_exact_mut(width)
        .zip(exp_avg_sq.chunks_exact_mut(width));
    let weights = param.chunks_exact_mut(width).zip(moments);
    let rows = (0_i64..).zip(live.iter()).zip(weights);
    rows.filter(|((_, lives), _)| **lives)
        .map(|((index, _), (param, (exp_avg, exp_avg_sq)))| LiveRow {
            state: row::State {
                param,
                exp_avg,
                exp_avg_sq,
            },
            gradient: given
                .next_if(|(row, _)| **row == index)
                .map(|(_, values)| values),
        })
        .collect()
}

fn check(embedding: &Embedding<'_>, gradient: RowGradient<'_>) -> Result<()> {
    let (width, num_rows) = (embedding.width, embedding.live.len());
    if width == 0 {
        return Err(Error::Zero { name: "width" });
    }
    let elements = num_rows.saturating_mul(width);
    expect_length("param", embedding.param.len(), elements)?;
    expect_length("exp_avg", embedding.exp_avg.len(), elements)?;
    expect_length("exp_avg_sq", embedding.exp_avg_sq.len(), elements)?;
    let values = gradient.rows.len().saturating_mul(width);
    expect_length("values", gradient.values.len(), values)?;
    check_rows(gradient.rows, num_rows)
}

fn check_rows(rows: &[i64], num_rows: usize) -> Result<()> {
    let mut last = None;
    for &row in rows {
        if !usize::try_from(row).is_ok_and(|row| row < num_rows) {
            return Err(Error::IndexOutOfRange {
                index: row,
                num_examples: num_rows,
            });
        }
        if last.is_some_and(|last| last >= row) {
            return Err(Error::RepeatedIndex { index: row });
        }
        last = Some(row);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADAMW: AdamW = AdamW {
        lr: 0.1,
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        step: 1.0,
    };

    struct Arrays {
        param: Vec<f32>,
        exp_avg: Vec<f32>,
        exp_avg_sq: Vec<f32>,
        live: Vec<bool>,
    }

    impl Arrays {
        fn new(num_rows: usize, width: usize) -> Self {
            Self {
                param: vec![1.0; num_rows * width],
                exp_avg: vec![0.0; num_rows * width],
                exp_avg_sq: vec![0.0; num_rows * width],
                live: vec![false; num_rows],
            }
        }

        fn step(&mut self, rows: &[i64], values: &[f32], adamw: &AdamW) -> Result<usize> {
            let embedding = Embedding {
                width: 2,
                param: &mut self.param,
                exp_avg: &mut self.exp_avg,
                exp_avg_sq: &mut self.exp_avg_sq,
                live: &mut self.live,
            };
            adamw_rows(embedding, RowGradient { rows, values }, adamw, Some(2))
        }
    }

    #[test]
    fn the_first_step_goes_by_the_learning_rate_and_leaves_other_rows() {
        let mut arrays = Arrays::new(3, 2);
        assert_eq!(arrays.step(&[1], &[5.0, -0.5], &ADAMW), Ok(1));
        assert_eq!(arrays.param.get(..2), Some(&[1.0, 1.0][..]));
        let moved: Vec<f32> = arrays.param.get(2..4).unwrap_or_default().to_vec();
        assert!(
            moved
                .iter()
                .zip([0.9, 1.1])
                .all(|(a, b): (&f32, f32)| (a - b).abs() < 1e-6)
        );
        assert_eq!(arrays.live, [false, true, false]);
    }

    #[test]
    fn a_row_without_a_gradient_goes_on_by_its_moments() {
        let mut arrays = Arrays::new(3, 2);
        assert_eq!(arrays.step(&[1], &[5.0, -0.5], &ADAMW), Ok(1));
        let before = arrays.param.clone();
        let second = AdamW { step: 2.0, ..ADAMW };
        assert_eq!(arrays.step(&[2], &[1.0, 1.0], &second), Ok(2));
        assert!(
            arrays.param.get(2) < before.get(2),
            "the moment is still positive"
        );
        assert!(
            arrays.param.get(3) > before.get(3),
            "the moment is still negative"
        );
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        let num_rows = 40_000;
        let rows: Vec<i64> = (0..num_rows).step_by(3).collect();
        let values: Vec<f32> = (0_u16..).take(rows.len() * 2).map(f32::from).collect();
        let run = |num_threads| {
            let mut arrays = Arrays::new(40_000, 2);
            let embedding = Embedding {
                width: 2,
                param: &mut arrays.param,
                exp_avg: &mut arrays.exp_avg,
                exp_avg_sq: &mut arrays.exp_avg_sq,
                live: &mut arrays.live,
            };
            let gradient = RowGradient {
                rows: &rows,
                values: &values,
            };
            let num_live = adamw_rows(embedding, gradient, &ADAMW, Some(num_threads));
            (num_live, arrays.param)
        };
        assert_eq!(run(1), run(3));
    }

    #[test]
    fn faults_are_found_before_anything_is_written() {
        let mut arrays = Arrays::new(3, 2);
        for rows in [[1, 3], [-1, 0]] {
            let found = arrays.step(&rows, &[1.0; 4], &ADAMW);
            assert!(matches!(found, Err(Error::IndexOutOfRange { .. })));
        }
        for rows in [[1, 1], [2, 0]] {
            let found = arrays.step(&rows, &[1.0; 4], &ADAMW);
            assert!(matches!(found, Err(Error::RepeatedIndex { .. })));
        }
        let found = arrays.step(&[1], &[1.0; 3], &ADAMW);
        assert!(matches!(
            found,
            Err(Error::LengthMismatch { name: "values", .. })
        ));
        arrays.exp_avg.pop();
        let found = arrays.step(&[1], &[1.0; 2], &ADAMW);
        assert!(matches!(
            found,
            Err(Error::LengthMismatch {
                name: "exp_avg",
                ..
            })
        ));
        assert_eq!((arrays.param, arrays.live), (vec![1.0; 6], vec![false; 3]));
    }
}
