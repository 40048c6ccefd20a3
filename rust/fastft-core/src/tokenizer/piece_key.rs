//! A short piece of text as one number, so that a memo compares it in one step.

/// The longest piece that fits into a key.
pub(super) const SHORT: usize = 15;

/// The key of a piece: its first 15 bytes (the rest zero), and its length above them.
///
/// `bytes` may hold anything beyond the first `len`; `len` is 1 to 15.
#[inline(always)]
pub(super) fn key(bytes: u128, len: usize) -> u128 {
    debug_assert!((1..=SHORT).contains(&len));
    let (kept, length) = KEPT[len % 16];
    (bytes & kept) | length
}

/// By length: the bytes of a key that are kept, and the length above them.
static KEPT: [(u128, u128); 16] = {
    let mut kept = [(0, 0); 16];
    let mut len = 1;
    while len < 16 {
        kept[len] = ((1 << (8 * len)) - 1, (len as u128) << 120);
        len += 1;
    }
    kept
};

/// The key of a piece that is at hand as bytes; `None` for one that is empty or too long.
pub(super) fn key_of(piece: &[u8]) -> Option<u128> {
    let mut bytes = [0; 16];
    bytes.get_mut(..piece.len())?.copy_from_slice(piece);
    (1..=SHORT)
        .contains(&piece.len())
        .then(|| key(u128::from_le_bytes(bytes), piece.len()))
}

/// The bytes of a key.
pub(super) fn bytes_of(key: u128) -> ([u8; 16], usize) {
    (
        (key & ((1 << 120) - 1)).to_le_bytes(),
        (key >> 120) as usize,
    )
}

/// The bytes of a key that was made of text, as text.
pub(super) fn text_of(bytes: &[u8; 16], len: usize) -> &str {
    std::str::from_utf8(bytes.get(..len).unwrap_or_default()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_piece_and_its_length() {
        assert_eq!(
            key(u128::from_le_bytes(*b"abcdefghijklmnop"), 3),
            key_of(b"abc").unwrap()
        );
        let (bytes, len) = bytes_of(key_of(b"a\xFF\0").unwrap());
        assert_eq!(bytes.get(..len), Some(&b"a\xFF\0"[..]));
        let (bytes, len) = bytes_of(key_of(&[0xFF; 15]).unwrap());
        assert_eq!((bytes.get(..len), bytes[15]), (Some(&[0xFF; 15][..]), 0));
    }

    #[test]
    fn zero_bytes_count() {
        assert_ne!(key_of(b"\0"), Some(0));
        assert_ne!(key_of(b"\0"), key_of(b"\0\0"));
        assert_eq!(key_of(b""), None);
        assert_eq!(key_of(&[b'a'; 16]), None);
    }
}
