"""`qnn-ref demo`: the main job on real digits, from training to bits."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qnn_ref import datasets
from qnn_ref.checking import Report, check_gradients
from qnn_ref.cli.common import answer, check_output, save_picture
from qnn_ref.experiments import find_recipe
from qnn_ref.experiments.runs import train_recipe
from qnn_ref.losses import squared_hinge
from qnn_ref.network import Sequential
from qnn_ref.packed import PackedNetwork, identical_scores, pack
from qnn_ref.training import Run, error_rate

RECIPE = {"mnist": "mnist-small", "digits": "digits"}
CHECKED_IMAGES = 32
TIMINGS = 5


@dataclass
class Packed:
    """The packed network, read back from its file, beside the one it came from."""

    network: PackedNetwork
    file_bytes: int
    float_bytes: int
    identical: int
    seconds: float
    float_seconds: float


def run(args: argparse.Namespace) -> int:
    """Do the main job; the answer is no if a gradient is wrong or a score differs."""
    check_output(args.out)
    dataset = load_digits(args)
    recipe = replace(find_recipe(RECIPE[dataset.name]), seed=args.seed)
    if args.epochs is not None:
        recipe = replace(recipe, epochs=args.epochs)
    twin = find_recipe(recipe.name + "-float")
    twin = replace(twin, seed=recipe.seed, epochs=recipe.epochs)
    hidden = "-".join(map(str, recipe.hidden))
    say(f"1/5 training the binary network, {hidden} hidden units, {recipe.epochs} epochs")
    binary = train_recipe(recipe, dataset, progress=True)
    say("2/5 training the float network of the same shape, for as long")
    real = train_recipe(twin, dataset, progress=True)
    network = binary.best_network()
    say("3/5 checking every gradient of the trained network in float64")
    report = check(network, dataset)
    say("4/5 packing it, and comparing both on every test image")
    packed = compare(network, dataset)
    say(f"5/5 drawing {args.out}")
    draw(args.out, dataset, network, packed, {"binary": binary, "float": real})
    result = {
        "dataset": dataset.name,
        "test_error_binary": error_rate(packed.network, dataset.test_images, dataset.test_labels),
        "test_error_float": error_rate(
            real.best_network(), dataset.test_images, dataset.test_labels
        ),
        "gradient_check_worst": report.worst_relative_error,
        "gradient_check_passed": report.passed,
        "scores_identical": packed.identical,
        "scores_total": len(dataset.test_labels),
        "packed_bytes": packed.file_bytes,
        "float_bytes": packed.float_bytes,
        "packed_seconds": packed.seconds,
        "float_seconds": packed.float_seconds,
        "speedup_packed": packed.float_seconds / packed.seconds,
        "picture": args.out,
    }
    answer(args, result, describe(result, len(report.entries)))
    return 0 if report.passed and packed.identical == len(dataset.test_labels) else 1


def say(line: str) -> None:
    """Progress, on standard error."""
    sys.stderr.write(line + "\n")


def load_digits(args: argparse.Namespace) -> datasets.Dataset:
    """MNIST where it is, else the 8x8 digits that every copy carries."""
    if args.dataset is not None:
        return datasets.load(args.dataset, args.data)
    listed = {listing.name: listing.path for listing in datasets.available(args.data)}
    return datasets.load("mnist" if listed["mnist"] else "digits", args.data)


def check(network: Sequential, dataset: datasets.Dataset) -> Report:
    """Check the gradient of every tensor, on a copy, and that of the loss at its scores.

    The network is checked under a random covector: the gradients of a loss that training has
    brought near to 0 would be too small to find a fault in.
    """
    images, labels = dataset.train_images[:CHECKED_IMAGES], dataset.train_labels[:CHECKED_IMAGES]
    rng = np.random.default_rng(0)
    of_network = check_gradients(network, images, rng=rng)
    of_loss = check_gradients(squared_hinge, network.forward(images), labels=labels, rng=rng)
    return Report.joined([of_network, of_loss])


def compare(network: Sequential, dataset: datasets.Dataset) -> Packed:
    """Pack through a file, count equal score rows, and time both, taking turns."""
    images = dataset.test_images
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.qnn"
        pack(network).save(path)
        packed, file_bytes = PackedNetwork.load(path), path.stat().st_size
    identical = identical_scores(network, packed, images)
    turns = [(seconds(network, images), seconds(packed, images)) for _ in range(TIMINGS)]
    float_time, packed_time = (float(median) for median in np.median(turns, axis=0))
    float_bytes = sum(4 * p.size for p in network.parameters().values() if p.quantizer)
    return Packed(packed, file_bytes, float_bytes, identical, packed_time, float_time)


def seconds(network: Sequential | PackedNetwork, images: NDArray[np.uint8]) -> float:
    """Time to classify the images once."""
    start = time.perf_counter()
    network.predict(images)
    return time.perf_counter() - start


def draw(
    path: str,
    dataset: datasets.Dataset,
    network: Sequential,
    packed: Packed,
    runs: dict[str, Run],
) -> None:
    """Write the picture."""
    from qnn_ref import plots  # slow: wrong use is answered without it

    first = next(p for p in network.parameters().values() if p.quantizer)
    shape = dataset.test_images.shape[1:3]
    images = dataset.test_images[:24]
    figure = plots.demo_figure(
        images[..., 0],
        packed.network.predict(images).tolist(),
        first.quantized.T[:24].reshape(-1, *shape),
        {name: run.history for name, run in runs.items()},
        packed.float_bytes,
        packed.file_bytes,
        packed.float_seconds,
        packed.seconds,
    )
    save_picture(path, figure)


def describe(result: dict[str, Any], tensors: int) -> str:
    """The answer in words."""
    verdict = "passed" if result["gradient_check_passed"] else "FAILED"
    ratio = result["float_bytes"] / result["packed_bytes"]
    return "\n".join(
        [
            f"data            {result['dataset']}, {result['scores_total']:,} test images",
            f"test error      binary {result['test_error_binary']:.2f} %, "
            f"float {result['test_error_float']:.2f} %",
            f"gradient check  {verdict}: {tensors} tensors, worst relative error "
            f"{result['gradient_check_worst']:.1e}",
            f"packed scores   {result['scores_identical']:,} of {result['scores_total']:,} "
            "equal those of the trained network bit for bit",
            f"size            {result['packed_bytes']:,} bytes packed, {result['float_bytes']:,} "
            f"as float32 weights: 1/{ratio:.1f}",
            f"prediction      {1000 * result['packed_seconds']:.0f} ms packed, "
            f"{1000 * result['float_seconds']:.0f} ms in NumPy float32: "
            f"{result['speedup_packed']:.1f} times faster",
            f"picture         {result['picture']}",
        ]
    )
