from __future__ import annotations

import io

from fastft.console import Console


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_steps_and_details_are_lines():
    stream = io.StringIO()
    console = Console(stream=stream)
    console.step(2, "define the task")
    console.detail("one\ntwo")
    console.note("three")
    assert stream.getvalue() == "[2/4] define the task\n      one\n      two\n      note: three\n"


def test_other_processes_are_silent(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    stream = Terminal()
    console = Console(stream=stream)
    console.line("hello")
    with console.progress("count", 2) as progress:
        progress(1)
    assert stream.getvalue() == ""


def test_a_log_file_gets_no_bar():
    stream = io.StringIO()
    with Console(stream=stream).progress("count", 2) as progress:
        progress(2)
    assert stream.getvalue() == ""


def test_a_terminal_gets_a_bar():
    stream = Terminal()
    with Console(stream=stream).progress("count", 2) as progress:
        progress(2)
    assert "count" in stream.getvalue()
    assert "2/2" in stream.getvalue()
