"""What was judged, as tables: a row a file, and a row a room.

Of a file that was not judged whole, only a sample that was drawn evenly, and is complete, says
something about the file; what else was judged of it is counted, but no share is made of it.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

BEGIN, END = "<!-- begin: python -m tests.mutation --write -->", "<!-- end -->"


@dataclass(frozen=True)
class Judged:
    """What is known of a file.

    Parameters
    ----------
    file : str
    faults : int
        That can be planted in it.
    how : str
        "whole", "sample of 30", "part" or "not judged".
    killed, equivalent, survived : int
        Of those that were judged; of a sample, of the sample.
    """

    file: str
    faults: int
    how: str
    killed: int
    equivalent: int
    survived: int

    @property
    def judged(self) -> int:
        """All that have a verdict."""
        return self.killed + self.equivalent + self.survived

    @property
    def share(self) -> float | None:
        """Per cent that are killed of those that are no equivalents; none if it would mislead."""
        rest = self.killed + self.survived
        return 100 * self.killed / rest if rest and self.how not in ("part", "not judged") else None


def drawn(keys: Iterable[str], count: int, seed: int) -> set[str]:
    """So many of the faults of one file, or all; nearly the same ones where it changes a little."""

    def ticket(key: str) -> bytes:
        return hashlib.sha256(f"{seed} {key}".encode()).digest()

    return set(sorted(keys, key=ticket)[:count])


def judged(
    file: str, faults: Mapping[str, bool], verdicts: Mapping[str, Mapping[str, Any]]
) -> Judged:
    """Count what is known of a file as it is now.

    Parameters
    ----------
    file : str
    faults : dict of bool
        By key, whether the table of equivalents has it.
    verdicts : dict
        By key, those of any file.
    """
    here = {key for key in faults if key in verdicts}
    how = "whole" if len(here) == len(faults) else "part" if here else "not judged"
    if how == "part":
        draws = {tuple(verdicts[key].get("sample") or ()) for key in here} - {()}
        for count, seed in sorted(draws):
            sample = drawn(faults, count, seed)
            if sample <= here:  # the largest one that is complete
                how, chosen = f"sample of {len(sample)}", sample
        here = chosen if how != "part" else here
    counts = Counter("equivalent" if faults[key] else verdicts[key]["verdict"] for key in here)
    numbers = (counts[name] for name in ("killed", "equivalent", "survived"))
    return Judged(file, len(faults), how, *numbers)


def by_file(rows: list[Judged]) -> str:
    """A row a file, and one of all, in Markdown."""
    heads = ("file", "faults", "judged", "how", "killed", "equivalent", "survived", "of the rest")
    text = [
        (r.file, r.faults, r.judged, r.how, r.killed, r.equivalent, r.survived, _percent(r.share))
        for r in rows
    ]
    return _markdown(heads, [*text, ("all", *_sums(rows, how=True))])


def by_room(rows: list[Judged]) -> str:
    """A row a room, and its file with the lowest share, in Markdown."""
    rooms: dict[str, list[Judged]] = {}
    for row in rows:
        rooms.setdefault("/".join(row.file.split("/")[:2]), []).append(row)
    heads = ("room", "faults", "judged", "killed", "equivalent", "survived", "of the rest")
    text = []
    for room, ours in rooms.items():
        shares = [(row.share, row.file) for row in ours if row.share is not None]
        lowest = min(shares, default=(None, ""))
        name = lowest[1].rpartition("/")[2]
        text.append((room, *_sums(ours), f"{_percent(lowest[0])} {name}".strip()))
    return _markdown((*heads, "lowest file"), [*text, ("all", *_sums(rows), "")])


def rewritten(text: str, table: str) -> str:
    """A text with another table between its two marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    if not after:
        raise ValueError(f"text: expected a table between {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{table}\n\n{END}{after}"


def _sums(rows: list[Judged], how: bool = False) -> tuple[Any, ...]:
    killed, equivalent, survived = (
        sum(getattr(row, name) for row in rows) for name in ("killed", "equivalent", "survived")
    )
    fair = [row for row in rows if row.share is not None]
    found, rest = sum(row.killed for row in fair), sum(row.killed + row.survived for row in fair)
    share = _percent(100 * found / rest if rest else None)
    counts = sum(row.faults for row in rows), killed + equivalent + survived
    return (*counts, *(("",) if how else ()), killed, equivalent, survived, share)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1f} %"


def _markdown(heads: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    lines = [f"| {' | '.join(heads)} |", "| --- " * len(heads) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(map(str, row))} |" for row in rows)])
