"""The command line: `fastft train MODEL DATA` and its kin.

`--help` must answer at once, so nothing heavy is imported here; torch and transformers load when a
command runs. Options that are not ours are training arguments of transformers: they are passed on
and checked against the installed version.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path  # typer reads the annotations
from typing import Annotated, Any, get_type_hints

import typer

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Fine-tunes Hugging Face Transformers.",
)

# Whatever typer does not know is a training argument.
PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}

Model = Annotated[str | None, typer.Argument(help="A hub name or a folder.")]
Data = Annotated[
    str | None, typer.Argument(help="A folder or a file: txt, csv, tsv, jsonl, parquet.")
]
Config = Annotated[Path | None, typer.Option(help="A run.yaml; options here override it.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing.")]


def _version(asked: bool) -> None:
    if asked:
        from fastft._fastft import __version__

        typer.echo(f"fastft {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Fine-tunes Hugging Face Transformers."""


@app.command(context_settings=PASS_ON)
def train(
    context: typer.Context,
    model: Model = None,
    data: Data = None,
    text: Annotated[str | None, typer.Option(help="The text column.")] = None,
    pair: Annotated[str | None, typer.Option(help="The second text column.")] = None,
    label: Annotated[str | None, typer.Option(help="The label column.")] = None,
    layout: Annotated[
        str | None, typer.Option(help="auto, table, label-files or label-folders.")
    ] = None,
    quoting: Annotated[bool | None, typer.Option(help="Quotes enclose tsv fields.")] = None,
    encoding: Annotated[str | None, typer.Option(help="Encoding of text files.")] = None,
    validation: Annotated[
        str | None, typer.Option(help="auto, none, a share such as 0.1, a file or a folder.")
    ] = None,
    max_length: Annotated[str | None, typer.Option(help="Tokens a row, or auto.")] = None,
    train: Annotated[str | None, typer.Option(help="full, or head: the last layer alone.")] = None,
    early_stopping: Annotated[
        int | None, typer.Option(help="Evaluations without improvement that end the run.")
    ] = None,
    check: Annotated[str | None, typer.Option(help="warn, strict or off.")] = None,
    config: Config = None,
    resume: Annotated[
        str | None, typer.Option(help="auto goes on with an interrupted run.")
    ] = None,
    output_dir: Annotated[Path | None, typer.Option(help="Where the files go.")] = None,
    quiet: Quiet = False,
) -> None:
    """Fine-tunes MODEL on DATA.

    Any argument of transformers.TrainingArguments can follow: --num-train-epochs 2
    --learning-rate 2e-4 --per-device-train-batch-size 32 ...
    """
    given = {name: value for name, value in locals().items() if name not in ("context", "config")}
    call = _call(given, config, context.args)
    from fastft.api import finetune

    finetune(**call)


@app.command(context_settings=PASS_ON)
def check(
    context: typer.Context,
    model: Model = None,
    data: Data = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Warnings end with exit code 2.")
    ] = False,
    config: Config = None,
    quiet: Quiet = False,
) -> None:
    """Looks at MODEL and DATA as train would, and trains nothing.

    Takes every option of train.
    """
    call = _call({"model": model, "data": data, "quiet": quiet}, config, context.args)
    from fastft.api import check as run_check

    report = run_check(**call)
    if strict and not report.ok:
        raise typer.Exit(2)


def _train_options() -> str:
    """Lists the options of train for the first help page, line by line."""
    parameters = get_type_hints(train, include_extras=True)
    options = {
        name: next(part for part in annotation.__metadata__ if hasattr(part, "help"))
        for name, annotation in parameters.items()
        if hasattr(annotation, "__metadata__")
    }
    lines = [
        f"  --{name.replace('_', '-'):<15} {option.help}"
        for name, option in options.items()
        if name not in ("model", "data")
    ]
    training = "  Any argument of transformers.TrainingArguments: --num-train-epochs 2 ..."
    return "\b\n" + "\n".join(["Options of train:", *lines, training])


app.info.epilog = _train_options()


def _call(given: dict[str, Any], config: Path | None, extra: list[str]) -> dict[str, Any]:
    """Joins the run file, our options and the training arguments into a call of `finetune`."""
    from fastft.errors import ArgumentError
    from fastft.training.run_file import missing_objects, read_run_file

    # typer takes the first two words for MODEL and DATA, even when they are unknown options.
    words = [given.pop(name) for name in ("model", "data") if given[name] is not None]
    arguments = training_arguments([*words, *extra])
    call = {} if config is None else read_run_file(config)
    call.update({name: value for name, value in given.items() if value is not None})
    call.update(arguments)
    if "validation" in call:
        call["validation"] = _validation(call["validation"])
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
    from fastft.errors import ArgumentError

    arguments: dict[str, Any] = {}
    alone: list[str] = []
    waiting: str | None = None
    for word in words:
        if word.startswith("--"):
            name, given, value = word[2:].partition("=")
            name = name.replace("-", "_")
            if name == "no_quoting":
                name, value, given = "quoting", "false", "="
            arguments[name] = _value(value) if given else True
            waiting = None if given else name
        elif waiting is not None:
            arguments[waiting], waiting = _value(word), None
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


def _value(text: str) -> Any:
    """Reads a word as YAML would, so that 3, 2e-4, true and {"a": 1} mean what they say.

    But "no" stays a word: it is a strategy (`--save-strategy no`); flags are true or false.
    """
    import yaml

    if text.lower() in ("no", "yes", "off", "on", "y", "n"):
        return text
    try:
        return float(text) if "e" in text.lower() else yaml.safe_load(text)
    except ValueError:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _validation(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if value.lower() == "none":
        return None
    try:
        return float(value)
    except ValueError:
        return value


def main() -> None:
    """Runs the command line; our own errors end it with their message and exit code 1."""
    from fastft.errors import Error

    try:
        app()
    except Error as error:
        # Of several processes the first one knows what is wrong; the others only know that it is.
        if os.environ.get("RANK", "0") == "0":
            typer.echo(f"error: {error}", err=True)
        sys.exit(1)
    finally:
        _leave_process_group()


def _leave_process_group() -> None:
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()
