"""The Rust core of fastft."""

from typing import Any, final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "TOKENIZERS_VERSION",
    "Batches",
    "DataLoader",
    "EncodedColumn",
    "Labels",
    "Recipe",
    "TokenDataset",
    "Tokenizer",
    "__version__",
    "adamw_rows",
    "add_widened",
    "attention_backward",
    "attention_forward",
    "block_checksums",
    "cross_entropy",
    "cut_batches",
    "loss_positions",
    "pack",
    "simd_level",
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

    def encode_padded(
        self,
        texts: list[str],
        text_pair: list[str] | None,
        recipe: Recipe,
        *,
        max_length: int,
        truncation_side: str,
        truncation_strategy: str,
    ) -> dict[str, NDArray[Any]]:
        """Encodes texts and pads them as a recipe says: int64 (B, T) by name.

        Raises:
            TypeError: A text is no `str`.
            UnicodeEncodeError: A text holds a lone surrogate.
        """

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

    def with_columns(self, columns: dict[str, Any]) -> TokenDataset:
        """The same arrays with columns beside them, by name.

        Args:
            columns: int64 or float32 arrays with an entry a row, of any shape; or pairs of values
                int32 (N,) and offsets int64 (rows + 1,), a run of numbers a row.

        Raises:
            DataError: A column does not fit the rows.
        """

    def collate(
        self,
        indices: NDArray[np.int64],
        recipe: Recipe,
        numbers: NDArray[np.int64] | None = None,
    ) -> dict[str, Any]:
        """Makes a batch of the rows named by `indices`.

        Args:
            indices: int64 (B,): which rows.
            recipe: How the batch is made.
            numbers: int64 (B,): the numbers by which rows draw their masks; `indices` when None.

        Returns:
            New arrays by name, in this order, those that the recipe asks for. Padded: `input_ids`,
            `token_type_ids`, `attention_mask` int64 (B, T); the columns, their own type, (B, ...);
            `labels` int64 (B, T), or of a width of their own. Flattened: `input_ids`, `labels`,
            `position_ids` int64 (1, N), `seq_idx` int32 (1, N), `cu_seq_lens_q` and
            `cu_seq_lens_k` int32 (rows + 1,), `max_length_q` and `max_length_k` as numbers.

        Raises:
            DataError: A row does not exist.
            ColumnError: A column does not exist, or its rows do not have the form that is needed.
            ConfigurationError: A row is longer than `width`, or there is no memory for the batch.
        """

@final
class Labels:
    """Where the labels of padded batches come from; it never changes."""

    @staticmethod
    def from_ids() -> Labels:
        """The token ids themselves, -100 at padding."""

    @staticmethod
    def masked(
        *,
        seed: int,
        epoch: int,
        probability: float,
        mask_replace_prob: float,
        random_replace_prob: float,
        mask_token_id: int,
        vocab_size: int,
        special_ids: list[int],
    ) -> Labels:
        """The tokens that are masked, -100 elsewhere.

        What happens to a token is a pure function of seed, epoch, the number of its row, and its
        position in the row (`fastft.data.counter_random` has the function).

        Args:
            seed: From 0 up to 2**64.
            epoch: From 0 up to 2**64.
            probability: The share of tokens that are predicted.
            mask_replace_prob: The share of those that the mask token replaces.
            random_replace_prob: The share of those that a random token replaces.
            mask_token_id: The mask token.
            vocab_size: Random tokens are below this.
            special_ids: Tokens that are never predicted.
        """

    @staticmethod
    def from_column(name: str, *, pad_token_id: int, as_wide_as_inputs: bool) -> Labels:
        """A column whose rows are runs of labels.

        Args:
            name: The column.
            pad_token_id: What pads it.
            as_wide_as_inputs: Whether its matrix has the width of the ids (a label for each token);
                otherwise that of its longest row, rounded up like the ids.
        """

@final
class Recipe:
    """How batches are made. It never changes, knows no dataset, and serves any thread."""

    @staticmethod
    def padded(
        *,
        pad_token_id: int,
        pad_token_type_id: int | None = None,
        attention_mask: bool = True,
        width: int | None = None,
        pad_to_multiple_of: int | None = None,
        padding_side: str = "right",
        labels: Labels | None = None,
        columns: list[str] = ...,
    ) -> Recipe:
        """Rows are padded to one width.

        Args:
            pad_token_id: What pads the ids.
            pad_token_type_id: What pads the type ids; the batch has none when None.
            attention_mask: Whether the batch has an attention mask.
            width: The width of a batch; that of its longest row when None.
            pad_to_multiple_of: The width is rounded up to a multiple of this.
            padding_side: "right" or "left".
            labels: Where labels of tokens come from.
            columns: The names of the columns to gather, which have as many numbers in every row.
        """

    @staticmethod
    def flattened(
        *,
        separator_id: int = ...,
        position_ids_start: int | None = None,
        seq_idx: bool = False,
        cu_seq_lens: bool = False,
        labels: str | None = None,
    ) -> Recipe:
        """Rows are laid end to end, those without tokens left out.

        Args:
            separator_id: The label of the first token of each row; -100 by default.
            position_ids_start: The position of that token; the batch has no positions when None.
            seq_idx: Whether the batch has `seq_idx`.
            cu_seq_lens: Whether the batch has `cu_seq_lens_q` and its kin.
            labels: A column with a label for each token; the ids themselves when None.
        """

def loss_positions(
    labels: NDArray[np.int64], *, predicts_next: bool = False
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Finds the supervised positions of a matrix of labels.

    Args:
        labels: int64 (B, T), contiguous.
        predicts_next: Whether a position predicts the next label of its row, not its own.

    Returns:
        int64 (N,): `row * T + t` of each position whose label is not -100; int64 (N,): that label.
    """

def block_checksums(values: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Gives the CRC-32 (the one of zlib) of each block of 256 KiB; the last may be shorter."""

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

def attention_forward(
    query: NDArray[np.float32],
    key: NDArray[np.float32],
    value: NDArray[np.float32],
    out: NDArray[np.float32],
    weights: NDArray[np.float32],
    *,
    lengths: NDArray[np.int64],
    num_heads: int,
    head_dim: int,
    scaling: float,
    is_causal: bool = False,
    kept: NDArray[np.float32] | None = None,
    num_threads: int = 1,
    simd: str | None = None,
) -> None:
    """Attention within rows of `lengths` tokens that stand end to end; all arrays are flat.

    `query`, `key`, `value` and `out` are (tokens, heads, head_dim). `weights` are those of each
    row, head and key, for as many queries as the next multiple of 16 has; `kept`, shaped like them,
    is what each is multiplied with before it is used.

    Raises:
        DataError: Arrays do not fit each other, or `head_dim` is no multiple of 16; nothing was
            written.
        ValueError: A row has fewer tokens than none.
    """

def attention_backward(
    query: NDArray[np.float32],
    key: NDArray[np.float32],
    value: NDArray[np.float32],
    weights: NDArray[np.float32],
    gradient: NDArray[np.float32],
    to: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]],
    *,
    lengths: NDArray[np.int64],
    num_heads: int,
    head_dim: int,
    scaling: float,
    is_causal: bool = False,
    kept: NDArray[np.float32] | None = None,
    num_threads: int = 1,
    simd: str | None = None,
) -> None:
    """Writes the gradients of query, key and value to `to`, for a `gradient` of the outputs.

    `weights` are those of `attention_forward`; raises the same.
    """

def adamw_rows(
    param: NDArray[np.float32],
    exp_avg: NDArray[np.float32],
    exp_avg_sq: NDArray[np.float32],
    live: NDArray[np.bool_],
    rows: NDArray[np.int64],
    values: NDArray[np.float32],
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    step: float,
    num_threads: int = 1,
) -> int:
    """A step of AdamW, without weight decay, on the rows of `param` (V, H) that it moves.

    These are `rows` (ascending, each once), whose gradients are `values` (rows, H), and those that
    `live` (V,) marks: they had a gradient before. `rows` are marked too. A first moment below the
    smallest normal float32 becomes zero.

    Returns:
        How many rows live.

    Raises:
        DataError: Arrays do not fit each other, or a row does not exist; nothing was written.
        ConfigurationError: Rows have no elements.
    """

def cross_entropy(
    logits: NDArray[Any],
    labels: NDArray[np.int64],
    *,
    gradient: NDArray[Any] | None = None,
    format: str = "float32",
    ignore_index: int = ...,
    class_weight: NDArray[np.float64] | None = None,
    row_weight: NDArray[np.float64] | None = None,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    softcap: float | None = None,
    logit_scale: float = 1.0,
    gradient_factor: float = 1.0,
    statistics: bool = False,
    num_threads: int = 1,
    simd: str | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Softmax cross entropy of the rows of `logits`, shape (N, V), rows contiguous.

    The gradient goes to `gradient`, which may be `logits`; None asks for the loss alone. `format`
    is "float32", "float64", or what the bits of uint16 arrays mean: "bfloat16", "float16". `simd`
    is "scalar", "avx2" or "avx512"; None for what `FASTFT_SIMD` says, else the best.

    Returns:
        Loss, log-sum-exp, entropy and correctness of each row; the last two with `statistics`.

    Raises:
        LabelError: A label is neither a class nor `ignore_index`; nothing was written.
    """

def add_widened(
    total: NDArray[np.float32],
    part: NDArray[np.uint16],
    *,
    format: str,
    num_threads: int = 1,
    simd: str | None = None,
) -> None:
    """Adds the numbers `part`, bits of "bfloat16" or "float16", to `total`; both are flat.

    Raises:
        DataError: They differ in length.
    """

def simd_level() -> str:
    """The vector instructions in use: "scalar", "avx2" or "avx512"."""

def pack(
    lengths: NDArray[np.uint32], max_length: int, *, drop_overlong: bool = False
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Packs lengths into bins of at most `max_length`: flat indices and bin offsets."""

@final
class DataLoader:
    """Batches of a dataset, made by threads that never touch Python."""

    def __new__(cls, dataset: TokenDataset, recipe: Recipe, *, num_threads: int) -> DataLoader: ...
    def put(self, indices: NDArray[np.int64]) -> None:
        """Asks for a batch of the rows named by `indices`, int64 (B,)."""

    def take(self, timeout: float | None = None) -> dict[str, Any] | None:
        """Takes the batch that was asked for first, as `TokenDataset.collate` gives it.

        Returns:
            None when nothing was asked for, or when it is not there after `timeout` seconds.

        Raises:
            Error: What `TokenDataset.collate` raises for these rows.
            InternalError: The threads belong to the process that was forked.
        """

    @property
    def num_outstanding(self) -> int:
        """How many batches were asked for and not taken."""
