//! Masked language models: some tokens are replaced, and their labels are what stood there.
//!
//! The rule is that of Devlin et al. (2018) as transformers has it; what happens to a token is a pure
//! function of (seed, epoch, row, position in the row), so padding and company do not matter.

use crate::error::Result;
use crate::token_dataset::Ids;

use super::counter_random::{Share, below, mix, row_key};
use super::padding::{Frame, values};
use super::{IGNORE_INDEX, Place};

/// How many tokens are drawn for at once: one bit each.
const LANE: usize = 64;

/// Which tokens are masked, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Masking {
    /// The seed of the masks.
    pub seed: u64,
    /// The epoch; each has masks of its own.
    pub epoch: u64,
    /// The share of tokens that are predicted.
    pub probability: f64,
    /// The share of those that the mask token replaces.
    pub mask_replace_prob: f64,
    /// The share of those that a random token replaces.
    pub random_replace_prob: f64,
    /// The mask token.
    pub mask_token_id: i64,
    /// A random token is below this.
    pub vocab_size: u32,
    /// Tokens that are never predicted.
    pub special_ids: Vec<i64>,
}

impl Masking {
    /// The matrices of ids and of labels; each row draws by its number in `numbers`.
    pub(super) fn matrices(
        &self,
        frame: &Frame,
        ids: Ids<'_>,
        places: &[Place],
        numbers: &[i64],
        pad: i64,
    ) -> Result<(Vec<i64>, Vec<i64>)> {
        match ids {
            Ids::U16(ids) => self.of_source(frame, ids, places, numbers, pad),
            Ids::U32(ids) => self.of_source(frame, ids, places, numbers, pad),
        }
    }

    fn of_source<T: Copy + Into<i64>>(
        &self,
        frame: &Frame,
        source: &[T],
        places: &[Place],
        numbers: &[i64],
        pad: i64,
    ) -> Result<(Vec<i64>, Vec<i64>)> {
        let (mut ids, mut labels) = (frame.allocate()?, frame.allocate()?);
        let rule = Rule::new(self);
        for (place, &number) in places.iter().zip(numbers) {
            let tokens = values(source, &place.ids);
            let widened = tokens.iter().map(|&id| id.into());
            let columns = frame.push(&mut ids, tokens.len(), widened, pad);
            labels.resize(ids.len(), IGNORE_INDEX);
            let key = row_key(self.seed, self.epoch, number);
            // The few that are masked are changed while the row is still in the first cache.
            let row = ids.get_mut(columns.clone()).unwrap_or_default();
            let row_labels = labels.get_mut(columns).unwrap_or_default();
            self.mask(&rule, key, row, row_labels);
        }
        Ok((ids, labels))
    }

    /// Which tokens are chosen is settled for a lane of them at a time, without a branch that nobody
    /// could foretell; only the chosen ones are then looked at.
    fn mask(&self, rule: &Rule, key: u64, ids: &mut [i64], labels: &mut [i64]) {
        let lanes = ids.chunks_mut(LANE).zip(labels.chunks_mut(LANE));
        for ((ids, labels), first) in lanes.zip((0_u64..).step_by(LANE)) {
            let mut chosen = chosen(rule.predicted, key, first, ids.len());
            while chosen != 0 {
                let slot = chosen.trailing_zeros();
                chosen &= chosen - 1;
                if let (Some(id), Some(label)) =
                    (ids.get_mut(slot as usize), labels.get_mut(slot as usize))
                    && rule.special_ids.binary_search(id).is_err()
                {
                    let bits = mix(key ^ (first + u64::from(slot)));
                    *label = *id;
                    *id = self.replacement(rule, mix(bits), *id);
                }
            }
        }
    }

    fn replacement(&self, rule: &Rule, bits: u64, id: i64) -> i64 {
        if rule.masked.contains(bits) {
            self.mask_token_id
        } else if rule.replaced.contains(bits) {
            below(mix(bits), self.vocab_size)
        } else {
            id
        }
    }
}

/// The positions from `first` on, `number` of them, whose bits lie in the share: one bit each.
///
/// Shifted in one by one, so that the compiler leaves it to the scalar multiplier: without wide
/// registers for products of 64 bits, two at a time take twice as long.
fn chosen(share: Share, key: u64, first: u64, number: usize) -> u64 {
    let mut chosen = 0;
    for position in (first..).take(number) {
        let is_chosen = share.contains(mix(key ^ position));
        chosen = (chosen >> 1) | (u64::from(is_chosen) << 63);
    }
    chosen >> LANE.saturating_sub(number).min(LANE - 1)
}

/// What a batch asks for again and again.
struct Rule {
    /// In order, because some tokenizers have hundreds.
    special_ids: Vec<i64>,
    predicted: Share,
    masked: Share,
    /// Masked, or replaced by a random token.
    replaced: Share,
}

impl Rule {
    fn new(masking: &Masking) -> Self {
        let mut special_ids = masking.special_ids.clone();
        special_ids.sort_unstable();
        Self {
            special_ids,
            predicted: Share::new(masking.probability),
            masked: Share::new(masking.mask_replace_prob),
            replaced: Share::new(masking.mask_replace_prob + masking.random_replace_prob),
        }
    }
}
