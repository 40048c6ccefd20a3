//! Token type ids in the smallest form that holds them.
//!
//! Most columns are single texts (all zeros) or pairs in BERT's shape (zeros, then ones); for
//! these nothing, or one number a row, is kept instead of one a token. Anything else (`XLNet` puts a
//! 2 on `<cls>`) is kept in full.
//!
//! Invariant: the form never depends on how the rows were grouped while encoding.

use crate::error::{Error, Result};

/// The token type ids of a column of rows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum TypeIds {
    /// All are zero.
    #[default]
    Zero,
    /// Each row is zeros, then ones; here is where the ones begin (the row's length when none).
    Starts(Vec<u32>),
    /// One value for each token of the flat ids.
    Flat(Vec<u8>),
}

/// [`TypeIds`] that lie elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TypeIdsView<'a> {
    /// See [`TypeIds::Zero`].
    Zero,
    /// See [`TypeIds::Starts`].
    Starts(&'a [u32]),
    /// See [`TypeIds::Flat`].
    Flat(&'a [u8]),
}

impl TypeIds {
    /// The same type ids, borrowed.
    #[must_use]
    pub fn view(&self) -> TypeIdsView<'_> {
        match self {
            Self::Zero => TypeIdsView::Zero,
            Self::Starts(starts) => TypeIdsView::Starts(starts),
            Self::Flat(flat) => TypeIdsView::Flat(flat),
        }
    }
}

/// Collects the type ids of row after row.
#[derive(Debug, Default)]
pub(super) struct Builder {
    lengths: Vec<u32>,
    starts: Vec<u32>,
    /// Filled from the first row on that is not zeros, then ones.
    flat: Option<Vec<u8>>,
    /// The row at hand: a type id, and how often it follows.
    runs: Vec<(u8, usize)>,
}

impl Builder {
    pub(super) fn begin_row(&mut self) {
        self.runs.clear();
    }

    /// Adds `count` tokens of one type to the row at hand.
    pub(super) fn push(&mut self, row: usize, type_id: u32, count: usize) -> Result<()> {
        let small = u8::try_from(type_id).map_err(|_| Error::TypeIdTooLarge { row, type_id })?;
        if count > 0 {
            self.runs.push((small, count));
        }
        Ok(())
    }

    pub(super) fn end_row(&mut self) {
        let start = second_segment_start(&self.runs);
        if start.is_none() || self.flat.is_some() {
            let (lengths, starts) = (&self.lengths, &self.starts);
            let flat = self.flat.get_or_insert_with(|| expand(lengths, starts));
            for &(type_id, count) in &self.runs {
                flat.resize(flat.len() + count, type_id);
            }
        }
        let length = self.runs.iter().map(|(_, count)| count).sum::<usize>();
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        self.lengths.push(length);
        self.starts.push(start.unwrap_or(length));
    }

    /// The smallest form of all that the builders hold, in their order.
    pub(super) fn finish(builders: Vec<Self>) -> TypeIds {
        if builders.iter().any(|builder| builder.flat.is_some()) {
            let parts = builders.into_iter();
            return TypeIds::Flat(parts.flat_map(Self::into_flat).collect());
        }
        if builders
            .iter()
            .all(|builder| builder.starts == builder.lengths)
        {
            return TypeIds::Zero;
        }
        TypeIds::Starts(builders.into_iter().flat_map(|part| part.starts).collect())
    }

    fn into_flat(self) -> Vec<u8> {
        self.flat
            .unwrap_or_else(|| expand(&self.lengths, &self.starts))
    }
}

/// Where the ones begin, if the row is zeros, then ones.
fn second_segment_start(runs: &[(u8, usize)]) -> Option<u32> {
    let zeros = runs.iter().take_while(|(type_id, _)| *type_id == 0);
    let ones = runs.iter().skip_while(|(type_id, _)| *type_id == 0);
    let is_plain = ones.copied().all(|(type_id, _)| type_id == 1);
    let start = zeros.map(|(_, count)| count).sum::<usize>();
    is_plain.then(|| u32::try_from(start).ok()).flatten()
}

fn expand(lengths: &[u32], starts: &[u32]) -> Vec<u8> {
    let mut flat = Vec::new();
    for (&length, &start) in lengths.iter().zip(starts) {
        flat.extend((0..length).map(|position| u8::from(position >= start)));
    }
    flat
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(parts: &[&[&[u32]]]) -> Result<TypeIds> {
        let mut builders = Vec::new();
        for rows in parts {
            let mut builder = Builder::default();
            for (row, type_ids) in rows.iter().enumerate() {
                builder.begin_row();
                for &type_id in *type_ids {
                    builder.push(row, type_id, 1)?;
                }
                builder.end_row();
            }
            builders.push(builder);
        }
        Ok(Builder::finish(builders))
    }

    #[test]
    fn the_smallest_form_is_kept() {
        assert_eq!(built(&[]), Ok(TypeIds::Zero));
        assert_eq!(built(&[&[&[0, 0], &[]], &[&[0]]]), Ok(TypeIds::Zero));
        assert_eq!(
            built(&[&[&[0, 0, 1], &[]], &[&[0], &[1]]]),
            Ok(TypeIds::Starts(vec![2, 0, 1, 0]))
        );
    }

    #[test]
    fn any_other_shape_is_kept_in_full() {
        let flat = Ok(TypeIds::Flat(vec![0, 1, 0, 1, 0, 1]));
        assert_eq!(built(&[&[&[0, 1], &[0], &[1, 0, 1]]]), flat);
        assert_eq!(built(&[&[&[0, 1], &[0]], &[&[1, 0, 1]]]), flat);
        assert_eq!(built(&[&[&[2], &[0, 1]]]), Ok(TypeIds::Flat(vec![2, 0, 1])));
    }

    #[test]
    fn a_type_id_beyond_8_bits_is_refused() {
        let error = Error::TypeIdTooLarge {
            row: 0,
            type_id: 256,
        };
        assert_eq!(built(&[&[&[256]]]), Err(error));
    }
}
