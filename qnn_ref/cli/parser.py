"""A parser that says what was expected, what came, and which name is near."""

from __future__ import annotations

import argparse
import math
import os
import re
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

LARGEST = 2**63 - 1


class WrongUse(Exception):
    """An option or argument that no work can begin with.

    Parameters
    ----------
    message : str
        What was expected and what came.
    usage : str
        How the command is called, where the parser itself refused.
    """

    def __init__(self, message: str, usage: str = "") -> None:
        super().__init__(message)
        self.usage = usage


class Parser(argparse.ArgumentParser):
    """Parser of one command: no abbreviations, and errors that `main` prints."""

    def __init__(self, **more: Any) -> None:
        super().__init__(allow_abbrev=False, **more)

    def parse(self, argv: list[str]) -> argparse.Namespace:
        """Parse all of them, or say which is unknown and which one is like it."""
        for text in argv[: argv.index("--") if "--" in argv else None]:
            if text.startswith("--") and text.endswith("=--"):  # argparse makes an empty list of it
                self.error(f"argument {text[:-3]}: expected one argument, got '--'")
        args, unknown = self.parse_known_args(argv)
        if unknown:
            from qnn_ref.checks import did_you_mean  # imports NumPy: only a mistake needs it

            known = [name for action in self._actions for name in action.option_strings]
            near = did_you_mean(unknown[0].partition("=")[0], known)
            self.error(f"unrecognized arguments: {' '.join(unknown)}{near}")
        return args

    def error(self, message: str) -> NoReturn:
        """Raise `WrongUse`: in JSON too, where that is wanted, it is said in one place."""
        raise WrongUse(message, self.format_usage())


def one_of(name: str, known: Iterable[str]) -> Callable[[str], str]:
    """Reader of a name that is known."""

    def read(text: str) -> str:
        if text in known:
            return text
        from qnn_ref import checks  # imports NumPy: only a mistake needs it

        try:
            return checks.choice(name, text, known)
        except ValueError as error:
            raise WrongUse(str(error)) from None

    return read


def whole(name: str, least: int) -> Callable[[str], int]:
    """Reader of a whole number of at least `least`, in decimal digits."""

    def read(text: str) -> int:
        digits = text.removeprefix("-")
        if digits.isascii() and digits.isdecimal() and len(digits) < 20:
            number = int(text)
            if least <= number <= LARGEST:
                return number
        raise WrongUse(f"{name}: expected a whole number of at least {least}, got {text!r}")

    return read


def real(name: str, least: float) -> Callable[[str], float]:
    """Reader of a finite number of at least `least`, in decimal digits."""

    def read(text: str) -> float:
        number = math.nan
        if re.fullmatch(r"-?[0-9]{1,19}(\.[0-9]{0,19})?|-?\.[0-9]{1,19}", text):
            number = float(text)
        if not number >= least:
            raise WrongUse(f"{name}: expected a number of at least {least:g}, got {text!r}")
        return number

    return read


def sizes(name: str) -> Callable[[str], tuple[int, ...]]:
    """Reader of a shape: whole numbers of at least 1 with commas between them."""

    def read(text: str) -> tuple[int, ...]:
        try:
            return tuple(whole(name, 1)(part) for part in text.split(","))
        except WrongUse:
            expected = f"{name}: expected whole numbers of at least 1, such as 4,5"
            raise WrongUse(f"{expected}, got {text!r}") from None

    return read


def address(name: str) -> Callable[[str], str]:
    """Reader of where another program listens: a host and a port."""

    def read(text: str) -> str:
        found = re.fullmatch(r"(?:(?:tcp|tls)://)?(?:[\w.-]+|\[[0-9a-fA-F:]+\]):([0-9]{1,5})", text)
        if found and 0 < int(found[1]) < 2**16:
            return text
        raise WrongUse(f"{name}: expected an address such as tcp://10.0.0.1:8786, got {text!r}")

    return read


def path(name: str) -> Callable[[str], str]:
    """Reader of a path; `~` is the home folder, also where the shell did not see it."""

    def read(text: str) -> str:
        if not text.strip() or "\0" in text:
            raise WrongUse(f"{name}: expected a path, got {text!r}")
        expanded = os.path.expanduser(text)
        if expanded.startswith("~"):
            raise WrongUse(
                f"{name}: {text}: no such home folder is known; a file of that name is ./{text}"
            )
        return expanded

    return read
