"""`qnn-ref bench`: speed against peers in one run, with this machine's own ceiling."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from qnn_ref.cli.common import answer, check_picture, save_picture, table
from qnn_ref.cli.options import BENCHES

REPEATS, QUICK_REPEATS = 9, 5
BUDGET, QUICK_BUDGET = 4.0, 0.7
"""Seconds of a measurement after which it begins no new round."""


def run(args: argparse.Namespace) -> int:
    """Measure; goals that are not met are shown, and are no failure."""
    if args.list:
        answer(args, {"names": list(BENCHES)}, "\n".join(BENCHES))
        return 0
    import numba  # slow: the list is there without it

    from qnn_ref.bench import Settings, bench, cores

    check(args)
    settings = Settings(
        repeats=args.repeats or (QUICK_REPEATS if args.quick else REPEATS),
        budget=QUICK_BUDGET if args.quick else BUDGET,
        quick=args.quick,
        threads=args.threads,
        cores=min(cores(), numba.config.NUMBA_NUM_THREADS),
        say=lambda line: print(line, file=sys.stderr, flush=True),
    )
    if args.against:
        from qnn_ref.bench.against import against

        result = against(args.names, settings, args.against)
        answer(args, result, "\n".join(report(result)))
        return 0
    ladder = args.plot and args.names and "scaling" not in args.names
    names = [*args.names, *(["ladder"] if ladder else [])]
    result = bench(names, settings, args.unset)
    if args.plot:
        draw(args.plot, result)
    answer(args, result, "\n".join(report(result)))
    return 0


def check(args: argparse.Namespace) -> None:
    """Refuse what cannot be measured, before anything is."""
    import numba

    if numba.config.DISABLE_JIT:
        raise ValueError("NUMBA_DISABLE_JIT is set: kernels that are not compiled have no speed")
    limit = numba.config.NUMBA_NUM_THREADS
    if args.threads is not None and args.threads > limit:
        raise ValueError(f"--threads: expected 1 to {limit}, got {args.threads}")
    if args.plot and args.against:
        raise ValueError("--plot: there is no picture of a comparison (--against)")
    if args.plot:
        check_picture(args.plot)


def draw(path: str, result: dict[str, Any]) -> None:
    """Write the picture of the ladder, or of the scaling where that was asked for."""
    from qnn_ref import plots  # slow: wrong use is answered without it

    if scaling := [row for row in result["rows"] if row["name"].startswith("scaling: ")]:
        save_picture(path, plots.scaling_figure(scaling, result["ceiling"]))
        return
    measured = [bar for bar in result["ladder"] if bar["tops"] is not None]
    rungs = [bar for bar in measured if not bar["peer"]]
    peers = {bar["name"]: bar["tops"] for bar in measured if bar["peer"]}
    figure = plots.ladder_figure(
        [bar["name"].replace("_", " ") for bar in rungs],
        [bar["tops"] for bar in rungs],
        result["ceiling"]["tops"],
        peers,
    )
    save_picture(path, figure)


def report(result: dict[str, Any]) -> list[str]:
    """Lines for people: machine, ceiling, ladder, rows; beside an older build only rows."""
    alone = "against" not in result
    return [
        *machine_lines(result["machine"]),
        *(ceiling_lines(result["ceiling"]) if alone else []),
        *(ladder_lines(result["ladder"]) if alone else []),
        *row_lines(result["rows"]),
        f"{result['seconds']:.0f} s",
    ]


def machine_lines(machine: dict[str, Any]) -> list[str]:
    """What the numbers were measured on."""
    versions = (f"{name} {number or 'missing'}" for name, number in machine["versions"].items())
    blas = [f"{p['of']} {p['library']} {p['version']} ({p['kernel']})" for p in machine["blas"]]
    lines = [
        f"{machine['cpu']} ({machine['architecture']}), {machine['cores']} cores: "
        + ", ".join(machine["features"])
        + ("" if machine["load"] is None else f"; load before the run {machine['load']:.1f}"),
        f"python {machine['python']}, " + ", ".join(versions),
        "BLAS: " + (", ".join(blas) or "unknown without threadpoolctl"),
        "our product: " + ", ".join(f"{k} {n}" for k, n in machine["product_kernel"].items()),
    ]
    if machine["unset"]:
        found = ", ".join(f"{name}={value}" for name, value in machine["unset"].items())
        lines.append(f"taken away for this run, as it slows NumPy down: {found}")
    if machine["still_set"]:
        lines.append(f"set, and slows NumPy down: {', '.join(machine['still_set'])}")
    return lines


def ceiling_lines(ceiling: dict[str, Any]) -> list[str]:
    """What the machine can do."""
    loops = ", ".join(f"{name} loop {pace:.2f}" for name, pace in ceiling["loops"].items())
    return [
        f"ceiling of one core: {ceiling['tops']:.2f} TOPS ({loops}), "
        f"reading {ceiling['read_gb_per_s']:.1f} GB/s"
    ]


def ladder_lines(bars: list[dict[str, Any]]) -> list[str]:
    """The ladder as a table."""
    cells = [
        (
            bar["name"],
            f"{bar['size']}^3",
            "-" if bar["tops"] is None else f"{bar['tops']:.4f}",
            bar["note"] or bar["sentence"],
        )
        for bar in bars
    ]
    return ["", *table([("ladder", "size", "TOPS", "what is new"), *cells])] if cells else []


def row_lines(rows: list[dict[str, Any]]) -> list[str]:
    """The rows as a table, and how many goals are met."""
    head = ("name", "size", "threads", "ours", "peer", "", "ratio", "goal", "met", "note")
    cells = [
        (
            row["name"],
            row["size"],
            str(row["threads"]),
            quantity(row["ours"], row["unit"]),
            row["peer_name"],
            quantity(row["peer"], row["unit"]),
            number(row["ratio"]) + between(row["ratio_spread"]),
            number(row["goal"]),
            {True: "yes", False: "no", None: ""}[row["met"]],
            row["note"],
        )
        for row in rows
    ]
    known = [row["met"] for row in rows if row["met"] is not None]
    summary = f"{sum(known)} of {len(known)} goals that could be measured are met"
    summary = summary if known else "no goal holds for these sizes"
    return ["", *table([head, *cells]), "", summary] if cells else []


def quantity(value: float | None, unit: str) -> str:
    """A time or a size in letters."""
    if value is None:
        return "-"
    if unit == "bytes":
        return f"{value / 1e6:,.1f} MB"
    for size, name in ((1.0, "s"), (1e-3, "ms")):
        if value >= size:
            return f"{value / size:.3g} {name}"
    return f"{value / 1e-6:.3g} us"


def number(value: float | None) -> str:
    """A ratio in letters."""
    return "" if value is None else f"{value:.3g}"


def between(spread: tuple[float, float] | None) -> str:
    """Quartiles of a ratio in letters."""
    return "" if spread is None else f" ({spread[0]:.3g} to {spread[1]:.3g})"
