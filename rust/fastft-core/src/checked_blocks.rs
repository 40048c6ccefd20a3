//! Checksums of a mapped array, compared when a block of it is first read.
//!
//! Files live longer than the memory that wrote them: a bit that flipped on the disk would be another
//! token, and nobody would notice. Checking all of a large file before the first batch would read
//! all of it, so each block of 256 KiB is checked once, by the thread that first needs it. A batch of
//! rows in random order reads a block for each row: blocks of 1 MiB took it 4 times as long.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use crc32fast::Hasher;

use crate::error::{Error, Result};

/// The bytes of a block; the last one of an array may be shorter.
pub const BLOCK_BYTES: usize = 1 << 18;

/// The CRC-32 (the one of zlib) of each block of bytes.
#[must_use]
pub fn block_checksums(bytes: &[u8]) -> Vec<u32> {
    bytes.chunks(BLOCK_BYTES).map(crc32fast::hash).collect()
}

/// Integers as they lie in a file: little endian.
pub trait LittleEndian: Copy {
    /// The bytes of one.
    const WIDTH: usize;

    /// Writes the bytes of one to `out`, which is [`Self::WIDTH`] long.
    fn write(self, out: &mut [u8]);
}

macro_rules! little_endian {
    ($($integer:ty),*) => {$(
        impl LittleEndian for $integer {
            const WIDTH: usize = size_of::<$integer>();

            #[inline(always)]
            fn write(self, out: &mut [u8]) {
                out.copy_from_slice(&self.to_le_bytes());
            }
        }
    )*};
}
little_endian!(u16, u32);

/// The CRC-32 of each block of an array, and which blocks have been compared with it.
#[derive(Debug)]
pub struct CheckedBlocks {
    checksums: Box<[u32]>,
    is_checked: Box<[AtomicBool]>,
}

impl CheckedBlocks {
    /// Blocks of which none has been looked at.
    #[must_use]
    pub fn new(checksums: &[u32]) -> Self {
        Self {
            checksums: checksums.into(),
            is_checked: checksums.iter().map(|_| AtomicBool::new(false)).collect(),
        }
    }

    /// Compares the blocks that hold `range` of the array, those not compared before.
    ///
    /// # Errors
    ///
    /// [`Error::DamagedBlock`] for the first block that is not what was written.
    pub fn check<T: LittleEndian>(&self, array: &[T], range: Range<usize>) -> Result<()> {
        let per_block = BLOCK_BYTES / T::WIDTH;
        if range.is_empty() {
            return Ok(());
        }
        for block in range.start / per_block..=(range.end - 1) / per_block {
            let is_checked = self.is_checked.get(block);
            // Two threads may compare the same block at once: that costs time and nothing else.
            if is_checked.is_some_and(|is_checked| is_checked.load(Ordering::Acquire)) {
                continue;
            }
            let start = block * per_block;
            let end = array.len().min(start + per_block);
            let found = checksum(array.get(start..end).unwrap_or_default());
            let (Some(is_checked), Some(&expected)) = (is_checked, self.checksums.get(block))
            else {
                return Err(Error::DamagedBlock { block });
            };
            if found != expected {
                return Err(Error::DamagedBlock { block });
            }
            is_checked.store(true, Ordering::Release);
        }
        Ok(())
    }
}

/// The CRC-32 (the one of zlib) of integers as they lie in a file.
fn checksum<T: LittleEndian>(values: &[T]) -> u32 {
    let mut hasher = Hasher::new();
    let mut bytes = [0; 4096];
    for values in values.chunks(bytes.len() / T::WIDTH) {
        for (out, &value) in bytes.chunks_exact_mut(T::WIDTH).zip(values) {
            value.write(out);
        }
        let filled = bytes.get(..values.len() * T::WIDTH);
        hasher.update(filled.unwrap_or_default());
    }
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two and a half blocks.
    fn array() -> Vec<u16> {
        let pattern = 0..=u16::MAX;
        let values = pattern.cycle().map(|i| i.wrapping_mul(40_503));
        values.take(BLOCK_BYTES / 2 * 5 / 2).collect()
    }

    fn blocks(array: &[u16]) -> CheckedBlocks {
        let checksums: Vec<u32> = array.chunks(BLOCK_BYTES / 2).map(checksum).collect();
        CheckedBlocks::new(&checksums)
    }

    #[test]
    fn the_checksum_is_the_one_of_zlib() {
        // zlib.crc32(b"123456789")
        assert_eq!(
            checksum::<u16>(&[0x3231, 0x3433, 0x3635, 0x3837]),
            0x9AE0_DAAF
        );
        assert_eq!(checksum::<u32>(&[0x3433_3231, 0x3837_3635]), 0x9AE0_DAAF);
        assert_eq!(checksum::<u16>(&[]), 0);
    }

    #[test]
    fn bytes_have_the_checksums_of_their_blocks() {
        let array = array();
        let bytes: Vec<u8> = array.iter().flat_map(|value| value.to_le_bytes()).collect();
        let expected: Vec<u32> = array.chunks(BLOCK_BYTES / 2).map(checksum).collect();
        assert_eq!(block_checksums(&bytes), expected);
        assert!(block_checksums(&[]).is_empty());
    }

    #[test]
    fn a_sound_array_passes() {
        let array = array();
        let blocks = blocks(&array);
        assert_eq!(blocks.check(&array, 0..array.len()), Ok(()));
        assert_eq!(blocks.check(&array, 5..5), Ok(()));
    }

    #[test]
    fn a_flipped_bit_is_found_by_whoever_reads_its_block() {
        let sound = array();
        let per_block = BLOCK_BYTES / 2;
        for position in [0, per_block - 1, per_block, sound.len() - 1] {
            let blocks = blocks(&sound);
            let mut damaged = sound.clone();
            if let Some(value) = damaged.get_mut(position) {
                *value ^= 0x100;
            }
            let block = position / per_block;
            let read = |block: usize| {
                let start = block * per_block;
                blocks.check(&damaged, start..sound.len().min(start + per_block))
            };
            for other in 0..3 {
                let expected = if other == block {
                    Err(Error::DamagedBlock { block })
                } else {
                    Ok(())
                };
                assert_eq!(read(other), expected, "position {position}, block {other}");
            }
        }
    }

    #[test]
    fn a_range_across_blocks_looks_at_each_of_them() {
        let sound = array();
        let per_block = BLOCK_BYTES / 2;
        let mut damaged = sound.clone();
        if let Some(value) = damaged.get_mut(2 * per_block) {
            *value ^= 1;
        }
        let found = blocks(&sound).check(&damaged, per_block - 1..2 * per_block + 1);
        assert_eq!(found, Err(Error::DamagedBlock { block: 2 }));
    }

    #[test]
    fn blocks_without_a_checksum_are_damaged() {
        let array = array();
        let found = CheckedBlocks::new(&[]).check(&array, 0..1);
        assert_eq!(found, Err(Error::DamagedBlock { block: 0 }));
    }
}
