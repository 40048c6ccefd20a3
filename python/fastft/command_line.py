"""Words of the command line as arguments of `finetune`.

Nothing heavy is imported here: `fastft --help` must answer at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastft.errors import ArgumentError

if TYPE_CHECKING:
    from pathlib import Path

# Names of columns, files and texts, which are words whatever they look like.
WORDS = (
    *("model", "data", "text", "pair", "label", "layout", "encoding", "tokenizer", "output_dir"),
    *("prefix", "system", "source", "target", "source_lang", "target_lang", "label_separator"),
    *("question", "context", "answers", "messages", "prompt", "completion", "chat_template"),
)


def finetune_call(given: dict[str, Any], config: Path | None, extra: list[str]) -> dict[str, Any]:
    """Joins the run file, our options and the words that typer left into a call of `finetune`.

    Raises:
        ArgumentError: Model or data is not named.
    """
    from fastft.training.run_file import missing_objects, read_run_file

    # typer takes the first two words for MODEL and DATA, even when they are unknown options.
    words = [given.pop(name) for name in ("model", "data") if given[name] is not None]
    arguments = training_arguments([*words, *extra])
    call = {} if config is None else read_run_file(config)
    call.update({name: value for name, value in given.items() if value is not None})
    call.update(arguments)
    if "validation" in call:
        call["validation"] = _validation(call["validation"])
    for name in ("label_names", "label"):
        if isinstance(call.get(name), str) and _is_list(name, call[name]):
            call[name] = _names(call[name])
    for name in ("lora", "fuse_head", "padding_free", "sparse_embedding"):
        if isinstance(call.get(name), str):
            call[name] = _value(call[name], name)
    if call.get("frozen_cache") is False:  # YAML reads a bare off so
        call["frozen_cache"] = "off"
    if isinstance(call.get("max_length"), str) and call["max_length"].isdecimal():
        call["max_length"] = int(call["max_length"])
    absent = [name for name in ("model", "data") if call.get(name) is None] + missing_objects(call)
    if absent:
        raise ArgumentError(
            f"{' and '.join(dict.fromkeys(absent))} must be named",
            place="command line",
            expected="fastft train MODEL DATA",
            fix="see `fastft train --help`",
        )
    return call


def training_arguments(words: list[str]) -> dict[str, Any]:
    """Reads `--name value`, `--name=value`, a bare `--name` (true), and MODEL and DATA.

    Raises:
        ArgumentError: A third word stands alone.
    """
    arguments: dict[str, Any] = {}
    alone: list[str] = []
    waiting: str | None = None
    for word in words:
        if word.startswith("--"):
            name, given, value = word[2:].partition("=")
            name = name.replace("-", "_")
            if name == "no_quoting":
                name, value, given = "quoting", "false", "="
            arguments[name] = _value(value, name) if given else True
            waiting = None if given else name
        elif waiting is not None:
            arguments[waiting], waiting = _value(word, waiting), None
        else:
            alone.append(word)
    if len(alone) > 2:
        raise ArgumentError(
            f"{alone[2]!r} stands alone",
            place="command line",
            expected="MODEL DATA and then --name value",
            fix="put a value behind its --name, or in quotes when it holds spaces",
        )
    return {**dict(zip(("model", "data"), alone, strict=False)), **arguments}


def _value(text: str, name: str) -> Any:
    """Reads a word as YAML would, so that 3, 2e-4, true and {"a": 1} mean what they say.

    But names stay words (a column can be called 3), and so does "no": it is a strategy
    (`--save-strategy no`); flags are true or false.
    """
    import yaml

    if _is_list(name, text):
        return _names(text)
    if name in WORDS or text.lower() in ("no", "yes", "off", "on", "y", "n"):
        return text
    try:
        return float(text) if "e" in text.lower() else yaml.safe_load(text)
    except ValueError:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _is_list(name: str, text: str) -> bool:
    """Whether a word is a list of names: always for label_names, in brackets for label."""
    return name == "label_names" or (name == "label" and text.startswith("["))


def _names(text: str) -> list[str]:
    """Reads names between commas; a name that holds a comma stands in quotes."""
    import yaml

    try:  # this loader makes nothing but text: yes, no and 1 are names here
        names = yaml.load(text if text.startswith("[") else f"[{text}]", Loader=yaml.BaseLoader)
    except yaml.YAMLError:
        names = text.split(",")
    return [str(name) for name in names]


def _validation(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if value.lower() == "none":
        return None
    try:
        return float(value)
    except ValueError:
        return value
