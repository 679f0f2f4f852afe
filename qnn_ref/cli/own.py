"""`qnn-ref check package.module:Name`: a layer, quantizer or function of one's own."""

from __future__ import annotations

import ast
import contextlib
import importlib
import inspect
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

import qnn_ref
from qnn_ref import Sequential
from qnn_ref._typing import Shape
from qnn_ref.checking import GradientError, Report, check_gradients, torch_function
from qnn_ref.checking.samples import around_bounds
from qnn_ref.checking.subjects import is_quantizer
from qnn_ref.checks import did_you_mean
from qnn_ref.cli.parser import WrongUse
from qnn_ref.layers import Layer

FULL = 2000
"""Elements of all arrays up to which each one is looked at."""
OURS = str(Path(qnn_ref.__file__).parent)


def check_own(spec: str, shapes: list[Shape], seed: int, mode: str | None = None) -> Report:
    """Import, make and check what a name such as `my_layers:Scaled(3)` stands for.

    Parameters
    ----------
    spec : str
        Module and name; behind the name literal arguments, if it needs any.
    shapes : list of shapes
        Of x, or of each array of a function, with the batch; empty for those that it states.
    seed : int
    mode : {"full", "probe", "order"}, optional
        Without one full, or probe where there are many elements.

    Returns
    -------
    Report
    """
    with contextlib.redirect_stdout(sys.stderr):  # what it prints is no part of the answer
        try:
            return _check(spec, shapes, np.random.default_rng(seed), mode)
        except (WrongUse, GradientError):
            raise
        except SystemExit as error:
            raise ValueError(f"{spec}: it ended the program with exit code {error.code}") from None
        except Exception as error:
            raise ValueError(f"{spec}: {_told(error)}") from error


def _told(error: Exception) -> str:
    """An error of somebody else's code in a line, with the place in that code."""
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [f for f in frames if OURS not in f.filename and "importlib" not in f.name]
    if isinstance(error, ValueError | TypeError) and frames[-1] not in theirs:
        return str(error)  # said by a check of ours, with the argument's name
    place = f" ({theirs[-1].filename}:{theirs[-1].lineno})" if theirs else ""
    return f"{type(error).__name__}: {error}{place}"


def _check(spec: str, shapes: list[Shape], rng: np.random.Generator, mode: str | None) -> Report:
    module, name, thing = _found(spec)
    options: dict[str, Any] = {}
    if _is_of_torch(thing):
        options["surrogate"] = _beside(module, name, thing, "surrogate")
        x = _arrays(spec, thing, shapes, rng)
        thing = torch_function(thing)
    elif inspect.isroutine(thing):
        options = _pair(spec, module, name, thing)
        x = _arrays(spec, thing, shapes, rng)
    else:
        x = _input(spec, thing, shapes, rng)
    size = sum(array.size for array in (x if isinstance(x, tuple) else (x,)))
    mode = mode or ("full" if size <= FULL else "probe")
    return check_gradients(thing, x, rng=rng, mode=mode, **options)


def _found(spec: str) -> tuple[ModuleType, str, Any]:
    """The module, the name in it, and the object: made, if it is a class."""
    module_name, _, text = spec.partition(":")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        call = tree if isinstance(tree, ast.Call) else None
        named = tree if call is None else call.func
        if not isinstance(named, ast.Name) or not module_name:
            raise ValueError
        arguments = [ast.literal_eval(a) for a in call.args] if call else []
        keywords = {str(k.arg): ast.literal_eval(k.value) for k in call.keywords} if call else {}
    except (SyntaxError, ValueError):
        raise WrongUse(
            f"NAME: expected module:Name or module:Name(3, bias=True) with plain values, got {spec}"
        ) from None
    module = _imported(module_name)
    if not hasattr(module, named.id):
        near = did_you_mean(named.id, [n for n in vars(module) if not n.startswith("_")])
        raise WrongUse(f"NAME: {module_name} has no {named.id}{near}")
    thing = getattr(module, named.id)
    if call is not None or (isinstance(thing, type) and not _is_of_torch(thing)):
        try:
            inspect.signature(thing).bind(*arguments, **keywords)
        except TypeError as error:
            raise WrongUse(
                f"NAME: {spec}: {error}; arguments stand behind the name: "
                f"'{module_name}:{named.id}{inspect.signature(thing)}'"
            ) from None
        thing = thing(*arguments, **keywords)
    return module, named.id, thing


def _imported(name: str) -> ModuleType:
    """Import a module; the current folder comes first."""
    sys.path.insert(0, "")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        raise WrongUse(
            f"NAME: there is no module {error.name}, neither in the current folder nor installed"
        ) from None
    finally:
        sys.path.remove("")


def _is_of_torch(thing: Any) -> bool:
    return isinstance(thing, type) and any(
        base.__module__.startswith("torch.autograd") for base in thing.__mro__
    )


def _beside(module: ModuleType, name: str, thing: Any, role: str) -> Any:
    """The `role` of a function: its attribute, or the function of that name beside it."""
    for candidate in _candidates(name, role):
        if callable(getattr(module, candidate, None)):
            return getattr(module, candidate)
    return getattr(thing, role, None)


def _candidates(name: str, role: str) -> list[str]:
    stem = name.replace("forward", role)
    return list(dict.fromkeys(n for n in (f"{name}_{role}", stem) if n != name))


def _pair(spec: str, module: ModuleType, name: str, function: Any) -> dict[str, Any]:
    backward = _beside(module, name, function, "backward")
    if backward is None:
        raise WrongUse(
            f"NAME: {spec}: a function needs a backward function of (dy, *arrays) beside it, "
            f"named {' or '.join(_candidates(name, 'backward'))}, or as its attribute `backward`"
        )
    return {"backward": backward, "surrogate": _beside(module, name, function, "surrogate")}


def _shapes(spec: str, thing: Any, shapes: list[Shape], what: str) -> list[Shape]:
    stated = getattr(thing, "example_shape", None)
    if shapes or stated is None:
        if not shapes:
            raise WrongUse(
                f"--shape: {spec}: give the shape of {what}, with the batch, such as "
                "--shape 4,5; or an attribute example_shape = (4, 5)"
            )
        return shapes
    return [tuple(s) for s in stated] if np.ndim(stated[0]) else [tuple(stated)]


def _arrays(spec: str, function: Any, shapes: list[Shape], rng: np.random.Generator) -> Any:
    found = _shapes(spec, function, shapes, "each array")
    arrays = tuple(around_bounds(shape, rng) for shape in found)
    return arrays if len(arrays) > 1 else arrays[0]


def _input(spec: str, thing: Any, shapes: list[Shape], rng: np.random.Generator) -> Any:
    """An input for an object; a layer that is not built yet is built for it."""
    built = getattr(thing, "input_shape", None)
    if isinstance(thing, Layer | Sequential) and built is not None and not shapes:
        shapes = [(4, *built)]
    if is_quantizer(thing) and not shapes and not hasattr(thing, "example_shape"):
        shapes = [(4, 5)]
    shape, *more = _shapes(spec, thing, shapes, "x")
    if more:
        raise WrongUse(f"--shape: {spec}: takes one array, got {1 + len(more)} shapes")
    if isinstance(thing, Layer) and built is None:
        thing.build(shape[1:], rng)
    if isinstance(thing, Sequential) and not thing.layers[0].differentiable:
        return rng.integers(0, 256, shape, dtype=np.uint8)
    return around_bounds(shape, rng, float(getattr(thing, "saturation", 1.0)))
