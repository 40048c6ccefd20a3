"""What a text-to-text job is asked, and what its rows lack: errors, warnings and notes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from fastft.errors import ArgumentError, ConfigurationError, DataError, Error, TokenizerError
from fastft.tasks.supervision import lost_text, percent
from fastft.tasks.text_metrics import num_without_words
from fastft.tasks.text_pairs import is_blank, texts_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from transformers import PreTrainedConfig

    from fastft.data.sources import Source, Split
    from fastft.data.tokenizer import Tokenizer
    from fastft.tasks.target_texts import Targets

# Options of other tasks -> what takes their place here; None where nothing does.
_OTHERS = {"text": "source", "pair": None, "label": "target", "label_names": None}
_STRINGS = {
    "source": "the name of a column, or of the files of one language",
    "target": "the name of a column, or of the files of one language",
    "prefix": 'text, such as "summarize: "',
    "source_lang": "a language code of the tokenizer",
    "target_lang": "a language code of the tokenizer",
}


def check_options(options: Mapping[str, Any]) -> None:
    """Refuses options of other tasks, and values of the wrong kind.

    Raises:
        ArgumentError: An option has no meaning here.
        ConfigurationError: A value is no text.
    """
    for name, ours in _OTHERS.items():
        if options.get(name) is not None:
            raise ArgumentError(
                f"{name} has no meaning where one text becomes another",
                place=f"argument {name}",
                found=f"{name}={options[name]!r}",
                expected="source= and target=, the columns of the texts",
                fix=f"pass {ours}={options[name]!r}" if ours else f"remove {name}",
            )
    for name, expected in _STRINGS.items():
        value = options.get(name)
        if value is not None and not isinstance(value, str):
            raise ConfigurationError(
                f"{name} is of the wrong type",
                place=f"argument {name}",
                found=f"{value!r} ({type(value).__name__})",
                expected=f"{expected}, or None",
                fix=f"pass {name} as text, or leave it out",
            )


def target_length(given: Any, positions: int | None, default: int) -> int:
    """Settles `max_target_length`.

    Args:
        given: What was asked for, or "auto".
        positions: Positions of the decoder, None for no limit.
        default: What "auto" gives where the decoder reaches as far.

    Raises:
        ConfigurationError: It is no whole number, has no room, or is beyond the decoder.
    """
    if given == "auto" and isinstance(given, str):
        return default if positions is None else min(default, positions)
    is_count = isinstance(given, int | np.integer) and not isinstance(given, bool)
    # One token of text and the end of text.
    if is_count and 2 <= given <= (positions or given):
        return int(given)
    most = "" if positions is None else f", at most {positions}: the positions of the decoder"
    raise ConfigurationError(
        "max_target_length cannot be used",
        place="argument max_target_length",
        found=repr(given),
        expected=f'"auto", or a whole number from 2 on{most}',
        fix='pass max_target_length=128, or "auto"',
    )


def check_generation_length(arguments: Mapping[str, Any], positions: int | None) -> None:
    """Raises when an evaluation would generate beyond the positions of the decoder.

    Raises:
        ConfigurationError: `generation_max_length` is too large for this model.
    """
    length = arguments.get("generation_max_length")
    if positions is not None and length is not None and length > positions:
        raise ConfigurationError(
            "an evaluation would write more than the decoder has positions for",
            place="argument generation_max_length",
            found=str(length),
            expected=f"at most {positions}",
            fix=f"pass generation_max_length={positions}, or leave it out",
        )
    if length is not None and length < 2:
        raise ConfigurationError(
            "an evaluation would write nothing",
            place="argument generation_max_length",
            found=str(length),
            expected="2 or more: the first token is the one that starts the decoder",
            fix="leave generation_max_length out",
        )


def check_prefix(prefix: str, tokenizer: Tokenizer, max_length: int) -> None:
    """Raises for a prefix that leaves the sources no room.

    Raises:
        ConfigurationError: Prefix and special tokens fill `max_length`.
    """
    if not prefix:
        return
    length = int(tokenizer.encode(pa.array([prefix]), add_special_tokens=False).row_offsets[-1])
    special = int(tokenizer.hf.num_special_tokens_to_add())
    if length + special >= max_length:
        raise ConfigurationError(
            "the prefix leaves no room for the source",
            place="argument prefix",
            found=f"{length} tokens and {special} special ones, of at most {max_length}",
            expected="a prefix much shorter than max_length",
            fix="shorten prefix, or raise max_length",
        )


def check_generation_config(given: Any) -> None:
    """Raises for a generation configuration that cannot be read, which the Trainer would open.

    Raises:
        ConfigurationError: There is none of that name, or it is damaged.
    """
    if not isinstance(given, str | os.PathLike):
        return
    from transformers import Seq2SeqTrainer

    try:
        Seq2SeqTrainer.load_generation_config(given)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigurationError(
            "the generation configuration cannot be read",
            place="argument generation_config",
            found=f"{str(given)!r}: {str(error).splitlines()[0]}",
            expected="a file generation_config.json, its folder, or a model on the hub",
            fix="correct generation_config, or leave it out",
        ) from error


def vocab_size(head: PreTrainedConfig | None) -> int | None:
    """Gives the number of tokens that the decoder of a model knows."""
    holder = getattr(head, "decoder", None) or head
    size = getattr(holder, "vocab_size", None)
    return size if isinstance(size, int) else None


def prefixes_of(head: PreTrainedConfig | None) -> tuple[str, ...]:
    """Lists the prefixes that a checkpoint was trained with, as the T5 checkpoints name them."""
    known = getattr(head, "task_specific_params", None)
    settings = known.values() if isinstance(known, dict) else ()
    found = [one.get("prefix") for one in settings if isinstance(one, dict)]
    return tuple(dict.fromkeys(prefix for prefix in found if isinstance(prefix, str) and prefix))


def blank_rows(source: Source, *columns: str) -> tuple[tuple[int, str], ...]:
    """Counts, for each split that has them, the rows of which one text is blank.

    Returns:
        The number of rows and the place of the first one.
    """
    found = []
    for split in source.splits.values():
        blank = blank_of(split, *columns)
        if blank.any():
            found.append((int(blank.sum()), split.place(int(blank.argmax()))))
    return tuple(found)


def blank_of(split: Split, source: str, target: str) -> np.ndarray:
    """Says of each row whether a text of it is blank, bool (rows,)."""
    first = is_blank(texts_of(split, source, "source"))
    return np.asarray(first | is_blank(texts_of(split, target, "target")))


def warnings(prefixes: Sequence[str], blank: Sequence[tuple[int, str]]) -> list[Error]:
    """Gives what is doubtful: rows without a text, a checkpoint whose prefix is missing."""
    found: list[Error] = [
        DataError(
            "the source or the target is blank",
            place=place,
            found="1 such row" if count == 1 else f"{count:,} such rows, this is the first",
            expected="a text on both sides",
            fix="remove the rows; they are left out",
        )
        for count, place in blank
    ]
    if prefixes:
        found.append(
            ConfigurationError(
                "the checkpoint was trained with a prefix before each source, and none is given",
                place="argument prefix",
                found="None",
                expected=", ".join(map(repr, prefixes[:6])) + ", or one of your own",
                fix=f'pass prefix={prefixes[0]!r}, or prefix="" for none',
            )
        )
    return found


def require_rows(kept: np.ndarray, split: Split) -> None:
    """Raises when no row has both texts.

    Raises:
        DataError: All rows are blank on one side.
    """
    if not kept.any():
        raise DataError(
            "no row has both a source and a target",
            place=f"{split.name} split, from {split.place(0)} on",
            found=f"{len(kept):,} rows of which one text is blank",
            expected="a text on both sides",
            fix="correct source= and target=, or fill the texts in",
        )


def blank_note(split: Split, blank: np.ndarray) -> str | None:
    """Counts the rows that are left out because a text is blank, and names the first ones."""
    rows = np.flatnonzero(blank)
    if not len(rows):
        return None
    places = "; ".join(split.place(int(row)) for row in rows[:3])
    more = f" and {len(rows) - 3:,} more" if len(rows) > 3 else ""
    return f"{len(rows):,} of {len(blank):,} {split.name} rows are blank on one side and left " + (
        f"out ({places}{more})"
    )


def check_labels(targets: Targets, size: int | None) -> None:
    """Raises when a label lies beyond the vocabulary of the model.

    Raises:
        TokenizerError: The tokenizer is that of another model.
    """
    largest = int(targets.labels.values.max(initial=0))
    if size is not None and largest >= size:
        raise TokenizerError(
            "the tokenizer gives token ids that the decoder of the model does not have",
            place="argument tokenizer",
            found=f"token id {largest}",
            expected=f"ids below {size}",
            fix="pass the tokenizer that belongs to the model, or resize_token_embeddings",
        )


def target_notes(name: str, targets: Targets, max_target_length: int) -> list[str]:
    """Counts the targets that were cut, and says where the end of text was added."""
    notes = []
    rows, labels = targets.num_truncated_rows, targets.labels
    if rows:
        notes.append(
            f"{rows:,} of {len(labels):,} {name} targets ({percent(100 * rows / len(labels))}) "
            f"were cut to {max_target_length} tokens and lose "
            f"{lost_text(targets, len(labels.values))}; raise max_target_length to keep them"
        )
    if targets.end_was_added and name == "train":
        notes.append("the tokenizer ends no text: its eos_token is put behind every target")
    return notes


def rouge_note(metrics: Sequence[str], name: str, references: Sequence[str]) -> str | None:
    """Says when ROUGE sees no word in many targets: it knows a-z and 0-9 alone."""
    if name == "train" or not any(metric.startswith("rouge") for metric in metrics):
        return None
    empty = num_without_words(references)
    if 10 * empty < len(references):
        return None
    return (
        f"ROUGE counts words of a-z and 0-9 alone, and {empty:,} of {len(references):,} {name} "
        "targets have none: they score 0; chrf (task='translation') counts every script"
    )
