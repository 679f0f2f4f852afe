"""A command, no test: drawn networks exported to C, with sanitizers; MNIST with ties planted.

    python -m tests.fuzz_c 200

draws so many networks of signs and of few bits, dense and convolutional, compiles each and compares
all scores; then the MNIST network that comes along, on all 10,000 test images, as it is and with
thresholds set onto sums that occur.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qnn_ref import PackedNetwork, datasets
from tests import compiled_c
from tests.test_interop_c import with_ties
from tests.test_packed_levels import DTYPES, SEEDS, convolutional, dense, some_images, trained


def drawn(count: int, folder: Path) -> Counter[str]:
    """Compare drawn networks; how many had each kind of step."""
    kinds: Counter[str] = Counter()

    @settings(
        max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(st.one_of(dense(), convolutional()), st.sampled_from(DTYPES), SEEDS)
    def compare(layers, dtype, seed):
        network = trained(*layers, seed, dtype)
        images = some_images(network.input_shape, seed)
        packed = with_ties(network, images)
        scores = compiled_c.sanitized(packed, images, folder)
        compiled_c.assert_equal(packed, images, scores)
        kinds.update({type(stage).__name__ for stage in packed.stages})

    compare()
    return kinds


def mnist(folder: Path) -> None:
    """Compare all test images, with and without ties, by four builds and by the sanitizers."""
    images = datasets.load("mnist").test_images
    packed = PackedNetwork.load(datasets.find_model("mnist"))
    tied = with_ties(packed, images)
    for name, network in {"as it is": packed, "with ties": tied}.items():
        for flags in (["-O2"], ["-O2", "-mpopcnt"], ["-O3", "-march=native"], ["-Os"]):
            _, scores = compiled_c.called(network, images, folder, *flags)
            compiled_c.assert_equal(network, images, scores)
            print(f"mnist {name}, {' '.join(flags)}: {len(images):,} images equal")
        scores = compiled_c.sanitized(network, images, folder)
        compiled_c.assert_equal(network, images, scores)
        print(f"mnist {name}, with sanitizers: {len(images):,} images equal")


def main(count: int) -> None:
    """Run both and print what was compared."""
    with tempfile.TemporaryDirectory() as folder:
        for kind, number in sorted(drawn(count, Path(folder)).items()):
            print(f"{kind:18}{number} networks")
        mnist(Path(folder))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
