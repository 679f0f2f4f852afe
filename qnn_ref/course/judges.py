"""Processes that judge notebooks, one after the other; one that ends is replaced."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

NET = 600
"""Seconds after which a whole notebook is given up, if the limits of its exercises did not help."""
WAKE = 2.0
"""Seconds without a word after which it is told to go on."""
THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


class Gone(Exception):
    """The process has ended, or had to be ended, without an answer."""


class Judge:
    """`qnn_ref.course.isolation` at the other end of two pipes; started when it is first asked."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None

    def ask(self, path: Path, seed: int, seconds: float | None) -> dict[str, Any]:
        """Have a notebook judged.

        Parameters
        ----------
        path : path
        seed : int
        seconds : float or None
            For an exercise, instead of its own.

        Returns
        -------
        dict
            As `isolation.judged` returns it.

        Raises
        ------
        Gone
            If there is no answer; the next question starts a new process.
        """
        process = self.process or self._started()
        question = json.dumps([str(path), seed, seconds], allow_nan=False)
        assert process.stdin is not None
        try:
            process.stdin.write(f"{question}\n".encode())
            process.stdin.flush()
            return dict(json.loads(self._line(process)))
        except (OSError, ValueError, TypeError) as error:
            raise Gone(self.end() or str(error) or "it ended") from error

    def end(self) -> str:
        """End the process, if there is one.

        Returns
        -------
        str
            The last line of what it said of its errors.
        """
        process, self.process = self.process, None
        if process is None:
            return ""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self.errors.seek(0)
        lines = self.errors.read().decode("utf-8", "replace").strip().splitlines()
        for stream in (process.stdin, process.stdout, self.errors):
            with contextlib.suppress(OSError):  # of what was not sent any more
                stream.close()  # type: ignore[union-attr]
        self.folder.cleanup()
        return lines[-1][:200] if lines else ""

    def _started(self) -> subprocess.Popen[bytes]:
        settings = dict.fromkeys(THREADS, "1") | {"QNN_REF_COURSE_RESULTS": "none"}
        settings["NUMBA_THREADING_LAYER"] = "workqueue"  # a process that forks: see `compiled`
        settings |= {"MPLBACKEND": "Agg", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-m", "qnn_ref.course.isolation"],
            cwd=self.folder.name,
            env=os.environ | settings,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            start_new_session=True,
        )
        return self.process

    def _line(self, process: subprocess.Popen[bytes]) -> bytes:
        assert process.stdout is not None
        text, deadline = b"", time.monotonic() + NET
        while not text.endswith(b"\n"):
            while not select.select([process.stdout], [], [], WAKE)[0]:
                if time.monotonic() > deadline:
                    raise ValueError("it did not end")
                os.kill(process.pid, signal.SIGCONT)  # an answer may have stopped its judge
            part = os.read(process.stdout.fileno(), 1 << 16)
            if not part:
                raise ValueError("it ended without an answer")
            text += part
        return text
