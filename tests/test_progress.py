"""A bar where somebody watches, seldom a line where nobody does."""

from __future__ import annotations

import io
import sys

import pytest

from qnn_ref.progress import progress_bar


class Stream(io.StringIO):
    """Standard error, on a terminal or not."""

    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


def test_a_log_gets_a_line_a_minute_and_not_one_more(monkeypatch):
    log, minutes, each = Stream(terminal=False), 10, 600
    monkeypatch.setattr(sys, "stderr", log)
    with progress_bar(total=minutes * each, title="digits") as bar:
        seconds = bar.last_print_t
        bar._time = lambda: seconds
        for _ in range(minutes * each):
            seconds += 60 / each
            bar.update()
            bar.set_postfix(loss="0.5", refresh=False)
    lines = log.getvalue().splitlines()
    assert minutes < len(lines) <= minutes + 2  # the first and the last
    assert "\r" not in log.getvalue()
    assert all(line.startswith("digits:") for line in lines)
    assert "6000/6000" in lines[-1]
    assert "loss=0.5" in lines[-1]
    assert log.getvalue().isascii()


def test_a_terminal_gets_a_bar_in_one_place(monkeypatch):
    terminal = Stream(terminal=True)
    monkeypatch.setattr(sys, "stderr", terminal)
    assert list(progress_bar(range(3), unit="run")) == [0, 1, 2]
    assert terminal.getvalue().count("\n") == 1
    assert "\r" in terminal.getvalue()


@pytest.mark.parametrize("stderr", [Stream(terminal=True), Stream(terminal=False), None])
def test_nothing_is_written_where_nobody_asked_or_nothing_listens(monkeypatch, stderr):
    monkeypatch.setattr(sys, "stderr", stderr)
    assert list(progress_bar(range(3), show=stderr is None)) == [0, 1, 2]
    assert stderr is None or stderr.getvalue() == ""
