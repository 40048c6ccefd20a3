//! Room for one row in float32, kept from row to row.

/// Bytes that come into the cache at once, and that a vector of AVX-512 has.
const LINE: usize = 64;

/// How many float32 may lie before the first line begins.
const SPARE: usize = LINE / size_of::<f32>();

/// A row that begins on a cache line: elsewhere each vector of AVX-512, and every other one of AVX2,
/// would lie in two lines and be fetched twice.
#[derive(Debug, Default)]
pub(super) struct Scratch(Vec<f32>);

impl Scratch {
    /// A row of this width; it holds what the last one left.
    pub(super) fn row(&mut self, width: usize) -> &mut [f32] {
        self.0.resize(width + SPARE, 0.0);
        let before = self.0.as_ptr().align_offset(LINE).min(SPARE);
        &mut self.0[before..before + width]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_begin_on_lines_and_have_their_width() {
        let mut scratch = Scratch::default();
        for width in [0, 1, 15, 16, 17, 50_257, 3, 1 << 20] {
            let row = scratch.row(width);
            assert_eq!(row.len(), width);
            assert_eq!(row.as_ptr().addr() % LINE, 0, "a row of {width}");
            row.fill(1.0);
        }
    }
}
