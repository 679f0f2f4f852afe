"""What the library logs while a command runs, on standard error: that kernels are compiled."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress


class Notices(logging.Handler):
    """A line for each, above a progress bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line.

        Parameters
        ----------
        record : logging.LogRecord
        """
        bars = sys.modules.get("tqdm")
        write = bars.tqdm.write if bars else print
        with suppress(OSError, ValueError):  # nobody listens: not the concern of the work
            write(record.getMessage(), file=sys.stderr)


def show_notices() -> None:
    """Let the package say what takes long. A program that imports it hears nothing unasked."""
    logger = logging.getLogger("qnn_ref")
    if not any(isinstance(handler, Notices) for handler in logger.handlers):
        logger.addHandler(Notices(logging.INFO))
        logger.setLevel(logging.INFO)
