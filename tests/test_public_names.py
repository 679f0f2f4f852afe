"""The package's face: public names are shown, and imported when they are used."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import qnn_ref
from tests.test_floors import FLOORS

PACKAGE = Path(qnn_ref.__file__).parent
GROUND = {room for room, floor in FLOORS.items() if floor == 1} - {"shifts"}
NOT_PUBLIC = GROUND | {"cli", "data", "equations", "progress"}
"""For the package itself, and for the command line. Who adds a room above the ground decides."""


def fresh(code: str) -> str:
    """What a new Python prints."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_dir_shows_every_public_name_and_no_helper():
    rooms = {path.stem for path in PACKAGE.iterdir() if path.suffix in (".py", "")}
    public = {name for name in rooms - NOT_PUBLIC if not name.startswith("_")}
    shown = {name for name in dir(qnn_ref) if not name.startswith("_")}
    assert shown == public | {"PackedNetwork", "Sequential", "pack"}
    assert set(qnn_ref.__all__) <= set(dir(qnn_ref))


@pytest.mark.parametrize("name", [name for name in dir(qnn_ref) if not name.startswith("__")])
def test_what_dir_shows_is_there(name):
    assert getattr(qnn_ref, name) is not None


def test_a_wrong_name_is_an_attribute_error_that_knows_the_near_one():
    with pytest.raises(AttributeError, match="has no attribute 'layer'") as caught:
        qnn_ref.layer  # noqa: B018
    assert (caught.value.name, caught.value.obj) == ("layer", qnn_ref)


def test_import_is_light_and_the_rest_comes_when_it_is_used():
    heavy = "[n for n in ('typing', 'numpy', 'numba', 'matplotlib', 'qnn_ref.layers') if n in m]"
    code = f"import sys, qnn_ref; m = sys.modules; dir(qnn_ref); print({heavy}); "
    code += "print(qnn_ref.layers.Dense.__name__, 'matplotlib' in m)"
    assert fresh(code).splitlines() == ["[]", "Dense False"]


def test_a_star_import_brings_the_few_names_and_hides_none():
    code = "before = dir(); from qnn_ref import *; print(sorted(set(dir()) - set(before)))"
    assert fresh(code) == "['PackedNetwork', 'Sequential', '__version__', 'before', 'pack']"


# Each room


@pytest.mark.parametrize("room", qnn_ref._ROOMS)
def test_dir_of_a_room_is_what_a_user_calls(room):
    module = getattr(qnn_ref, room)
    assert dir(module) == sorted(module.__all__)
    assert len(module.__all__) == len(set(module.__all__))
    for name in module.__all__:
        assert not name.startswith("_")
        thing = getattr(module, name)
        home = thing.__name__ if inspect.ismodule(thing) else type(thing).__module__
        if inspect.isclass(thing) or inspect.isfunction(thing) or hasattr(thing, "__wrapped__"):
            home = thing.__module__
        if room not in HOLDS_VALUES:
            assert home.startswith("qnn_ref"), name  # no alias of a type, no colour, no size


HOLDS_VALUES = {"bench", "checking", "experiments", "interop"}
"""Rooms with tables of what they have: subjects, samples, recipes."""


@pytest.mark.parametrize("room", qnn_ref._ROOMS)
def test_a_room_shows_no_twins(room):
    assert not [name for name in dir(getattr(qnn_ref, room)) if name.endswith("_reference")]
