//! `cross_entropy` of the module: losses of the rows of a matrix, and their gradients in place; and
//! `add_widened`, sums of gradients.

use fastft_core::loss::{
    BF16, F16, F32, Format, Options, Outcome, Row, add_widened as add, cross_entropy as fast,
    reference, span,
};
use fastft_core::simd::Level;
use numpy::ndarray::{ArrayView2, ArrayViewMut2, Axis};
use numpy::{
    Element, PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray1, PyReadwriteArray1,
    PyUntypedArray, PyUntypedArrayMethods,
};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::array::{array, optional_slice, slice};
use crate::enter::enter;
use crate::error::PyError;

/// Loss, log-sum-exp, entropy (float64) and whether the label comes first, a row each.
type PyOutcomes = (
    Py<PyArray1<f64>>,
    Py<PyArray1<f64>>,
    Py<PyArray1<f64>>,
    Py<PyArray1<bool>>,
);

/// What a call asks for, besides its arrays.
struct Call<'a> {
    labels: &'a [i64],
    options: Options<'a>,
    level: Level,
    num_threads: usize,
}

/// The cross entropy of each row of `logits`, shape (N, V); its gradient goes to `gradient`, which
/// may be `logits` itself. `format` says what the bits of 16-bit arrays mean.
#[pyfunction]
#[pyo3(signature = (logits, labels, *, gradient = None, format = "float32", ignore_index = -100, class_weight = None, row_weight = None, label_smoothing = 0.0, z_loss = 0.0, softcap = None, logit_scale = 1.0, gradient_factor = 1.0, statistics = false, num_threads = 1, simd = None))]
#[expect(clippy::too_many_arguments, reason = "they are keywords in Python")]
#[expect(clippy::needless_pass_by_value, reason = "PyO3 hands arguments over")]
pub(crate) fn cross_entropy(
    py: Python<'_>,
    logits: &Bound<'_, PyUntypedArray>,
    labels: PyReadonlyArray1<'_, i64>,
    gradient: Option<&Bound<'_, PyUntypedArray>>,
    format: &str,
    ignore_index: i64,
    class_weight: Option<PyReadonlyArray1<'_, f64>>,
    row_weight: Option<PyReadonlyArray1<'_, f64>>,
    label_smoothing: f64,
    z_loss: f64,
    softcap: Option<f64>,
    logit_scale: f64,
    gradient_factor: f64,
    statistics: bool,
    num_threads: usize,
    simd: Option<&str>,
) -> PyResult<PyOutcomes> {
    let call = Call {
        labels: slice(&labels, "labels")?,
        options: Options {
            ignore_index,
            class_weight: optional_slice(class_weight.as_ref(), "class_weight")?,
            row_weight: optional_slice(row_weight.as_ref(), "row_weight")?,
            label_smoothing,
            z_loss,
            softcap,
            logit_scale,
            gradient_factor,
            statistics,
        },
        level: level(simd)?,
        num_threads,
    };
    let outcomes = match format {
        "float32" => by_format::<F32>(py, logits, gradient, &call),
        "bfloat16" => by_format::<BF16>(py, logits, gradient, &call),
        "float16" => by_format::<F16>(py, logits, gradient, &call),
        "float64" => run(py, logits, gradient, |rows| {
            reference::cross_entropy(rows, call.labels, &call.options)
        }),
        other => Err(PyValueError::new_err(format!("no format {other:?}"))),
    }?;
    let part = |of: fn(&Outcome) -> f64| array(py, outcomes.iter().map(of).collect());
    Ok((
        part(|outcome| outcome.loss),
        part(|outcome| outcome.lse),
        part(|outcome| outcome.entropy),
        array(
            py,
            outcomes.iter().map(|outcome| outcome.is_correct).collect(),
        ),
    ))
}

/// Adds the 16-bit numbers `part` to `total`; `format` says what their bits mean.
#[pyfunction]
#[pyo3(signature = (total, part, *, format, num_threads = 1, simd = None))]
#[expect(clippy::needless_pass_by_value, reason = "PyO3 hands arguments over")]
pub(crate) fn add_widened(
    py: Python<'_>,
    mut total: PyReadwriteArray1<'_, f32>,
    part: PyReadonlyArray1<'_, u16>,
    format: &str,
    num_threads: usize,
    simd: Option<&str>,
) -> PyResult<()> {
    let (total, part) = (total.as_slice_mut()?, slice(&part, "part")?);
    let (level, num_threads) = (level(simd)?, Some(num_threads));
    match format {
        "bfloat16" => enter(py, || add::<BF16>(total, part, level, num_threads)),
        "float16" => enter(py, || add::<F16>(total, part, level, num_threads)),
        other => Err(PyValueError::new_err(format!("no 16-bit format {other:?}"))),
    }
}

/// The name of the vector instructions that are used: "scalar", "avx2" or "avx512".
#[pyfunction]
pub(crate) fn simd_level() -> PyResult<&'static str> {
    Ok(level(None)?.name())
}

/// The vector instructions of this name; without one, those that are used.
pub(crate) fn level(simd: Option<&str>) -> PyResult<Level> {
    let level = simd.map_or_else(Level::chosen, Level::named);
    level.map_err(|error| PyError(error).into())
}

fn by_format<F: Format>(
    py: Python<'_>,
    logits: &Bound<'_, PyUntypedArray>,
    gradient: Option<&Bound<'_, PyUntypedArray>>,
    call: &Call<'_>,
) -> PyResult<Vec<Outcome>>
where
    F::Bits: Element,
{
    run(py, logits, gradient, |rows| {
        let num_threads = Some(call.num_threads);
        fast::<F>(rows, call.labels, &call.options, call.level, num_threads)
    })
}

/// Runs `work` on the rows of the arrays, without the GIL.
fn run<T: Element + Send + Sync>(
    py: Python<'_>,
    logits: &Bound<'_, PyUntypedArray>,
    gradient: Option<&Bound<'_, PyUntypedArray>>,
    work: impl Fn(Vec<Row<'_, T>>) -> fastft_core::Result<Vec<Outcome>> + Send + Sync,
) -> PyResult<Vec<Outcome>> {
    let logits = matrix::<T>(logits)?;
    let Some(gradient) = gradient else {
        let logits = logits.try_readonly()?;
        let view = logits.as_array();
        let rows = readable(&view)?;
        return enter(py, || work(rows.into_iter().map(Row::LossOnly).collect()));
    };
    let gradient = matrix::<T>(gradient)?;
    if gradient.shape() != logits.shape() {
        return Err(PyValueError::new_err("logits and gradient differ in shape"));
    }
    if gradient.data() == logits.data() && gradient.strides() == logits.strides() {
        let mut whole = gradient.try_readwrite()?;
        let mut places = whole.as_array_mut();
        let rows = writable(&mut places)?;
        return enter(py, || work(rows.into_iter().map(Row::InPlace).collect()));
    }
    // Memory that both share is refused here.
    let mut whole = gradient.try_readwrite()?;
    let logits = logits.try_readonly()?;
    let view = logits.as_array();
    let mut places = whole.as_array_mut();
    let pairs = readable(&view)?.into_iter().zip(writable(&mut places)?);
    let rows = pairs
        .map(|(logits, gradient)| Row::Beside { logits, gradient })
        .collect();
    enter(py, || work(rows))
}

fn matrix<'a, 'py, T: Element>(
    array: &'a Bound<'py, PyUntypedArray>,
) -> PyResult<&'a Bound<'py, PyArray2<T>>> {
    let array = array.cast::<PyArray2<T>>()?;
    let (&[num_rows, width], &[stride, step]) = (array.shape(), array.strides()) else {
        return Err(PyValueError::new_err("a matrix is expected"));
    };
    let size = isize::try_from(size_of::<T>())?;
    if num_rows > 0 && width > 1 && step != size {
        return Err(PyValueError::new_err("rows must be contiguous"));
    }
    // Before a view is made: rows that overlap may not be written through one.
    let stride = if num_rows > 1 { stride / size } else { 0 };
    span(num_rows, width, usize::try_from(stride)?).map_err(PyError)?;
    Ok(array)
}

fn readable<'a, T>(view: &'a ArrayView2<'_, T>) -> PyResult<Vec<&'a [T]>> {
    let rows = view.rows().into_iter();
    rows.map(|row| row.to_slice().ok_or_else(not_contiguous))
        .collect()
}

fn writable<'a, T>(view: &'a mut ArrayViewMut2<'_, T>) -> PyResult<Vec<&'a mut [T]>> {
    let rows = view.axis_iter_mut(Axis(0));
    rows.map(|row| row.into_slice().ok_or_else(not_contiguous))
        .collect()
}

fn not_contiguous() -> PyErr {
    PyValueError::new_err("rows must be contiguous")
}
