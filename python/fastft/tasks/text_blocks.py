"""Documents to blocks: rows of at most `max_length` tokens, with the marks of a tokenizer.

Blocks are counted out over flat token ids, so a text of any size is a few array operations.

Invariant: the blocks, one after the other, are the documents; no token is lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastft.data.token_dataset import TokenDataset
from fastft.tasks.document_tokens import DocumentTokens

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastft.data.tokenizer import Tokenizer


@dataclass(frozen=True)
class Marks:
    """What a tokenizer puts around a text.

    Attributes:
        before: The ids in front: `<s>` of Llama, `[CLS]` of BERT, nothing for GPT-2.
        after: The ids behind: `[SEP]` of BERT, mostly nothing for decoders.
    """

    before: NDArray[np.int64]
    after: NDArray[np.int64]

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> Marks:
        """Reads them off a text with and without."""
        framed = tokenizer.encode(["a"]).row(0).astype(np.int64)
        bare = tokenizer.encode(["a"], add_special_tokens=False).row(0).astype(np.int64)
        for start in range(len(framed) - len(bare) + 1):
            end = start + len(bare)
            if np.array_equal(framed[start:end], bare):
                return cls(framed[:start], framed[end:])
        return cls(framed[:0], framed[:0])

    def ending(self, eos_token_id: int | None) -> Marks:
        """Gives the marks of a whole document, which ends with the end-of-text token."""
        if eos_token_id is None or eos_token_id in self.after:
            return self
        return Marks(self.before, np.append(self.after, eos_token_id))

    def __len__(self) -> int:
        return len(self.before) + len(self.after)


def block_offsets(lengths: NDArray[np.int64], size: int, *, shortest: int = 1) -> NDArray[np.int64]:
    """Cuts runs of tokens into blocks of `size`; the last block of a run is shorter.

    Args:
        lengths: int64 (runs,): the tokens of each run, none of them 0.
        size: The greatest length of a block, more than `shortest`.
        shortest: 2 where a block of one token would hold nothing to predict: then the block before
            it gives one away.

    Returns:
        int64 (blocks + 1,).

    Example:
        >>> block_offsets(np.array([7, 2]), 3).tolist()
        [0, 3, 6, 7, 9]
        >>> block_offsets(np.array([7, 2]), 3, shortest=2).tolist()
        [0, 3, 5, 7, 9]
    """
    counts = -(-lengths // size)
    ends = np.cumsum(counts)
    run_starts = np.cumsum(lengths) - lengths
    within = np.arange(ends[-1]) - np.repeat(ends - counts, counts)
    starts = np.repeat(run_starts, counts) + within * size
    lone = (shortest > 1) & (counts > 1) & (lengths % size == 1)
    starts[ends[lone] - 1] -= 1
    return np.append(starts, lengths.sum())


def causal_blocks(
    documents: DocumentTokens, marks: Marks, max_length: int, *, join: bool
) -> DocumentTokens:
    """Makes blocks of documents, each framed by its marks.

    Args:
        documents: None of them empty.
        marks: What stands around a document.
        max_length: The greatest length of a block.
        join: Whether a block may hold several documents.
    """
    framed = documents.framed(marks.before, marks.after)
    runs = np.array([len(framed.ids)]) if join else framed.lengths
    return DocumentTokens(framed.ids, block_offsets(runs, max_length, shortest=2))


def masked_blocks(
    documents: DocumentTokens, marks: Marks, max_length: int, *, join: bool
) -> DocumentTokens:
    """Makes blocks of documents; the marks stand around every block.

    Args:
        documents: None of them empty.
        marks: What stands around a block. The last of them also parts joined documents.
        max_length: The greatest length of a block, marks included.
        join: Whether a block may hold several documents.
    """
    runs = documents.lengths
    if join and len(runs) > 1:
        parted = documents.framed(marks.before[:0], marks.after[-1:])
        kept = len(parted.ids) - len(marks.after[-1:])
        documents = DocumentTokens(parted.ids[:kept], np.minimum(parted.offsets, kept))
    runs = np.array([len(documents.ids)]) if join else runs
    offsets = block_offsets(runs, max_length - len(marks))
    return DocumentTokens(documents.ids, offsets).framed(marks.before, marks.after)


def block_dataset(blocks: DocumentTokens, vocab_size: int) -> TokenDataset:
    """Gives blocks as a dataset; a language model needs neither labels nor type ids.

    Args:
        blocks: The blocks.
        vocab_size: The number of tokens, added ones included.
    """
    return TokenDataset(
        blocks.ids,
        blocks.offsets.astype(np.uint64),
        model_inputs=("input_ids", "attention_mask"),
        vocab_size=max(vocab_size, _highest(blocks.ids) + 1),
    )


def _highest(ids: NDArray[Any]) -> int:
    return int(ids.max(initial=0))
