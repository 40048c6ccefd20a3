//! Sixteen float32 at a time, whatever the processor has; the exponential and tanh built on it.
//!
//! All vector kernels work on sixteen lanes, in registers of any width, so that sums are made in the
//! same order everywhere.

/// How many lanes a vector has.
pub(crate) const WIDTH: usize = 16;

/// Below this an exponential is taken for 0; at it, it is still a normal float32.
const LOWEST: f32 = -87.0;

const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -2.121_944_4e-4;

/// Added to a number below 2^22 it leaves no room for a fraction: the nearest whole number, ties to
/// even, stands in the lowest bits.
pub(super) const ROUNDER: f32 = 12_582_912.0;

/// Coefficients of `exp` on half an octave around 0 (Cephes, `expf`).
const EXP: [f32; 8] = [
    1.987_569_2e-4,
    1.398_199_9e-3,
    8.333_452e-3,
    4.166_579_6e-2,
    1.666_666_5e-1,
    0.5,
    1.0,
    1.0,
];

/// Coefficients of `tanh` up to 0.625 (Cephes, `tanhf`).
const TANH: [f32; 5] = [
    -5.704_988_7e-3,
    2.063_909e-2,
    -5.373_971_6e-2,
    1.333_144_2e-1,
    -3.333_328e-1,
];

/// Work that is compiled once for each kind of processor.
pub(crate) trait Kernel {
    /// What it gives.
    type Outcome;

    /// Does the work. It is inlined into a function that has the vector instructions, and so must be
    /// all that it calls; loops and no closures, which would be compiled without them.
    fn run<L: Lanes>(self, lanes: L) -> Self::Outcome;
}

/// The operations of one kind of processor. A value of the type says that the processor has them.
pub(crate) trait Lanes: Copy + Send + Sync {
    /// Sixteen float32.
    type Vector: Copy;

    fn splat(self, value: f32) -> Self::Vector;
    fn load(self, from: &[f32; WIDTH]) -> Self::Vector;
    fn store(self, values: Self::Vector, to: &mut [f32; WIDTH]);
    fn load_bf16(self, from: &[u16; WIDTH]) -> Self::Vector;
    fn store_bf16(self, values: Self::Vector, to: &mut [u16; WIDTH]);
    fn load_f16(self, from: &[u16; WIDTH]) -> Self::Vector;
    fn store_f16(self, values: Self::Vector, to: &mut [u16; WIDTH]);
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn sub(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn mul(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn div(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a * b + c`, rounded once where the processor can.
    fn mul_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// The larger one; `b` where one is NaN.
    fn max(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a * 2^n` for a normal result, where `n` stands in the lowest bits of `rounded`.
    fn times_power(self, a: Self::Vector, rounded: Self::Vector) -> Self::Vector;
    /// `yes` where `a < b`, else (NaN too) `no`.
    fn where_less(
        self,
        a: Self::Vector,
        b: Self::Vector,
        yes: Self::Vector,
        no: Self::Vector,
    ) -> Self::Vector;

    /// 0 where `a < b`, else (NaN too) `no`.
    #[inline(always)]
    fn zero_below(self, a: Self::Vector, b: Self::Vector, no: Self::Vector) -> Self::Vector {
        self.where_less(a, b, self.splat(0.0), no)
    }

    /// The sum of the lanes, in an order that is the same for all.
    #[inline(always)]
    fn total(self, values: Self::Vector) -> f32 {
        let mut lanes = [0.0; WIDTH];
        self.store(values, &mut lanes);
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = lanes;
        (((a + b) + (c + d)) + ((e + f) + (g + h))) + (((i + j) + (k + l)) + ((m + n) + (o + p)))
    }

    /// The largest lane; NaN counts as nothing.
    #[inline(always)]
    fn largest(self, values: Self::Vector) -> f32 {
        let mut lanes = [0.0; WIDTH];
        self.store(values, &mut lanes);
        lanes.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }

    /// `exp(a)` for `a <= 0` or NaN, to about one unit in the last place; 0 below -87.
    #[inline(always)]
    fn exp(self, a: Self::Vector) -> Self::Vector {
        let rounder = self.splat(ROUNDER);
        let rounded = self.mul_add(a, self.splat(std::f32::consts::LOG2_E), rounder);
        let n = self.sub(rounded, rounder);
        let rest = self.mul_add(n, self.splat(-LN_2_HIGH), a);
        let rest = self.mul_add(n, self.splat(-LN_2_LOW), rest);
        let [first, others @ ..] = EXP;
        let mut series = self.splat(first);
        for coefficient in others {
            series = self.mul_add(series, rest, self.splat(coefficient));
        }
        // Below the bound all of this is nonsense. NaN is not below it.
        let whole = self.times_power(series, rounded);
        self.zero_below(a, self.splat(LOWEST), whole)
    }

    /// `tanh(a)` to about one unit in the last place.
    #[inline(always)]
    fn tanh(self, a: Self::Vector) -> Self::Vector {
        let (zero, one, two) = (self.splat(0.0), self.splat(1.0), self.splat(2.0));
        let size = self.where_less(a, zero, self.sub(zero, a), a);
        let square = self.mul(a, a);
        let [first, others @ ..] = TANH;
        let mut series = self.splat(first);
        for coefficient in others {
            series = self.mul_add(series, square, self.splat(coefficient));
        }
        let small = self.mul_add(self.mul(series, square), a, a);
        // tanh(|a|) = 1 - 2 q / (1 + q) with q = exp(-2 |a|)
        let q = self.exp(self.mul(size, self.splat(-2.0)));
        let large = self.sub(one, self.div(self.mul(two, q), self.add(one, q)));
        let signed = self.where_less(a, zero, self.sub(zero, large), large);
        self.where_less(size, self.splat(0.625), small, signed)
    }
}
