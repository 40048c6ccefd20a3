//! The arrays of both passes, and how they are cut into rows and heads.

use super::Heads;
use super::head::{Head, Scratch};
use crate::error::{Result, expect_length};
use crate::simd::Lanes;

/// What is read: the tokens of all rows, end to end, `tokens * count * width` elements each.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// The queries.
    pub query: &'a [f32],
    /// The keys.
    pub key: &'a [f32],
    /// The values.
    pub value: &'a [f32],
    /// What each weight is multiplied with before it is used, for dropout: as many as weights.
    pub kept: Option<&'a [f32]>,
}

/// Where the gradients go, each like the input of its name.
#[derive(Debug)]
pub struct Gradients<'a> {
    /// Of the queries.
    pub query: &'a mut [f32],
    /// Of the keys.
    pub key: &'a mut [f32],
    /// Of the values.
    pub value: &'a mut [f32],
}

/// The outputs of attention, like the queries; and its weights, which the gradients ask for.
#[derive(Debug)]
pub struct Forward<'a> {
    /// What is read.
    pub inputs: Inputs<'a>,
    /// As many as [`Heads::num_weights`] says; by row, head, key and query.
    pub weights: &'a mut [f32],
    /// Where the outputs go.
    pub out: &'a mut [f32],
}

/// The gradients of attention.
#[derive(Debug)]
pub struct Backward<'a> {
    /// What was read.
    pub inputs: Inputs<'a>,
    /// What [`Forward`] wrote.
    pub weights: &'a [f32],
    /// Of the outputs.
    pub gradient: &'a [f32],
    /// Where those of the inputs go.
    pub to: Gradients<'a>,
}

/// The arrays of one pass over some rows.
pub(super) trait Pass: Send + Sized {
    /// Looks whether all are as long as the rows ask for.
    fn check(&self, num_elements: usize, num_weights: usize) -> Result<()>;

    /// Cuts behind the first rows, which have `lengths` tokens.
    fn split(self, lengths: &[usize], heads: &Heads) -> (Self, Self);

    /// Does one head of the only row that is left.
    fn head<L: Lanes>(&mut self, index: usize, head: Head<'_, L>, scratch: &mut Scratch);
}

impl Inputs<'_> {
    fn check(self, num_elements: usize, num_weights: usize) -> Result<()> {
        expect_length("query", self.query.len(), num_elements)?;
        expect_length("key", self.key.len(), num_elements)?;
        expect_length("value", self.value.len(), num_elements)?;
        self.kept.map_or(Ok(()), |kept| {
            expect_length("kept", kept.len(), num_weights)
        })
    }

    #[inline(always)]
    fn split(self, [elements, weights]: [usize; 2]) -> (Self, Self) {
        let (query, queries) = before(self.query, elements);
        let (key, keys) = before(self.key, elements);
        let (value, values) = before(self.value, elements);
        let (kept, others) = self.kept.map(|kept| before(kept, weights)).unzip();
        let first = Self {
            query,
            key,
            value,
            kept,
        };
        (
            first,
            Self {
                query: queries,
                key: keys,
                value: values,
                kept: others,
            },
        )
    }

    /// Of one head of the only row.
    #[inline(always)]
    fn of_head(self, [element, weight]: [usize; 2], num_weights: usize) -> Self {
        Self {
            query: behind(self.query, element),
            key: behind(self.key, element),
            value: behind(self.value, element),
            kept: self
                .kept
                .map(|kept| before(behind(kept, weight), num_weights).0),
        }
    }
}

impl Gradients<'_> {
    #[inline(always)]
    fn split(self, elements: usize) -> (Self, Self) {
        let (query, queries) = before_mut(self.query, elements);
        let (key, keys) = before_mut(self.key, elements);
        let (value, values) = before_mut(self.value, elements);
        let first = Self { query, key, value };
        (
            first,
            Self {
                query: queries,
                key: keys,
                value: values,
            },
        )
    }

    #[inline(always)]
    fn of_head(&mut self, element: usize) -> Gradients<'_> {
        Gradients {
            query: behind_mut(self.query, element),
            key: behind_mut(self.key, element),
            value: behind_mut(self.value, element),
        }
    }
}

impl Pass for Forward<'_> {
    fn check(&self, num_elements: usize, num_weights: usize) -> Result<()> {
        self.inputs.check(num_elements, num_weights)?;
        expect_length("weights", self.weights.len(), num_weights)?;
        expect_length("out", self.out.len(), num_elements)
    }

    #[inline(always)]
    fn split(self, lengths: &[usize], heads: &Heads) -> (Self, Self) {
        let [elements, num_weights] = heads.sizes(lengths);
        let (inputs, other_inputs) = self.inputs.split([elements, num_weights]);
        let (weights, other_weights) = before_mut(self.weights, num_weights);
        let (out, other_out) = before_mut(self.out, elements);
        let first = Self {
            inputs,
            weights,
            out,
        };
        (
            first,
            Self {
                inputs: other_inputs,
                weights: other_weights,
                out: other_out,
            },
        )
    }

    #[inline(always)]
    fn head<L: Lanes>(&mut self, index: usize, head: Head<'_, L>, scratch: &mut Scratch) {
        let num_weights = head.size.num_weights();
        let [element, weight] = [index * head.heads.width, index * num_weights];
        let inputs = self.inputs.of_head([element, weight], num_weights);
        let weights = before_mut(behind_mut(self.weights, weight), num_weights).0;
        head.forward(inputs, scratch, weights, behind_mut(self.out, element));
    }
}

impl Pass for Backward<'_> {
    fn check(&self, num_elements: usize, num_weights: usize) -> Result<()> {
        self.inputs.check(num_elements, num_weights)?;
        expect_length("weights", self.weights.len(), num_weights)?;
        expect_length("gradient", self.gradient.len(), num_elements)?;
        expect_length("to query", self.to.query.len(), num_elements)?;
        expect_length("to key", self.to.key.len(), num_elements)?;
        expect_length("to value", self.to.value.len(), num_elements)
    }

    #[inline(always)]
    fn split(self, lengths: &[usize], heads: &Heads) -> (Self, Self) {
        let [elements, num_weights] = heads.sizes(lengths);
        let (inputs, other_inputs) = self.inputs.split([elements, num_weights]);
        let (weights, other_weights) = before(self.weights, num_weights);
        let (gradient, other_gradient) = before(self.gradient, elements);
        let (to, other_to) = self.to.split(elements);
        let first = Self {
            inputs,
            weights,
            gradient,
            to,
        };
        let others = Self {
            inputs: other_inputs,
            weights: other_weights,
            gradient: other_gradient,
            to: other_to,
        };
        (first, others)
    }

    #[inline(always)]
    fn head<L: Lanes>(&mut self, index: usize, head: Head<'_, L>, scratch: &mut Scratch) {
        let num_weights = head.size.num_weights();
        let [element, weight] = [index * head.heads.width, index * num_weights];
        let inputs = self.inputs.of_head([element, weight], num_weights);
        let weights = before(behind(self.weights, weight), num_weights).0;
        let gradient = behind(self.gradient, element);
        head.backward(inputs, scratch, weights, gradient, self.to.of_head(element));
    }
}

/// The first elements, and those behind them.
#[inline(always)]
fn before(values: &[f32], count: usize) -> (&[f32], &[f32]) {
    values.split_at_checked(count).unwrap_or((values, &[]))
}

#[inline(always)]
fn before_mut(values: &mut [f32], count: usize) -> (&mut [f32], &mut [f32]) {
    values.split_at_mut(count.min(values.len()))
}

#[inline(always)]
fn behind(values: &[f32], count: usize) -> &[f32] {
    before(values, count).1
}

#[inline(always)]
fn behind_mut(values: &mut [f32], count: usize) -> &mut [f32] {
    before_mut(values, count).1
}
