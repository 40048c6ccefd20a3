"""The Rust core of fastft."""

from typing import final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "TOKENIZERS_VERSION",
    "EncodedColumn",
    "TokenDataset",
    "Tokenizer",
    "__version__",
    "cut_batches",
]

__version__: str

TOKENIZERS_VERSION: str
"""The version of the `tokenizers` crate that was built in."""

_TextColumn = tuple[NDArray[np.uint8], NDArray[np.int64]]
"""The bytes of all rows, and the offset at which each row begins (one more than rows)."""

@final
class Tokenizer:
    """A tokenizer loaded from the text of a `tokenizer.json`; it never changes."""

    def __new__(cls, definition: str, *, split_special_tokens: bool = False) -> Tokenizer: ...
    def encode(
        self,
        text: _TextColumn,
        text_pair: _TextColumn | None = None,
        *,
        add_special_tokens: bool = True,
        max_length: int | None = None,
        truncation_side: str = "right",
        num_threads: int | None = None,
    ) -> EncodedColumn:
        """Encodes every row of a column, with the same row of a second column when there is one."""

@final
class EncodedColumn:
    """A column after encoding: flat ids and where each row begins."""

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
    def num_truncated_rows(self) -> int: ...
    @property
    def num_truncated_tokens(self) -> int: ...

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
    ) -> TokenDataset: ...
    def __len__(self) -> int: ...
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
