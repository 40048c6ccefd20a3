//! Attention within short rows that stand end to end: outputs, and the gradients of the inputs.
//!
//! For rows of a few dozen tokens the products are small: what takes time elsewhere is to call a
//! library for each of them, and to move tokens to where it wants them. Here each head of each row
//! is done where it lies, and stays in the nearest cache from the scores to the outputs.
//!
//! Invariants: every fault of a call is found before anything is written; the result of a row
//! depends on that row alone, so neither on threads nor on its neighbours; AVX2 and AVX-512 agree
//! to the bit. [`reference`] is the plain way that the tests hold against it.
//!
//! Memory: the weights, of a row `heads * length * filled` float32, where `filled` is the next
//! multiple of sixteen. So this is for short rows.

#![expect(
    clippy::inline_always,
    reason = "what is not inlined is compiled without the vector instructions of its caller"
)]

mod head;
mod pass;
mod product;
pub mod reference;

use crate::error::{Error, Result};
use crate::parallelism::map_parts;
use crate::simd::{Kernel, Lanes, Level, WIDTH};
use head::{Head, Scratch, Size};
use pass::Pass;

pub use pass::{Backward, Forward, Gradients, Inputs};

/// How many products of two numbers a thread takes at a time, at least.
const WORK_AT_ONCE: usize = 1 << 22;

/// What all rows of a call share.
#[derive(Debug, Clone, Copy)]
pub struct Heads {
    /// How many heads there are.
    pub count: usize,
    /// Elements of a head, a multiple of sixteen.
    pub width: usize,
    /// What scores are multiplied with.
    pub scaling: f32,
    /// Whether a query sees no later keys.
    pub is_causal: bool,
}

impl Heads {
    /// Elements of a token.
    fn stride(&self) -> usize {
        self.count.saturating_mul(self.width)
    }

    /// Elements and weights of rows of these lengths.
    fn sizes(&self, lengths: &[usize]) -> [usize; 2] {
        let num_tokens = lengths.iter().copied().fold(0, usize::saturating_add);
        let elements = num_tokens.saturating_mul(self.stride());
        [elements, self.num_weights(lengths)]
    }

    /// How many weights rows of these lengths have: for each head and key as many queries as fill
    /// whole vectors.
    #[must_use]
    pub fn num_weights(&self, lengths: &[usize]) -> usize {
        let of_head = lengths.iter().map(|&length| Size::of(length).num_weights());
        of_head
            .fold(0, usize::saturating_add)
            .saturating_mul(self.count)
    }
}

/// Runs [`Forward`] or [`Backward`] on rows of `lengths` tokens.
///
/// # Errors
///
/// [`Error::HeadWidth`] for heads that are not whole vectors wide, [`Error::LengthMismatch`] for
/// arrays of another length than the rows have; then nothing was written.
#[expect(private_bounds, reason = "nobody else needs passes of their own")]
pub fn attention<P: Pass>(
    pass: P,
    lengths: &[usize],
    heads: &Heads,
    level: Level,
    num_threads: Option<usize>,
) -> Result<()> {
    if heads.width == 0 || !heads.width.is_multiple_of(WIDTH) {
        return Err(Error::HeadWidth {
            width: heads.width,
            multiple: WIDTH,
        });
    }
    let [elements, num_weights] = heads.sizes(lengths);
    pass.check(elements, num_weights)?;
    map_parts(num_threads, parts(pass, lengths, heads), |part| {
        level.run(part);
        Ok(())
    })?;
    Ok(())
}

/// Consecutive rows that one thread takes, and their arrays.
struct Part<'a, P> {
    pass: P,
    lengths: &'a [usize],
    heads: &'a Heads,
}

fn parts<'a, P: Pass>(pass: P, lengths: &'a [usize], heads: &'a Heads) -> Vec<Part<'a, P>> {
    let (mut rest, mut pass, mut parts) = (lengths, pass, Vec::new());
    while !rest.is_empty() {
        let (mut work, mut count) = (0, 0);
        while let Some(&length) = rest.get(count)
            && work < WORK_AT_ONCE
        {
            work += Size::of(length).num_weights() * heads.stride();
            count += 1;
        }
        let (taken, left) = rest.split_at(count);
        let (of_part, of_others) = pass.split(taken, heads);
        parts.push(Part {
            pass: of_part,
            lengths: taken,
            heads,
        });
        (rest, pass) = (left, of_others);
    }
    parts
}

impl<P: Pass> Kernel for Part<'_, P> {
    type Outcome = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let (mut rest, mut scratch) = (self.pass, Scratch::default());
        for length in self.lengths {
            let (mut row, others) = rest.split(std::slice::from_ref(length), self.heads);
            let size = Size::of(*length);
            let head = Head {
                lanes,
                heads: self.heads,
                size,
            };
            for index in 0..self.heads.count {
                row.head(index, head, &mut scratch);
            }
            rest = others;
        }
    }
}
