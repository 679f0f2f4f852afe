"""Out of the package and in: packed networks as files for other programs, weights from elsewhere.

Every format is one module with one function `export(network) -> bytes`, and one line in `FORMATS`.
What a format cannot express is refused by the name of the step, before a byte is written. Each
`load_*` is a function of one module too, with one line in `_LOADERS`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from qnn_ref.interop.from_qonnx import load_qonnx
    from qnn_ref.interop.weights_keras import load_keras
    from qnn_ref.interop.weights_theano import load_theano, theano_layers
    from qnn_ref.interop.weights_torch import load_torch
    from qnn_ref.packed import PackedNetwork


class Format(NamedTuple):
    """A form for others: the module that makes it, the ending of its files, what reads it."""

    writer: str
    suffix: str
    reader: str


FORMATS = {
    "onnx": Format("qnn_ref.interop.onnx", ".onnx", "onnxruntime and other readers of ONNX"),
    "qonnx": Format("qnn_ref.interop.qonnx", ".onnx", "QONNX and compilers for hardware"),
    "c": Format("qnn_ref.interop.c", ".c", "any compiler of C99"),
    "html": Format("qnn_ref.interop.html", ".html", "any browser"),
}
"""By the name that the command takes; of two with one ending the first is that ending's."""

_LOADERS = {
    "load_keras": "qnn_ref.interop.weights_keras",
    "load_qonnx": "qnn_ref.interop.from_qonnx",
    "load_theano": "qnn_ref.interop.weights_theano",
    "load_torch": "qnn_ref.interop.weights_torch",
    "theano_layers": "qnn_ref.interop.weights_theano",
}
"""Where each of them is; imported when it is used."""

__all__ = [
    "FORMATS",
    "Format",
    "export",
    "load_keras",
    "load_qonnx",
    "load_theano",
    "load_torch",
    "theano_layers",
]
__dir__ = __all__.copy


def __getattr__(name: str) -> object:
    """Import what brings networks in when it is first used."""
    if name in _LOADERS:
        return getattr(import_module(_LOADERS[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name)


def export(network: PackedNetwork, form: str = "onnx") -> bytes:
    """Write a packed network in a form that others read.

    Parameters
    ----------
    network : PackedNetwork
    form : str
        A name of `FORMATS`.

    Returns
    -------
    bytes
        Of the file, the same ones each time.

    Raises
    ------
    TypeError
        If `network` is no packed network.
    ValueError
        If the form cannot express a step of it exactly; the message begins with "export" and names
        the step.
    ModuleNotFoundError
        If a library that writes the form is missing; the message names the extra.
    """
    from qnn_ref.checks import choice, instance  # NumPy: to read the table needs none
    from qnn_ref.packed import PackedNetwork

    instance("network", network, PackedNetwork, "qnn_ref.pack(network)")
    module = import_module(FORMATS[choice("form", form, FORMATS)].writer)
    written: bytes = module.export(network)
    return written
