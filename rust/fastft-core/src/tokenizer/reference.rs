//! Encoding with the `tokenizers` crate: what every faster route is compared with, and where pieces
//! go that an engine does not know.

use tokenizers::{
    Encoding, NormalizedString, Normalizer as _, OffsetType, PreTokenizedString, PreTokenizer as _,
    Token,
};

use super::post_processor::Blanks;
use super::scratch::{Pieces, Whole};
use super::tokens::{Piece, Span};

/// The tokens of a text. With `with_spans` the spans, the words, and for each token how many white
/// space characters it begins and ends with (`blanks`) are found too.
///
/// # Errors
///
/// What the crate says about a text that it does not take.
pub(super) fn encode(
    tokenizer: &tokenizers::Tokenizer,
    text: &str,
    with_spans: bool,
    piece: &mut Piece,
    blanks: &mut Vec<Blanks>,
) -> tokenizers::Result<()> {
    blanks.clear();
    if with_spans {
        let encoding = tokenizer.encode(text, false)?;
        take(&encoding, piece);
        blanks.extend(encoding.get_tokens().iter().map(|token| Blanks::of(token)));
    } else {
        let encoding = tokenizer.encode_fast(text, false)?;
        piece.ids.extend_from_slice(encoding.get_ids());
    }
    Ok(())
}

/// The tokens of a piece; a piece that the crate refuses is left to the whole text.
pub(super) fn tokenize(tokenizer: &tokenizers::Tokenizer, text: &str, piece: &mut Piece) -> Pieces {
    take(&tokenizer.encode(text, false).map_err(|_| Whole)?, piece);
    Ok(())
}

/// A text after the normalizer of the crate.
pub(super) fn normalize(
    tokenizer: &tokenizers::Tokenizer,
    text: &str,
) -> std::result::Result<NormalizedString, Whole> {
    let mut normalized = NormalizedString::from(text);
    if let Some(normalizer) = tokenizer.get_normalizer() {
        normalizer.normalize(&mut normalized).map_err(|_| Whole)?;
    }
    Ok(normalized)
}

/// The tokens of a normalised piece, with the pre-tokenizer of the crate and another model, which gives
/// the ids of a word and the bytes of the word that each one covers.
pub(super) fn tokenize_with(
    tokenizer: &tokenizers::Tokenizer,
    normalized: NormalizedString,
    piece: &mut Piece,
    model: impl Fn(&str) -> Vec<(u32, Span)>,
) -> Pieces {
    let mut words = PreTokenizedString::from(normalized);
    if let Some(pre_tokenizer) = tokenizer.get_pre_tokenizer() {
        pre_tokenizer.pre_tokenize(&mut words).map_err(|_| Whole)?;
    }
    let token = |(id, span): (u32, Span)| {
        Token::new(id, String::new(), (span.start as usize, span.end as usize))
    };
    words
        .tokenize(|word| Ok(model(word.get()).into_iter().map(token).collect()))
        .map_err(|_| Whole)?;
    let encoding = words.into_encoding(None, 0, OffsetType::Byte);
    take(&encoding.map_err(|_| Whole)?, piece);
    Ok(())
}

fn take(encoding: &Encoding, piece: &mut Piece) {
    piece.ids.extend_from_slice(encoding.get_ids());
    let spans = encoding.get_offsets().iter();
    piece
        .spans
        .extend(spans.map(|&(start, end)| Span::new(start, end)));
    let words = encoding.get_word_ids().iter();
    piece.words.extend(words.map(|word| word.unwrap_or(0)));
    piece.num_words = piece.words.iter().max().map_or(0, |&last| last + 1);
}
