"""Run the rows of `coming_from.md` again, on the libraries that are installed here.

A command, outside the tests: `python docs/coming_from.py [LIBRARY ...]` prints a line for each row,
with what was seen and whether the page says so; the exit code is 1 if one differs. A library that
is not installed is named as not run; of a version that the page does not name it is told what it
does. The rows stand in `rows/`. The versions of the page, in eight environments of Python 3.11:

    pip install torch==2.13.0 brevitas==0.13.4 bitorch==0.4.1 torchao==0.18.0 qonnx==1.0.0 \
        onnxruntime==1.32.0 faiss-cpu==1.15.1 numkong==7.8.6 omnibias-binary==0.1.0a2 \
        omnibias-torch==0.5.0rc1 ninja; pip install --no-deps bnn==0.1.2 qtorch==0.3.0
    pip install torch==2.13.0 numpy==2.4.6; pip install --no-deps bnn-lab==1.0.0
    pip install torch==2.14.1 numpy==2.4.6
    pip install tensorflow-cpu==2.21.0 tf_keras==2.21.0 larq==0.14.0 larq-compute-engine==0.16.0
    pip install tensorflow-cpu==2.21.0 tf_keras==2.21.0 keras==3.15.1 qkeras==0.9.0 pyparsing
    pip install tensorflow-cpu==2.21.0 tf_keras==2.21.0 keras==3.15.1 qkeras-v3==1.2.1
    pip install hls4ml==1.3.0 qonnx==1.0.0
    pip install theano-pymc==1.1.2 lasagne==0.1 "numpy<1.24" "scipy<1.12"

bnn and bnn-lab use one folder, so each has its own. qtorch, hls4ml and Theano call a C++ compiler.
It needs NumPy and nothing of qnn_ref, so that it runs in each of them.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module, metadata

from rows import ROWS, Row

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")  # larq and QKeras need Keras 2
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

for room in ("authors", "graphs", "keras", "torch"):
    import_module(f"rows.{room}")


def asked(item: Row) -> tuple[str, str]:
    """What a row's library does, and the verdict on the page."""
    try:
        version = metadata.version(item.library).split("+")[0]
    except metadata.PackageNotFoundError:
        return "not installed", "not run"
    try:
        seen = item.ask()
    except Exception as error:
        seen = f"{type(error).__name__}: {str(error)[:90]}"
    page = item.page.get(version, item.page.get(""))
    if page is None:
        return f"{version} | {seen}", "another version than the page's"
    return f"{version} | {seen}", "as the page says" if seen == page else f"PAGE: {page}"


def main(libraries: list[str]) -> int:
    """Print the table; 1 if a row is otherwise than the page says."""
    wrong = 0
    for item in ROWS:
        if not libraries or item.library in libraries:
            seen, verdict = asked(item)
            wrong += verdict.startswith("PAGE")
            print(f"{item.library} | {item.question} | {seen} | {verdict}", flush=True)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
