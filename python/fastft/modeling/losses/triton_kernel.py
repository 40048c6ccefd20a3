"""The row kernel in Triton: softmax cross entropy of rows of logits, one program a row.

Each row is read once for its sums, and once more, mostly from the cache, for its gradient, which is
written once; a row that fits one block is kept in registers and read once. Arithmetic is float32.
The exponential of the label is left out of the sum over the others and added at the end, and the
running maximum begins at the logit of the label: so a loss that is all but 0 keeps its digits.

Invariants: a row depends on itself alone; nothing is read back by the host, factors included; a
label outside the vocabulary makes loss and gradient of its row NaN; offsets are 64 bits wide.

This module imports triton; `triton_rows.py` imports it when a loss runs here. Arguments have no
types: `triton.jit` looks annotations up among its own names.
"""

from __future__ import annotations

import os

import triton
import triton.language as tl

IS_INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
"""Whether the kernels run on the CPU: this is settled when they are defined."""


@triton.jit
def _tanh(x):
    """To about one unit in the last place; near 0 by a polynomial (Cephes), else by `exp`."""
    z = x * x
    series = -5.70498872745e-3 * z + 2.06390887954e-2
    series = (series * z - 5.37397155531e-2) * z + 1.33314422036e-1
    near = x + x * z * (series * z - 3.33332819422e-1)
    e = tl.exp(-2.0 * tl.abs(x))
    far = (1.0 - e) / (1.0 + e)
    return tl.where(tl.abs(x) < 0.625, near, tl.where(x < 0, -far, far))


@triton.jit
def _log1p(x):
    """`log(1 + x)` for x >= 0, right to its last digits where x is small."""
    s = x / (2.0 + x)
    z = s * s
    # log(1 + x) = 2 artanh(x / (2 + x)); for x <= 1 what follows is below one unit.
    series = ((z / 15 + 1.0 / 13) * z + 1.0 / 11) * z + 1.0 / 9
    series = ((series * z + 1.0 / 7) * z + 1.0 / 5) * z + 1.0 / 3
    return tl.where(x <= 1.0, 2.0 * s + 2.0 * s * z * series, tl.log(1.0 + x))


@triton.jit
def _shaped(x, logit_scale, softcap, CAPS: tl.constexpr):
    """Scaled, then softly capped; float32."""
    x = x.to(tl.float32) * logit_scale
    if CAPS:
        x = softcap * _tanh(x / softcap)
    return x


@triton.jit
def _read(
    at,
    columns,
    num_classes,
    logit_scale,
    softcap,
    CAPS: tl.constexpr,
    MASKED: tl.constexpr,
    POLICY: tl.constexpr,
):
    """Shaped logits; beyond the row minus infinity."""
    if MASKED:
        inside = columns < num_classes
        x = tl.load(at + columns, mask=inside, other=0.0, eviction_policy=POLICY)
        return tl.where(inside, _shaped(x, logit_scale, softcap, CAPS), float("-inf"))
    else:
        x = tl.load(at + columns, eviction_policy=POLICY)
        return _shaped(x, logit_scale, softcap, CAPS)


@triton.jit
def _weights(class_weight, columns, num_classes):
    """The weights of these classes; 1 where there are none, 0 beyond the row."""
    inside = columns < num_classes
    if class_weight is not None:
        return tl.load(class_weight + columns, mask=inside, other=0.0).to(tl.float32)
    else:
        return tl.where(inside, 1.0, 0.0)


@triton.jit
def _add(
    x,
    columns,
    num_classes,
    label,
    value,
    anchor,
    class_weight,
    top,
    others,
    exp_times,
    weighted,
    weights,
    beaten,
    SMOOTHS: tl.constexpr,
    STATISTICS: tl.constexpr,
):
    """The sums of a row with one more block.

    Each lane keeps a sum of its own; `top`, the maximum so far, is that of the row. `others` and
    `exp_times` are relative to it and leave the label out, `weighted` is relative to `anchor`.
    """
    higher = tl.maximum(top, tl.max(x, 0))
    below = tl.where(top == float("-inf"), 0.0, top - higher)
    # Where all are minus infinity the differences would be NaN; the row will be, at the end.
    d = x - tl.where(higher == float("-inf"), 0.0, higher)
    e = tl.where(columns == label, 0.0, tl.exp(d))
    shrink = tl.exp(below)
    if STATISTICS:
        # The limit of d exp(d) is 0.
        exp_times = shrink * (exp_times + tl.where(others == 0.0, 0.0, others * below))
        exp_times += tl.where(e == 0.0, 0.0, e * d)
        stays_below = (x < value) | ((x == value) & (columns >= label))
        beaten += tl.where(stays_below, 0, 1)
    others = others * shrink + e
    if SMOOTHS:
        w = _weights(class_weight, columns, num_classes)
        weighted += tl.where(columns < num_classes, w * (x - anchor), 0.0)
        weights += w
    return higher, others, exp_times, weighted, weights, beaten


@triton.jit
def _write(
    at,
    x,
    columns,
    num_classes,
    label,
    top,
    softmax,
    each,
    at_label,
    class_weight,
    logit_scale,
    softcap,
    SMOOTHS: tl.constexpr,
    CAPS: tl.constexpr,
    MASKED: tl.constexpr,
):
    """The gradient of a block, from its shaped logits."""
    slope = softmax * tl.exp(x - top)
    if SMOOTHS:
        slope -= each * _weights(class_weight, columns, num_classes)
    slope = tl.where(columns == label, at_label, slope) * logit_scale
    if CAPS:
        slope *= 1.0 - (x / softcap) * (x / softcap)
    slope = slope.to(at.dtype.element_ty)
    if MASKED:
        tl.store(at + columns, slope, mask=columns < num_classes)
    else:
        tl.store(at + columns, slope)


@triton.jit
def _leave_out(loss_at, lse_at, entropy_at, is_correct_at, gradient, row, num_classes, lanes):
    """Zeros for a row that is ignored."""
    tl.store(loss_at + row, 0.0)
    tl.store(lse_at + row, 0.0)
    if entropy_at is not None:
        tl.store(entropy_at + row, 0.0)
        tl.store(is_correct_at + row, 0)
    if gradient is not None:
        for start in range(0, num_classes, lanes.shape[0]):
            columns = start + lanes
            nothing = tl.zeros(lanes.shape, dtype=gradient.dtype.element_ty)
            tl.store(gradient + columns, nothing, mask=columns < num_classes)


# fmt: off
@triton.jit
def _sums(logits, lanes, num_classes, label, value, anchor, class_weight, logit_scale, softcap,
          SMOOTHS: tl.constexpr, CAPS: tl.constexpr, STATISTICS: tl.constexpr,
          ONE_BLOCK: tl.constexpr, BLOCK: tl.constexpr):
    """The shaped logits where they fit one block; maximum and sums of the row, see `_add`."""
    top = value
    others = tl.zeros([BLOCK], dtype=tl.float32)
    exp_times, weighted, weights = others, others, others
    beaten = tl.zeros([BLOCK], dtype=tl.int32)
    whole = 0 if ONE_BLOCK else num_classes // BLOCK * BLOCK
    x = others
    for start in range(0, whole, BLOCK):
        columns = start + lanes
        y = _read(logits, columns, num_classes, logit_scale, softcap, CAPS, False, "evict_last")
        top, others, exp_times, weighted, weights, beaten = _add(
            y, columns, num_classes, label, value, anchor, class_weight, top, others, exp_times,
            weighted, weights, beaten, SMOOTHS, STATISTICS)
    if whole < num_classes:
        columns = whole + lanes
        x = _read(logits, columns, num_classes, logit_scale, softcap, CAPS, True, "evict_last")
        top, others, exp_times, weighted, weights, beaten = _add(
            x, columns, num_classes, label, value, anchor, class_weight, top, others, exp_times,
            weighted, weights, beaten, SMOOTHS, STATISTICS)
    return (x, top, tl.sum(others, 0), tl.sum(exp_times, 0), tl.sum(weighted, 0),
            tl.sum(weights, 0), tl.sum(beaten, 0))


@triton.jit
def _slopes(logits, gradient, x, lanes, num_classes, label, top, softmax, each, at_label,
            class_weight, logit_scale, softcap, SMOOTHS: tl.constexpr, CAPS: tl.constexpr,
            ONE_BLOCK: tl.constexpr, BLOCK: tl.constexpr):
    """Writes the gradient of the row; `x` is what `_sums` gave, the end of the row."""
    whole = 0 if ONE_BLOCK else num_classes // BLOCK * BLOCK
    for start in range(0, whole, BLOCK):
        columns = start + lanes
        y = _read(logits, columns, num_classes, logit_scale, softcap, CAPS, False, "evict_first")
        _write(gradient, y, columns, num_classes, label, top, softmax, each, at_label,
               class_weight, logit_scale, softcap, SMOOTHS, CAPS, False)
    if whole < num_classes:
        if not ONE_BLOCK:
            # Kept this long it would take registers from the loop.
            x = _read(logits, whole + lanes, num_classes, logit_scale, softcap, CAPS, True,
                      "evict_first")
        _write(gradient, x, whole + lanes, num_classes, label, top, softmax, each, at_label,
               class_weight, logit_scale, softcap, SMOOTHS, CAPS, True)


@triton.jit
def rows(logits, gradient, labels, row_weight, class_weight, factor_at, loss_at, lse_at,
         entropy_at, is_correct_at, logits_stride, gradient_stride, num_classes, ignore_index,
         factor, label_smoothing, z_loss, softcap, logit_scale,
         SMOOTHS: tl.constexpr, SQUARES: tl.constexpr, CAPS: tl.constexpr,
         STATISTICS: tl.constexpr, ONE_BLOCK: tl.constexpr, BLOCK: tl.constexpr):
    """One row: its loss, its log-sum-exp, the statistics, and its gradient.

    `logits` and `gradient` point to rows (N, V), maybe the same; `gradient`, `row_weight` (N,),
    `class_weight` (V,), `factor_at` (one number that multiplies the gradient, as `factor` does) may
    be None; `labels` are int64 (N,); results go to (N,), those of statistics to None without them.
    """
    row = tl.program_id(0).to(tl.int64)
    given = tl.load(labels + row)
    logits += row * logits_stride
    if gradient is not None:
        gradient += row * gradient_stride
    lanes = tl.arange(0, BLOCK)
    if given == ignore_index:
        _leave_out(loss_at, lse_at, entropy_at, is_correct_at, gradient, row, num_classes, lanes)
        return
    is_class = (given >= 0) & (given < num_classes)
    label = tl.where(is_class, given, 0)
    value = _shaped(tl.load(logits + label), logit_scale, softcap, CAPS)
    anchor = tl.where(tl.abs(value) < float("inf"), value, 0.0)
    x, top, rest, exp_times, weighted, all_weights, beaten = _sums(
        logits, lanes, num_classes, label, value, anchor, class_weight, logit_scale, softcap,
        SMOOTHS, CAPS, STATISTICS, ONE_BLOCK, BLOCK)
    d = value - top
    total = rest + tl.exp(d)
    log_sum = _log1p(tl.where(d == 0.0, rest, total - 1.0))
    lse = top + log_sum
    of_label = 1.0 if class_weight is None else tl.load(class_weight + label).to(tl.float32)
    hard = (1.0 - label_smoothing) * of_label
    loss = hard * (log_sum - d)
    softmax = hard
    each = 0.0
    if SMOOTHS:
        each = label_smoothing / num_classes
        # Beside an infinite logit there is no number to be exact about.
        above = tl.where(anchor == value, log_sum - d, lse - anchor)
        loss += each * (all_weights * above - weighted)
        softmax += each * all_weights
    if SQUARES:
        loss += z_loss * lse * lse
        softmax += 2.0 * z_loss * lse
    times = 1.0 if row_weight is None else tl.load(row_weight + row).to(tl.float32)
    times = tl.where(is_class, times, float("nan"))
    tl.store(loss_at + row, loss * times)
    tl.store(lse_at + row, lse)
    if STATISTICS:
        of_value = tl.where(tl.exp(d) == 0.0, 0.0, tl.exp(d) * d)
        tl.store(entropy_at + row, log_sum - (exp_times + of_value) / total)
        tl.store(is_correct_at + row, (is_class & (beaten == 0)).to(tl.int8))
    if gradient is not None:
        times *= factor
        if factor_at is not None:
            times *= tl.load(factor_at).to(tl.float32)
        # `p - 1` comes from the other classes: it keeps its digits where p is all but 1.
        at_label = times * (softmax - hard - softmax * (rest / total) - each * of_label)
        _slopes(logits, gradient, x, lanes, num_classes, label, top, times * softmax / total,
                times * each, at_label, class_weight, logit_scale, softcap, SMOOTHS, CAPS,
                ONE_BLOCK, BLOCK)
# fmt: on


@triton.jit
def scale(values, factor_at, num_values, BLOCK: tl.constexpr):
    """Multiplies values in place by one number on the device; a 1 costs no memory traffic."""
    factor = tl.load(factor_at).to(tl.float32)
    if factor != 1.0:
        places = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
        inside = places < num_values
        x = tl.load(values + places, mask=inside).to(tl.float32)
        tl.store(values + places, (x * factor).to(values.dtype.element_ty), mask=inside)
