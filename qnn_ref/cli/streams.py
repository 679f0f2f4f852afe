"""Standard output and standard error that may be closed, and answers in JSON."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO


class Patient:
    """A stream whose reader may leave before all is said, as in `qnn-ref recipes | head -1`.

    What nobody reads any more is dropped, and the work goes on: a training run does not die because
    whoever watched it closed the window.

    Parameters
    ----------
    stream : text file
    courtesy : bool
        Whether all errors are dropped, not those of a reader who left only. So it is for standard
        error; of an answer that finds a full disk the user must hear.
    """

    def __init__(self, stream: TextIO, courtesy: bool) -> None:
        self.stream, self.courtesy = stream, courtesy

    def write(self, text: str) -> int:
        """Write, or drop."""
        self._try(self.stream.write, text)
        return len(text)

    def flush(self) -> None:
        """Flush, or drop."""
        self._try(self.stream.flush)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def _try(self, call: Any, *arguments: str) -> None:
        try:
            call(*arguments)
        except OSError as error:
            # What is still in the buffer would fail again when Python ends.
            _attach_to_nothing(self.stream.fileno())
            if not self.courtesy and not isinstance(error, BrokenPipeError):
                raise OSError(f"standard output: {error.strerror}") from error


@contextmanager
def patient_streams() -> Iterator[None]:
    """Make both streams patient for a while."""
    out, err = sys.stdout, sys.stderr
    patient_out = Patient(_open(out, 1), courtesy=False)
    patient_err = Patient(_open(err, 2), courtesy=True)
    sys.stdout, sys.stderr = patient_out, patient_err  # type: ignore[assignment]
    try:
        yield
        patient_out.flush()
    finally:
        patient_out.courtesy = True  # the first error is the one to hear of
        patient_out.flush()
        patient_err.flush()
        sys.stdout, sys.stderr = out, err


def _open(stream: TextIO | None, descriptor: int) -> TextIO:
    """The stream, or nothing where the shell closed it (`>&-`)."""
    if stream is not None:
        return stream
    # The next file that is opened would get this number, and what C code prints.
    _attach_to_nothing(descriptor)
    return open(descriptor, "w", encoding="utf-8", closefd=False)


def _attach_to_nothing(descriptor: int) -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    if nothing != descriptor:
        os.dup2(nothing, descriptor)
        os.close(nothing)


def to_json(answer: dict[str, Any]) -> str:
    """One JSON object on one line.

    JSON has no NaN and no infinity: a number that is not finite becomes null, and the reason stands
    beside it, under the same key with `_reason` behind it.

    Parameters
    ----------
    answer : dict
        Plain values, or NumPy's.

    Returns
    -------
    str
    """
    return json.dumps(_plain(answer)[0], allow_nan=False)


def _plain(value: Any) -> tuple[Any, str]:
    """The value as JSON can hold it, and why a part of it is null."""
    if hasattr(value, "tolist"):  # an array or a number of NumPy's
        value = value.tolist()
    if isinstance(value, dict):
        found = {str(key): _plain(item) for key, item in value.items()}
        plain = {key: item for key, (item, _) in found.items()}
        return plain | {f"{key}_reason": why for key, (_, why) in found.items() if why}, ""
    if isinstance(value, list | tuple):
        items = [_plain(item) for item in value]
        return [item for item, _ in items], next((why for _, why in items if why), "")
    if isinstance(value, float) and not math.isfinite(value):
        return None, "not a number" if math.isnan(value) else "infinite"
    return value, ""
