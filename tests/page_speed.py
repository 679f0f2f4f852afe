"""A command, no test: how many images a second the page classifies, in a headless Chromium.

python -m tests.page_speed [NETWORK]
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from qnn_ref import PackedNetwork, datasets
from tests import browser
from tests.test_interop_html import show

IMAGES = """(() => {
  const images = Array.from({ length: 200 }, (_, k) =>
    Uint8Array.from({ length: rows * columns }, (_, i) => (k * 31 + i * 17) % 256));
  images.forEach(run);
  const start = performance.now();
  images.forEach(run);
  return 1000 * images.length / (performance.now() - start);
})()"""
PICTURES = """(() => {
  const start = performance.now();
  for (let k = 0; k < 20; k++) draw();
  return (performance.now() - start) / 20;
})()"""


def main(name: str) -> None:
    """Print images a second, and how long a stroke waits for all its pictures."""
    network = PackedNetwork.load(datasets.find_model(name))
    version = subprocess.run([browser.found(), "--version"], capture_output=True, text=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        browser.opened("about:blank", Path(folder)) as page,
    ):
        show(page, network, Path(folder))
        print(f"{version.stdout.strip()}, {name}: {page.ask(IMAGES):.0f} images a second,", end=" ")
        print(f"{page.ask(PICTURES):.0f} ms to show all of one")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "mnist")
