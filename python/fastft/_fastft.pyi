"""The Rust core of fastft."""

from typing import final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "TOKENIZERS_VERSION",
    "Batches",
    "EncodedColumn",
    "TokenDataset",
    "Tokenizer",
    "__version__",
    "cut_batches",
    "pack",
    "text_buffers",
]

__version__: str

TOKENIZERS_VERSION: str
"""The version of the `tokenizers` crate that was built in."""

_TextColumn = tuple[NDArray[np.uint8], NDArray[np.int64]]
"""The bytes of all rows, and the offset at which each row begins (one more than rows)."""

def text_buffers(texts: list[str]) -> _TextColumn:
    """Copies strings into one buffer of UTF-8.

    Raises:
        TypeError: One is not a string.
        UnicodeEncodeError: One holds a lone surrogate.
    """

@final
class Tokenizer:
    """A tokenizer loaded from the text of a `tokenizer.json`; it never changes."""

    def __new__(
        cls,
        definition: str,
        *,
        split_special_tokens: bool = False,
        reference_only: bool = False,
        memo_slots: int | None = None,
    ) -> Tokenizer: ...
    @property
    def engine(self) -> str | None:
        """The name of the engine that encodes, or None when the reference does."""
    @property
    def refusal(self) -> str | None:
        """Why no engine encodes, or None when one does."""
    def encode(
        self,
        text: _TextColumn,
        text_pair: _TextColumn | None = None,
        *,
        add_special_tokens: bool = True,
        max_length: int | None = None,
        truncation_side: str = "right",
        truncation_strategy: str = "longest_first",
        stride: int = 0,
        return_overflowing_tokens: bool = False,
        count_truncated_tokens: bool = False,
        return_offsets_mapping: bool = False,
        return_word_ids: bool = False,
        return_special_tokens_mask: bool = False,
        num_threads: int | None = None,
    ) -> EncodedColumn:
        """Encodes every row of a column, with the same row of a second column when there is one."""

@final
class EncodedColumn:
    """A column after encoding: flat ids, row offsets; what nobody asked for is None."""

    @property
    def ids(self) -> NDArray[np.uint32]: ...
    @property
    def row_offsets(self) -> NDArray[np.uint64]: ...
    @property
    def second_segment_starts(self) -> NDArray[np.uint32] | None:
        """Where the ones begin in each row, when its type ids are zeros, then ones."""
    @property
    def flat_type_ids(self) -> NDArray[np.uint8] | None:
        """The type ids of all tokens, when they have any other shape."""
    @property
    def offset_mapping(self) -> NDArray[np.uint32] | None:
        """The characters of its text that each token covers, (N, 2); 0, 0 for special tokens."""
    @property
    def word_ids(self) -> NDArray[np.int32] | None:
        """The word of its text that each token belongs to; -1 for special tokens."""
    @property
    def special_tokens_mask(self) -> NDArray[np.uint8] | None:
        """1 for the tokens that the post-processor added."""
    @property
    def overflow_to_sample_mapping(self) -> NDArray[np.int64] | None:
        """The text that each row comes from."""
    @property
    def num_truncated_rows(self) -> int:
        """How many rows lost tokens to `max_length`."""
    @property
    def num_truncated_tokens(self) -> int | None:
        """How many tokens they lost, where tokens are counted."""
    @property
    def num_truncated_characters(self) -> int | None:
        """How many characters they lost, where characters are counted."""

@final
class TokenDataset:
    """Flat token ids with row offsets. It keeps the arrays alive; nothing is copied."""

    def __new__(
        cls,
        ids: NDArray[np.uint16] | NDArray[np.uint32],
        row_offsets: NDArray[np.uint64],
        *,
        second_segment_starts: NDArray[np.uint32] | None = None,
        flat_type_ids: NDArray[np.uint8] | None = None,
        vocab_size: int | None = None,
        checksums: NDArray[np.uint32] | None = None,
    ) -> TokenDataset: ...
    def __len__(self) -> int: ...
    def check_blocks(self) -> None:
        """Compares ids that lie in a file with their checksums, all of them."""

    def check_row(self, row: int) -> None:
        """Compares the blocks that hold the ids of one row."""

    def longest(self, indices: NDArray[np.int64]) -> int:
        """The length of the longest row among `indices`; zero when there is none."""

    def collate(
        self,
        indices: NDArray[np.int64],
        *,
        pad_token_id: int,
        pad_token_type_id: int | None = None,
        width: int | None = None,
        pad_to_multiple_of: int | None = None,
        padding_side: str = "right",
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64] | None]:
        """Gathers and pads the rows named by `indices`; without `width` to the longest of them."""

def cut_batches(
    order: NDArray[np.int64],
    *,
    num_examples: int,
    batch_size: int,
    drop_last: bool = False,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cuts a permutation of `num_examples` into batches: flat indices and batch offsets."""

@final
class Batches:
    """Batches that were cut by length, before they are shuffled."""

    @staticmethod
    def bucketed(
        order: NDArray[np.int64],
        lengths: NDArray[np.uint32],
        *,
        window: int,
        batch_size: int,
        drop_last: bool = False,
    ) -> Batches:
        """Cuts batches of `batch_size` examples from windows that are sorted by length."""

    @staticmethod
    def within_tokens(
        order: NDArray[np.int64],
        lengths: NDArray[np.uint32],
        *,
        window: int,
        max_tokens: int,
        drop_overlong: bool = False,
    ) -> Batches:
        """Cuts batches of at most `max_tokens` padded tokens from sorted windows."""

    @staticmethod
    def packed(
        order: NDArray[np.int64],
        lengths: NDArray[np.uint32],
        *,
        max_tokens: int,
        drop_overlong: bool = False,
    ) -> Batches:
        """Packs batches of at most `max_tokens` tokens by best-fit decreasing."""

    def __len__(self) -> int: ...
    @property
    def num_movable(self) -> int:
        """How many batches may change places: all but a shorter one that has to stay the last."""
    def arranged(
        self,
        batch_order: NDArray[np.int64],
        *,
        micro_batches_per_step: int = 1,
        pad_tail: bool = False,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_], int, int]:
        """Puts the batches into the order that was drawn.

        Returns:
            Flat indices, batch offsets, which batches are repeated, and the number of tokens
            without and with padding.
        """

def pack(
    lengths: NDArray[np.uint32], max_length: int, *, drop_overlong: bool = False
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Packs lengths into bins of at most `max_length`: flat indices and bin offsets."""
