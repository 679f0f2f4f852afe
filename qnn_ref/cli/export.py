"""`qnn-ref export`: a packed network as a file that other programs read."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from qnn_ref.cli.common import answer, check_output
from qnn_ref.cli.parser import WrongUse
from qnn_ref.datasets import find_model
from qnn_ref.files import FileError, atomic_write
from qnn_ref.interop import FORMATS, export
from qnn_ref.packed import PackedNetwork, PackedSequence
from qnn_ref.packed.recurrent_stages import GridRecurrent


def run(args: argparse.Namespace) -> int:
    """Make the whole file in memory, then write it."""
    target, form = check_output(args.output), form_of(args.output, args.format)
    source = str(find_model(args.file))
    if target == Path(os.path.realpath(source)):
        raise ValueError(f"--output: {args.output} is the file that is read")
    data = export(read(source), form)
    with atomic_write(args.output) as file:
        file.write(data)
    packed_bytes = os.path.getsize(source)
    result = {
        "file": args.output,
        "format": form,
        "bytes": len(data),
        "packed_bytes": packed_bytes,
        "reader": FORMATS[form].reader,
    }
    text = (
        f"{args.output}: {len(data):,} bytes for {FORMATS[form].reader}; "
        f"{args.file} has {packed_bytes:,}"
    )
    answer(args, result, text)
    return 0


def form_of(output: str, form: str | None) -> str:
    """The format that was asked for, or that of the file's ending; the two must not disagree."""
    ending = Path(output).suffix.lower()
    of_ending = [name for name, known in FORMATS.items() if known.suffix == ending]
    if form is None and not of_ending:
        known = ", ".join(dict.fromkeys(known.suffix for known in FORMATS.values()))
        raise WrongUse(
            f"--output: expected a name that ends in {known}, or --format beside it, got {output}"
        )
    if form is not None and of_ending and form not in of_ending:
        raise WrongUse(
            f"--output: expected a name that ends in {FORMATS[form].suffix} for --format {form}, "
            f"got {output}"
        )
    return form or of_ending[0]


def read(file: str) -> PackedNetwork:
    """The packed network, or an error that says what else the file is."""
    if os.path.exists(os.path.join(file, "run.json")):
        raise FileError(f"{file}: is a run; first pack it: `qnn-ref pack {file} -o FILE`")
    try:
        return PackedNetwork.load(file)
    except FileError as error:
        if (cell := recurrent_step(file)) is None:
            raise
        raise FileError(
            f"{file}: export: step {cell}: a recurrent network has none of these forms; only "
            "networks for images have one"
        ) from error


def recurrent_step(file: str) -> str | None:
    """Number and kind of the recurrent step of a network for text; None of another file."""
    try:
        stages = PackedSequence.load(file).stages
    except FileError:
        return None
    cells = [i for i, stage in enumerate(stages) if isinstance(stage, GridRecurrent)]
    return f"{cells[0]} (GridRecurrent)" if cells else "0 (Rows)"
