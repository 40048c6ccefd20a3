"""What a run says while it works: steps, notes, progress bars.

Everything goes to standard error, so that standard output stays free for results. Only the main
process speaks. Bars are drawn on a terminal alone; a log file gets the lines and nothing that
moves. rich is imported when the first bar is drawn, never before.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.progress import Progress

NUM_STEPS = 4


class Console:
    """Prints the steps of a run.

    Args:
        quiet: Print nothing at all.
        stream: Where to print; standard error when not given.

    Example:
        >>> Console(stream=sys.stdout).step(1, "load the model")
        [1/4] load the model
    """

    def __init__(self, *, quiet: bool = False, stream: TextIO | None = None) -> None:
        self._quiet = quiet or os.environ.get("RANK", "0") != "0"
        self._stream = stream

    @property
    def stream(self) -> TextIO:
        """The stream in use, looked up late so that a redirected standard error is honoured."""
        return self._stream or sys.stderr

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is printed: asked for, or not the first process."""
        return self._quiet

    @property
    def draws_bars(self) -> bool:
        """Whether progress bars are drawn: on a terminal, unless quiet."""
        return not self._quiet and self.stream.isatty()

    def line(self, text: str) -> None:
        """Prints one line, or several, as they are."""
        if not self._quiet:
            print(text, file=self.stream, flush=True)

    def step(self, number: int, text: str) -> None:
        """Prints the heading of one of the four steps."""
        self.line(f"[{number}/{NUM_STEPS}] {text}")

    def detail(self, text: str) -> None:
        """Prints lines that belong to the step above them."""
        self.line("\n".join(f"      {line}" for line in text.splitlines()))

    def note(self, text: str) -> None:
        """Prints something that the user should know but need not act on."""
        self.detail(f"note: {text}")

    def warning(self, text: str) -> None:
        """Prints something that the user probably wants to change."""
        self.detail(f"warning: {text}")

    @contextmanager
    def progress(self, description: str, total: int) -> Iterator[Callable[[int], None]]:
        """Draws a bar while the block runs.

        Args:
            description: What is counted, for example "tokenize train".
            total: The number of things to do.

        Yields:
            A function that takes how many are done so far.
        """
        if not self.draws_bars:
            yield lambda done: None
            return
        with self._bar() as bar:
            task = bar.add_task(description, total=total, status="")
            yield lambda done: bar.update(task, completed=done)

    def _bar(self) -> Progress:
        from rich.console import Console as RichConsole
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        return Progress(
            TextColumn("      {task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[status]}", justify="left"),
            console=RichConsole(file=self.stream),
            transient=True,
        )
