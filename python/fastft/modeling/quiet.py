"""Keeps transformers and huggingface_hub from printing between the lines of a run.

Whatever is turned down here is turned up again at the end, also after an error: levels, bars and
filters are the user's own.
"""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

from huggingface_hub.utils import logging as hub_logging
from transformers.utils import logging as transformers_logging

if TYPE_CHECKING:
    from collections.abc import Iterator

# Log lines that are no news to anybody who trains, by the logger that writes them.
KNOWN_NOISE = {
    # Checkpoints less than a second apart are told apart by their numbers, as they always could be.
    "transformers.trainer_utils": "mtime may not be reliable",
}


@contextlib.contextmanager
def quiet_libraries(*, quiet: bool) -> Iterator[None]:
    """Leaves the terminal to fastft while the block runs.

    Args:
        quiet: Silence the warnings of both libraries too, not bars and known noise alone.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(no_transformers_bars())
        if quiet:
            stack.enter_context(quiet_transformers())
        for logger, text in KNOWN_NOISE.items():
            stack.enter_context(_without_lines(logging.getLogger(logger), text))
        yield


@contextlib.contextmanager
def no_transformers_bars() -> Iterator[None]:
    """Hides the bars that transformers draws while it reads and writes weights."""
    bars_were_on = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if bars_were_on:
            transformers_logging.enable_progress_bar()


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silences bars and log lines below errors: the run prints a load report of its own."""
    before = transformers_logging.get_verbosity(), hub_logging.get_verbosity()
    transformers_logging.set_verbosity(logging.ERROR)
    hub_logging.set_verbosity(logging.ERROR)
    try:
        with no_transformers_bars():
            yield
    finally:
        transformers_logging.set_verbosity(before[0])
        hub_logging.set_verbosity(before[1])


@contextlib.contextmanager
def _without_lines(logger: logging.Logger, text: str) -> Iterator[None]:
    def is_news(record: logging.LogRecord) -> bool:
        return text not in record.getMessage()

    logger.addFilter(is_news)
    try:
        yield
    finally:
        logger.removeFilter(is_news)
