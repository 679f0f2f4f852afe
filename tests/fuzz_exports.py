"""Exported files beside the packed networks that they came from, on the other side.

    python -m tests.fuzz_exports onnx --networks 500 --seed 0
    python -m tests.fuzz_exports qonnx --images 10000

Drawn networks (dense, convolutional, branches, pools, one bit and more, float32 and float64), or
one network trained for an epoch on MNIST, as it is and with ties planted, on real test images. ONNX
runs in onnxruntime, at all four levels of optimisation and with one and two threads, and in the
reference evaluator of onnx; QONNX in its own executor, before and after its clean-up. Prints how
many rows of scores are equal bit for bit; ends with 1 if one is not. It stands outside the test
run, which has neither the libraries nor the minutes.
"""

import argparse
import re
import sys
import time
import warnings
from collections import Counter
from functools import partial
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from qnn_ref import Sequential, datasets, pack
from qnn_ref.interop import export
from qnn_ref.layers import BatchNorm, Dense, Flatten, Pixels, Quantize
from qnn_ref.losses import squared_hinge
from qnn_ref.optimizers import Adam
from qnn_ref.training import train_step
from tests.exports import LEVELS, by_onnxruntime, by_qonnx, by_reference, plant_ties
from tests.test_packed_packing import networks, randomize, some_images, train_statistics


def onnx_ways():
    """Every way to run an ONNX file, by name."""
    ways = {
        f"onnxruntime {level}, threads: {threads}": partial(
            by_onnxruntime, level=level, threads=threads
        )
        for level in LEVELS
        for threads in (1, 2)
    }
    return ways | {"onnx reference evaluator": by_reference}


def qonnx_ways():
    """QONNX as it was written, and after its own clean-up."""
    return {
        "qonnx executor": partial(by_qonnx, clean=False),
        "qonnx executor after cleanup_model": partial(by_qonnx, clean=True),
    }


WAYS = {"onnx": onnx_ways, "qonnx": qonnx_ways}
PACKAGES = {"onnx": ("onnx", "onnxruntime"), "qonnx": ("qonnx", "onnx", "onnxruntime")}


FLOATS = {"onnx": [np.float32, np.float64], "qonnx": [np.float32]}


class Counts:
    """Rows of scores that were compared, by the way that made them."""

    def __init__(self, ways):
        self.refused = Counter()
        self.ways, self.equal, self.total = ways, dict.fromkeys(ways, 0), dict.fromkeys(ways, 0)

    def compare(self, form, packed, images):
        """All ways on one network; its bytes are the same twice."""
        data, expected = export(packed, form), packed.scores(images)
        assert data == export(packed, form)
        words = f"u{expected.itemsize}"
        for name, way in self.ways.items():
            found = way(data, images)
            assert (found.dtype, found.shape) == (expected.dtype, expected.shape), name
            rows = np.all(found.view(words) == expected.view(words), axis=1)
            self.equal[name] += int(rows.sum())
            self.total[name] += len(rows)

    def report(self):
        """Print them; whether all were equal."""
        for name, equal in self.equal.items():
            print(f"{name}: {equal:,} of {self.total[name]:,} rows of scores equal bit for bit")
        for reason, count in self.refused.items():
            print(f"refused {count} times: {reason}")
        return self.equal == self.total


def drawn_networks(form, count, start, number):
    """Networks of the strategy that the packed network's own test draws."""
    counts = Counts(WAYS[form]())
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]

    @seed(number)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=slow,
    )
    @given(networks(), st.sampled_from(FLOATS[form]), st.integers(0, 2**32 - 1))
    def one(drawn, dtype, network_seed):
        layers, shape = drawn
        rng = np.random.default_rng(network_seed)
        network = train_statistics(randomize(Sequential(layers, shape, rng, dtype), rng), rng)
        try:
            counts.compare(form, pack(network), some_images(shape, rng))
        except ValueError as error:
            if not str(error).startswith("export: step"):
                raise
            counts.refused[re.sub("step [0-9/]+ ", "", str(error))] += 1

    one()
    print(f"{count:,} drawn networks, seed {number}, {time.perf_counter() - start:.0f} s")
    return counts.report()


def trained_on_mnist(images, labels, number):
    """784-2x128-10 after an epoch of 100 images a step."""
    rng = np.random.default_rng(number)
    hidden = [layer for _ in range(2) for layer in (Dense(128), BatchNorm(), Quantize())]
    network = Sequential(
        [Pixels(), Flatten(), *hidden, Dense(10), BatchNorm()], images.shape[1:], rng
    )
    optimizer = Adam(3e-3)
    for first in range(0, len(images), 100):
        part = slice(first, first + 100)
        train_step(network, optimizer, squared_hinge, images[part], labels[part])
    return network


def real_images(form, count, start, number):
    """A trained network on MNIST, as it is and with ties."""
    data = datasets.load("mnist")
    network = trained_on_mnist(data.train_images, data.train_labels, number)
    images, labels = data.test_images[:count], data.test_labels[:count]
    good = True
    for planted in (False, True):
        network = plant_ties(network, images) if planted else network
        packed, counts = pack(network), Counts(WAYS[form]())
        counts.compare(form, packed, images)
        right = 100 * np.mean(packed.predict(images) == labels)
        what = f"{ties(network, images):,} ties planted" if planted else f"{right:.1f} % right"
        print(f"784-2x128-10, {len(images):,} images of MNIST, {what}")
        good &= counts.report()
    print(f"{time.perf_counter() - start:.0f} s")
    return good


def ties(network, images):
    """Numbers that are exactly 0 where a sign is taken."""
    count, x = 0, images
    for layer in network.layers:
        count += int((x == 0).sum()) if isinstance(layer, Quantize) else 0
        x = layer.forward(x)
    return count


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("form", choices=WAYS)
    parser.add_argument("--networks", type=int, default=0)
    parser.add_argument("--images", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    start, good = time.perf_counter(), True
    for package in (*PACKAGES[chosen.form], "numpy"):
        try:
            print(package, version(package))
        except PackageNotFoundError:
            print(package, "is not installed")
            return 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the other side
        if chosen.networks:
            good &= drawn_networks(chosen.form, chosen.networks, start, chosen.seed)
        if chosen.images:
            good &= real_images(chosen.form, chosen.images, start, chosen.seed)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
