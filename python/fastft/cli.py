"""The command line: `fastft train MODEL DATA` and its kin.

`--help` must answer at once, so nothing heavy is imported here; torch and transformers load when a
command runs. Options that are not ours are training arguments of transformers: they are passed on
and checked against the installed version.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path  # typer reads the annotations
from typing import Annotated, Any, get_type_hints

import typer
from typer.core import TyperCommand

from fastft.command_line import finetune_call, training_arguments

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


class ResumableCommand(TyperCommand):
    """Takes a bare `--resume` for `--resume auto`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Gives `--resume` its value where no word, or another option, follows it."""
        following = [*args[1:], "--"]
        pairs = zip(args, following, strict=True)
        words = [
            "--resume=auto" if word == "--resume" and after.startswith("--") else word
            for word, after in pairs
        ]
        return super().parse_args(ctx, words)


@app.command(cls=ResumableCommand, context_settings=PASS_ON)
def train(
    context: typer.Context,
    model: Model = None,
    data: Data = None,
    task: Annotated[
        str | None,
        typer.Option(
            help="auto, text-classification, question-answering, translation, summarization, "
            "seq2seq, causal-lm, chat or masked-lm."
        ),
    ] = None,
    tokenizer: Annotated[
        str | None, typer.Option(help="A hub name or a folder; the model's own when not given.")
    ] = None,
    text: Annotated[str | None, typer.Option(help="The text column.")] = None,
    pair: Annotated[str | None, typer.Option(help="The second text column.")] = None,
    label: Annotated[str | None, typer.Option(help="The label column.")] = None,
    label_names: Annotated[
        str | None, typer.Option(help="The classes in the order of their ids: negative,positive.")
    ] = None,
    layout: Annotated[
        str | None, typer.Option(help="auto, table, label-files or label-folders.")
    ] = None,
    quoting: Annotated[bool | None, typer.Option(help="Quotes enclose tsv fields.")] = None,
    encoding: Annotated[str | None, typer.Option(help="Encoding of text files.")] = None,
    validation: Annotated[
        str | None, typer.Option(help="auto, none, a share such as 0.1, a file or a folder.")
    ] = None,
    max_length: Annotated[str | None, typer.Option(help="Tokens a row, or auto.")] = None,
    train: Annotated[
        str | None, typer.Option(help="full, head (the output layer), last:N (layers) or lora.")
    ] = None,
    lora: Annotated[
        str | None, typer.Option(help="Arguments of peft.LoraConfig: '{r: 8}'.")
    ] = None,
    dropout: Annotated[float | None, typer.Option(help="Every dropout probability.")] = None,
    early_stopping: Annotated[
        int | None, typer.Option(help="Evaluations without improvement that end the run.")
    ] = None,
    batching: Annotated[
        str | None,
        typer.Option(help="random, bucketed (by length), tokens (by a budget) or packed."),
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(help="Tokens of a batch, for --batching tokens or packed.")
    ] = None,
    fuse_head: Annotated[
        str | None, typer.Option(help="auto, true or false: the loss keeps no logits.")
    ] = None,
    padding_free: Annotated[
        str | None, typer.Option(help="auto, true or false: layers compute real tokens only.")
    ] = None,
    sparse_embedding: Annotated[
        str | None, typer.Option(help="auto, true or false: AdamW steps touched rows only.")
    ] = None,
    frozen_cache: Annotated[
        str | None, typer.Option(help="auto, memory, disk or off: frozen layers run once.")
    ] = None,
    check: Annotated[str | None, typer.Option(help="warn, strict or off.")] = None,
    config: Config = None,
    resume: Annotated[
        str | None, typer.Option(help="auto, or nothing: go on with an interrupted run.")
    ] = None,
    output_dir: Annotated[Path | None, typer.Option(help="Where the files go.")] = None,
    quiet: Quiet = False,
) -> None:
    """Fine-tunes MODEL on DATA.

    Options of the task and any argument of transformers.TrainingArguments can follow:
    --num-train-epochs 2 --learning-rate 2e-4 --per-device-train-batch-size 32 ...
    """
    given = {name: value for name, value in locals().items() if name not in ("context", "config")}
    call = finetune_call(given, config, context.args)
    from fastft.api import finetune

    finetune(**call)


@app.command(cls=ResumableCommand, context_settings=PASS_ON)
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
    call = finetune_call({"model": model, "data": data, "quiet": quiet}, config, context.args)
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
        f"  --{name.replace('_', '-'):<16} {option.help}"
        for name, option in options.items()
        if name not in ("model", "data")
    ]
    training = "  Any argument of transformers.TrainingArguments: --num-train-epochs 2 ..."
    return "\b\n" + "\n".join(["Options of train:", *lines, training])


@app.command("eval")
def evaluate(
    run: Annotated[Path, typer.Argument(help="The folder of a run.")],
    data: Annotated[str, typer.Argument(help="Labelled data, as train takes it.")],
    batch_size: Annotated[int, typer.Option(help="Rows a forward pass.")] = 16,
) -> None:
    """Scores the model of a run on DATA and prints the figures as JSON."""
    from fastft.api import load

    metrics = load(run).evaluate(data, batch_size=batch_size)
    typer.echo(json.dumps(metrics, indent=1))


@app.command(context_settings=PASS_ON)
def predict(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(help="The folder of a run.")],
    rows: Annotated[
        Path | None, typer.Argument(help="A file of rows; standard input when not given.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Where the answers go; standard output when not given.")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Rows a forward pass.")] = 32,
) -> None:
    """Predicts for every row: a line of text, or of JSON with the columns of the task.

    Prints a line of JSON a row. Options of the task can follow: --num-beams 4 ...
    """
    from fastft.prediction_rows import predict_rows

    predict_rows(run, rows, output, batch_size, training_arguments(context.args))


@app.command()
def bench(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[WHAT] [FILES]",
            help="tokens, batches, loss, train, all, or a row; compare A B; report FILE.",
        ),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Small sizes: under 30 minutes.")] = False,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", help="Keeps every finished row; a later call goes on there."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Real data sets; else the small ones of a checkout."),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="A folder for the table as Markdown.")] = None,
    list_rows: Annotated[bool, typer.Option("--list", help="Show all rows, run none.")] = False,
) -> None:
    """Times fastft beside its peers, after comparing what they give.

    Peers that are not installed are skipped: pip install 'fastft[bench]' brings them.
    """
    from fastft.bench import command
    from fastft.console import Console

    if list_rows:
        typer.echo(command.listing())
        return
    code = command.bench(
        words or [], quick=quick, json_file=json_file, data=data, output=output,
        show=typer.echo, console=Console(),
    )  # fmt: skip
    if code:
        raise typer.Exit(code)


app.info.epilog = _train_options()


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
