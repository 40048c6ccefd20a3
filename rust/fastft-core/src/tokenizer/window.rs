//! A text inside the buffer of its column, read 16 bytes at a time.
//!
//! The bytes behind a text belong to the next one; reading them saves the end of every text from
//! being a special case. They are masked away before they mean anything.

/// One row of a column.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window<'a> {
    /// The bytes of the column from the first byte of the row on, to the end of the buffer.
    buffer: &'a [u8],
    text: &'a str,
}

impl<'a> Window<'a> {
    /// `buffer` begins with the bytes of `text`.
    pub(super) fn new(buffer: &'a [u8], text: &'a str) -> Self {
        debug_assert!(buffer.starts_with(text.as_bytes()));
        Self { buffer, text }
    }

    /// A text that stands alone.
    pub(super) fn alone(text: &'a str) -> Self {
        Self {
            buffer: text.as_bytes(),
            text,
        }
    }

    /// The text up to the byte `end`.
    pub(super) fn until(&self, end: usize) -> Self {
        Self {
            buffer: self.buffer,
            text: self.str(0, end),
        }
    }

    pub(super) fn text(&self) -> &'a str {
        self.text
    }

    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    /// The bytes `start..end` of the text as text; empty where they do not form one.
    pub(super) fn str(&self, start: usize, end: usize) -> &'a str {
        self.text.get(start..end).unwrap_or_default()
    }

    /// One byte of the text; zero behind its end.
    #[inline(always)]
    pub(super) fn byte(&self, at: usize) -> u8 {
        self.text.as_bytes().get(at).copied().unwrap_or(0)
    }

    /// The character that begins at `at`, and how many bytes it has; `None` at the end.
    #[inline(always)]
    pub(super) fn char(&self, at: usize) -> Option<(char, usize)> {
        let byte = *self.text.as_bytes().get(at)?;
        if byte < 0x80 {
            return Some((char::from(byte), 1));
        }
        let character = self.text.get(at..)?.chars().next()?;
        Some((character, character.len_utf8()))
    }

    /// The character that ends at `at`; `None` at the beginning.
    pub(super) fn char_before(&self, at: usize) -> Option<char> {
        self.text.get(..at)?.chars().next_back()
    }

    /// The 16 bytes at `at`, the first one lowest; what lies behind the text may be anything.
    #[inline(always)]
    pub(super) fn load(&self, at: usize) -> [u8; 16] {
        match self.buffer.get(at..at + 16).map(TryInto::try_into) {
            Some(Ok(bytes)) => bytes,
            _ => self.load_end(at),
        }
    }

    #[cold]
    fn load_end(&self, at: usize) -> [u8; 16] {
        let mut bytes = [0; 16];
        let rest = self.buffer.get(at..).unwrap_or_default();
        for (target, &byte) in bytes.iter_mut().zip(rest) {
            *target = byte;
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_reach_into_the_next_row_but_not_out_of_the_buffer() {
        let buffer = b"abc0123456789ABCDEF";
        let window = Window::new(buffer, "abc");
        assert_eq!(&window.load(0), b"abc0123456789ABC");
        assert_eq!(&window.load(4), b"123456789ABCDEF\0");
        assert_eq!(window.load(40), [0; 16]);
        assert_eq!(window.byte(2), b'c');
        assert_eq!(window.byte(3), 0);
        assert_eq!(window.until(1).len(), 1);
        assert_eq!(window.until(1).load(0), window.load(0));
    }

    #[test]
    fn characters_are_read_in_both_directions() {
        let window = Window::alone("aé");
        assert_eq!(window.char(0), Some(('a', 1)));
        assert_eq!(window.char(1), Some(('é', 2)));
        assert_eq!(window.char(3), None);
        assert_eq!(window.char_before(3), Some('é'));
        assert_eq!(window.char_before(0), None);
    }
}
