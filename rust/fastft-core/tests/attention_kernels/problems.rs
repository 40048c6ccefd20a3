//! Random inputs, and both passes over them.

use fastft_core::attention::{Backward, Forward, Gradients, Heads, Inputs, attention};
use fastft_core::simd::Level;

pub(crate) struct Problem {
    pub(crate) lengths: Vec<usize>,
    pub(crate) heads: Heads,
    pub(crate) query: Vec<f32>,
    pub(crate) key: Vec<f32>,
    pub(crate) value: Vec<f32>,
    pub(crate) kept: Option<Vec<f32>>,
    pub(crate) gradient: Vec<f32>,
    pub(crate) size: f32,
}

#[derive(Debug, PartialEq)]
pub(crate) struct Solved {
    pub(crate) out: Vec<f32>,
    pub(crate) weights: Vec<f32>,
    pub(crate) gradients: [Vec<f32>; 3],
}

/// Numbers from -1 to 1 (Weyl's sequence, mixed).
struct Draws(u64);

impl Draws {
    #[expect(clippy::cast_precision_loss, reason = "24 bits are kept exactly")]
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    fn many(&mut self, count: usize, size: f32) -> Vec<f32> {
        (0..count).map(|_| self.next() * size).collect()
    }
}

impl Problem {
    pub(crate) fn new(lengths: &[usize], heads: Heads, drops: bool, size: f32, seed: u64) -> Self {
        let elements = lengths.iter().sum::<usize>() * heads.count * heads.width;
        let mut draws = Draws(seed);
        let kept = drops.then(|| {
            let draws = draws.many(heads.num_weights(lengths), 1.0);
            draws
                .into_iter()
                .map(|draw| if draw < -0.5 { 0.0 } else { 4.0 / 3.0 })
                .collect()
        });
        Self {
            lengths: lengths.to_vec(),
            heads,
            query: draws.many(elements, size),
            key: draws.many(elements, size),
            value: draws.many(elements, size),
            gradient: draws.many(elements, 1.0),
            kept,
            size,
        }
    }

    /// One of its rows alone.
    pub(crate) fn row(&self, row: usize) -> Self {
        let (before, rest) = self.lengths.split_at(row);
        let width = self.heads.count * self.heads.width;
        let start = before.iter().sum::<usize>() * width;
        let tokens = |values: &[f32]| values[start..start + rest[0] * width].to_vec();
        let first = self.heads.num_weights(before);
        let count = self.heads.num_weights(&rest[..1]);
        Self {
            lengths: vec![rest[0]],
            heads: self.heads,
            query: tokens(&self.query),
            key: tokens(&self.key),
            value: tokens(&self.value),
            gradient: tokens(&self.gradient),
            size: self.size,
            kept: self
                .kept
                .as_ref()
                .map(|kept| kept[first..first + count].to_vec()),
        }
    }

    pub(crate) fn inputs(&self) -> Inputs<'_> {
        Inputs {
            query: &self.query,
            key: &self.key,
            value: &self.value,
            kept: self.kept.as_deref(),
        }
    }

    /// What the weight of a row, head, key and query is multiplied with.
    pub(crate) fn kept_at(&self, [row, head, key, query]: [usize; 4]) -> f32 {
        let Some(kept) = &self.kept else {
            return 1.0;
        };
        let length = self.lengths[row];
        let filled = length.next_multiple_of(16);
        let first = self.heads.num_weights(&self.lengths[..row]);
        kept[first + (head * length + key) * filled + query]
    }

    pub(crate) fn solve(&self, level: Level, num_threads: usize) -> Solved {
        let (heads, threads) = (&self.heads, Some(num_threads));
        let mut weights = vec![f32::NAN; heads.num_weights(&self.lengths)];
        let [mut out, mut query, mut key, mut value] =
            [(); 4].map(|()| vec![f32::NAN; self.query.len()]);
        let pass = Forward {
            inputs: self.inputs(),
            weights: &mut weights,
            out: &mut out,
        };
        attention(pass, &self.lengths, heads, level, threads).unwrap();
        let to = Gradients {
            query: &mut query,
            key: &mut key,
            value: &mut value,
        };
        let pass = Backward {
            inputs: self.inputs(),
            weights: &weights,
            gradient: &self.gradient,
            to,
        };
        attention(pass, &self.lengths, heads, level, threads).unwrap();
        Solved {
            out,
            weights,
            gradients: [query, key, value],
        }
    }
}
