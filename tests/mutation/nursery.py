"""The process that forks for each run of tests, seen from outside; `forks.py` is the inside."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


class Nursery:
    """Tests in a folder, each run in a process of its own that need not import anything.

    Parameters
    ----------
    folder : Path
        Where the tests are.
    environment : dict
        What the tests find in `os.environ` beside what is there now.
    """

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("forks.py")],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(folder)} | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, test: str, **order: Any) -> dict[str, Any]:
        """One file of tests, up to the first that fails.

        Parameters
        ----------
        test : str
            The file, relative to the folder.
        **order
            `temporary`: a folder; `first`: names of tests that go first; `limit` and `each`: the
            seconds that all tests and one test may compute; `cache`: the folder of compiled
            kernels; `grow`: the path and the text of a file, for a run without a fault that
            prepares those with `plant`: the path, the sound and the faulty text of that file, for
            a fault that is put into functions that live.

        Returns
        -------
        dict
            `found`: the test that failed, "time", or None; `seconds`: what the run computed, and
            `took`: what each test did. After `grow`, also which tests call which function. With
            `plant`, "anew" is found if the fault has no place
            in a living function.
        """
        return self._answer({"test": test, **order})

    def _answer(self, order: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return dict(json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        """End it; no run is left, since it answers only after one has ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
