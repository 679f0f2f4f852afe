"""Reference implementation of *Quantized Neural Networks* (Hubara et al., arXiv 1609.07061).

The paper is the table of contents: the file of a section bears its subject, the function of an
equation its name. Data flow one way: images, layers, loss, gradients, optimizer, pack, words,
kernels, classes.
"""

from __future__ import annotations

TYPE_CHECKING = False  # to import the module typing takes ten times as long as all of this
if TYPE_CHECKING:
    from qnn_ref import (
        bench,
        bits,
        checking,
        checkpoints,
        cost,
        course,
        datasets,
        experiments,
        interop,
        layers,
        losses,
        network,
        optimizers,
        packed,
        parameter,
        plots,
        products,
        quantizers,
        report,
        shares,
        shifts,
        training,
    )
    from qnn_ref.network import Sequential
    from qnn_ref.packed import PackedNetwork, pack

__version__ = "0.2.0"

__all__ = ["PackedNetwork", "Sequential", "__version__", "pack"]

_HOMES = {
    "PackedNetwork": "qnn_ref.packed",
    "Sequential": "qnn_ref.network",
    "pack": "qnn_ref.packed",
}
_ROOMS = (
    *("bench", "bits", "checking", "checkpoints", "cost", "course", "datasets", "experiments"),
    *(
        "interop",
        "language",
        "layers",
        "likelihood",
        "losses",
        "network",
        "optimizers",
        "packed",
        "parameter",
        "plots",
        "products",
    ),
    *("quantizers", "report", "shares", "shifts", "training"),
)
"""Public modules: `import qnn_ref` is enough for `qnn_ref.layers.Dense`."""


def __getattr__(name: str) -> object:
    """Import a public name when it is first used: the command line sets threads before NumPy."""
    import sys
    from importlib import import_module

    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name in _ROOMS:
        return import_module(f"qnn_ref.{name}")
    message = f"module 'qnn_ref' has no attribute {name!r}"
    raise AttributeError(message, name=name, obj=sys.modules[__name__])


def __dir__() -> list[str]:
    """What is public, whether it was used already or not."""
    return sorted([*__all__, *_ROOMS, "__doc__", "__file__", "__name__", "__path__"])
