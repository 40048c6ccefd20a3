//! Which engine encodes a tokenizer's texts, if one of ours gives what the reference gives.
//!
//! A definition is taken only when every part of it is one that the engines know; whatever else it
//! holds is a reason to leave all texts to the reference, and `explain()` passes the reason on.

use serde_json::Value;
use tokenizers::Tokenizer;

use super::added_tokens::AddedTokens;
use super::bert::Bert;
use super::bpe_definition;
use super::byte_level::ByteLevel;
use super::definition::Reason;
use super::metaspace::Metaspace;
use super::metaspace_definition;
use super::scratch::{Reached, Scratch, Whole};
use super::sentence_piece::SentencePiece;
use super::tokens::{Reach, Span};
use super::vocabulary;
use super::window::Window;

/// One of our engines, and what it must not meet.
#[derive(Debug)]
pub(super) struct Engine {
    kind: Kind,
    added_tokens: AddedTokens,
    /// Texts must already be in Unicode normal form C.
    needs_nfc: bool,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one for each tokenizer")]
enum Kind {
    Bert(Bert),
    ByteLevel(ByteLevel),
    SentencePiece(SentencePiece),
    Metaspace(Metaspace),
}

impl Engine {
    /// The engine for a definition.
    ///
    /// # Errors
    ///
    /// The first part of the definition that none of the engines knows.
    pub(super) fn new(definition: &Value, tokenizer: &Tokenizer) -> Result<Self, Reason> {
        let kind = match definition["model"]["type"].as_str() {
            Some("WordPiece") => Kind::Bert(Bert::of(definition)?),
            Some("BPE") if definition["model"]["byte_fallback"] == true => {
                Kind::SentencePiece(bpe_definition::sentence_piece(definition)?)
            }
            Some("BPE") => Kind::ByteLevel(bpe_definition::byte_level(definition)?),
            Some("Unigram") => {
                Kind::Metaspace(metaspace_definition::metaspace(definition, tokenizer)?)
            }
            other => return Err(format!("the model is {}", other.unwrap_or("unknown"))),
        };
        let may_cut = matches!(kind, Kind::Metaspace(_));
        let is_byte_level = matches!(kind, Kind::ByteLevel(_));
        Ok(Self {
            kind,
            added_tokens: AddedTokens::new(definition, tokenizer, may_cut)?,
            needs_nfc: is_byte_level && definition["normalizer"]["type"] == "NFC",
        })
    }

    /// The name of the engine, as `explain()` gives it.
    pub(super) fn name(&self) -> &'static str {
        match self.kind {
            Kind::Bert(_) => "BERT WordPiece",
            Kind::ByteLevel(_) => "byte-level BPE",
            Kind::SentencePiece(_) => "SentencePiece BPE",
            Kind::Metaspace(_) => "Unigram",
        }
    }

    /// How many words a piece of text usually has.
    pub(super) fn words_per_piece(&self) -> u32 {
        u32::from(!matches!(self.kind, Kind::SentencePiece(_)))
    }

    /// Encodes a text into `scratch.tokens` as far as `reach` asks; true at the end of the text.
    ///
    /// What the engine stops before changes nothing in what it has: pieces depend on nothing
    /// outside them, and where the whole text matters, [`Self::must_be_whole`] looks at all of it.
    pub(super) fn encode<const SPANS: bool>(
        &self,
        crate_tokenizer: &Tokenizer,
        text: &Window<'_>,
        reach: Reach,
        scratch: &mut Scratch,
    ) -> Result<bool, Whole> {
        scratch.begin_text(reach, SPANS);
        if self.must_be_whole(text) {
            return Err(Whole);
        }
        if let Kind::ByteLevel(engine) = &self.kind
            && let Some(prefixed) = engine.prefixed(text)
        {
            let prefixed = Window::alone(&prefixed);
            let is_complete = self.pieces::<SPANS>(crate_tokenizer, &prefixed, scratch)?;
            ByteLevel::remove_prefix(text, &mut scratch.tokens);
            return Ok(is_complete);
        }
        self.pieces::<SPANS>(crate_tokenizer, text, scratch)
    }

    /// Adds the pieces of a text, the last ones with spans where these are looked at.
    fn pieces<const SPANS: bool>(
        &self,
        crate_tokenizer: &Tokenizer,
        text: &Window<'_>,
        scratch: &mut Scratch,
    ) -> Result<bool, Whole> {
        let mut at = self.pieces_from::<SPANS>(crate_tokenizer, text, 0, scratch)?;
        if !SPANS && at < text.len() {
            scratch.begin_spans();
            at = self.pieces_from::<true>(crate_tokenizer, text, at, scratch)?;
        }
        Ok(at >= text.len())
    }

    fn pieces_from<const SPANS: bool>(
        &self,
        crate_tokenizer: &Tokenizer,
        text: &Window<'_>,
        at: usize,
        scratch: &mut Scratch,
    ) -> Reached {
        match &self.kind {
            Kind::Bert(engine) => engine.encode::<SPANS>(crate_tokenizer, text, at, scratch),
            Kind::ByteLevel(engine) => engine.encode::<SPANS>(text, at, scratch),
            Kind::SentencePiece(engine) => engine.encode::<SPANS>(text, at, scratch),
            Kind::Metaspace(engine) => {
                self.between_added::<SPANS>(engine, crate_tokenizer, text, at, scratch)
            }
        }
    }

    fn must_be_whole(&self, text: &Window<'_>) -> bool {
        self.added_tokens.forbid(text.text())
            || (self.needs_nfc && !vocabulary::is_nfc(text.text()))
    }

    /// Encodes what lies between added tokens from `at` on, each part as a text of its own, until
    /// there are enough.
    fn between_added<const SPANS: bool>(
        &self,
        engine: &Metaspace,
        crate_tokenizer: &Tokenizer,
        text: &Window<'_>,
        mut at: usize,
        scratch: &mut Scratch,
    ) -> Reached {
        while let Some(found) = self.added_tokens.next(text.text(), at) {
            let part = text.until(found.start);
            at = engine.encode::<SPANS>(crate_tokenizer, &part, at, scratch)?;
            if scratch.tokens.is_full() {
                return Ok(at);
            }
            scratch.add_token::<SPANS>(found.id, Span::new(found.start, found.end));
            at = found.end;
        }
        engine.encode::<SPANS>(crate_tokenizer, text, at, scratch)
    }
}
