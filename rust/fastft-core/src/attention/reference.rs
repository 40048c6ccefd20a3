//! The same, number by number in float64.

use super::{Heads, Inputs};

/// What [`forward`] and [`backward`] find, as [`super::Forward`] and [`super::Backward`] lay it out.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The outputs.
    pub out: Vec<f64>,
    /// The gradients of queries, keys and values.
    pub gradients: [Vec<f64>; 3],
}

/// Outputs, and the gradients of the inputs for a gradient of the outputs.
///
/// `kept` gives what the weight of a row, head, key and query is multiplied with.
#[must_use]
pub fn attention(
    lengths: &[usize],
    heads: &Heads,
    inputs: Inputs<'_>,
    kept: &dyn Fn([usize; 4]) -> f64,
    gradient: &[f32],
) -> Found {
    let zeros = vec![0.0; inputs.query.len()];
    let mut found = Found {
        out: zeros.clone(),
        gradients: [zeros.clone(), zeros.clone(), zeros],
    };
    let mut start = 0;
    for (row, &length) in lengths.iter().enumerate() {
        for head in 0..heads.count {
            let one = One {
                heads,
                start,
                length,
                head,
            };
            one.add(
                inputs,
                &|key, query| kept([row, head, key, query]),
                gradient,
                &mut found,
            );
        }
        start += length;
    }
    found
}

/// A head of a row.
struct One<'a> {
    heads: &'a Heads,
    start: usize,
    length: usize,
    head: usize,
}

impl One<'_> {
    fn place(&self, token: usize, element: usize) -> usize {
        ((self.start + token) * self.heads.count + self.head) * self.heads.width + element
    }

    fn dot(&self, a: &[f32], of: usize, b: &[f32], with: usize) -> f64 {
        let elements = 0..self.heads.width;
        elements
            .map(|element| {
                f64::from(a[self.place(of, element)]) * f64::from(b[self.place(with, element)])
            })
            .sum()
    }

    /// The weights of a query.
    fn weights(&self, inputs: Inputs<'_>, query: usize) -> Vec<f64> {
        let seen = if self.heads.is_causal {
            query + 1
        } else {
            self.length
        };
        let scaling = f64::from(self.heads.scaling);
        let scores: Vec<f64> = (0..seen)
            .map(|key| self.dot(inputs.query, query, inputs.key, key) * scaling)
            .collect();
        let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = scores.iter().map(|score| (score - max).exp()).sum();
        scores
            .iter()
            .map(|score| (score - max).exp() / sum)
            .collect()
    }

    fn add(
        &self,
        inputs: Inputs<'_>,
        kept: &dyn Fn(usize, usize) -> f64,
        gradient: &[f32],
        found: &mut Found,
    ) {
        let [to_query, to_key, to_value] = &mut found.gradients;
        for query in 0..self.length {
            let weights = self.weights(inputs, query);
            let slopes: Vec<f64> = (0..weights.len())
                .map(|key| self.dot(gradient, query, inputs.value, key) * kept(key, query))
                .collect();
            let mean: f64 = weights.iter().zip(&slopes).map(|(a, b)| a * b).sum();
            for (key, (&weight, slope)) in weights.iter().zip(slopes).enumerate() {
                let used = weight * kept(key, query);
                let slope = weight * (slope - mean) * f64::from(self.heads.scaling);
                for element in 0..self.heads.width {
                    let (of_query, of_key) = (self.place(query, element), self.place(key, element));
                    found.out[of_query] += used * f64::from(inputs.value[of_key]);
                    to_value[of_key] += used * f64::from(gradient[of_query]);
                    to_query[of_query] += slope * f64::from(inputs.key[of_key]);
                    to_key[of_key] += slope * f64::from(inputs.query[of_query]);
                }
            }
        }
    }
}
