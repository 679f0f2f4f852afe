"""Checks of arguments: what they let through, and what their errors say."""

import math
from fractions import Fraction

import numpy as np
import pytest

from qnn_ref import pack
from qnn_ref.checkpoints import save_checkpoint
from qnn_ref.checks import (
    FLOATS,
    MANY,
    NotFiniteError,
    Setting,
    all_finite,
    check_array,
    check_written,
    choice,
    flag,
    instance,
    plain_array,
    real,
    shape,
    whole,
)
from qnn_ref.layers import BatchNorm, Dense
from qnn_ref.parameter import Parameter


@pytest.mark.parametrize("value", [3, np.int8(3), np.uint64(3), np.array(3)])
def test_whole_numbers_pass_as_int(value):
    assert type(whole("units", value)) is int
    assert whole("units", value, 3, 3) == 3


@pytest.mark.parametrize("value", [True, np.True_, 3.0, np.float32(3), "3", None, [3], Fraction(3)])
def test_what_is_no_whole_number_is_refused_with_its_type(value):
    with pytest.raises(TypeError, match="units: expected a whole number of at least 1, got "):
        whole("units", value, 1)


@pytest.mark.parametrize("value", [0, 9, -1, 2**70])
def test_a_whole_number_outside_its_range_is_refused(value):
    with pytest.raises(ValueError, match=f"bits: expected a whole number from 1 to 8, got {value}"):
        whole("bits", value, 1, 8)


@pytest.mark.parametrize("value", [1, 1.0, np.float32(1), np.int64(1)])
def test_finite_numbers_pass_as_float(value):
    assert type(real("rate", value, above=0, most=1)) is float


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, -math.inf, 0, 1.5, np.float32("nan"), 10**400]
)
def test_a_number_that_is_not_finite_or_outside_is_refused(value):
    with pytest.raises(ValueError, match="rate: expected a finite number above 0 and at most 1"):
        real("rate", value, above=0, most=1)


@pytest.mark.parametrize("value", [True, "1", None, 1j, [1.0]])
def test_what_is_no_real_number_is_refused(value):
    with pytest.raises(TypeError, match="rate: expected a finite number, got "):
        real("rate", value)


@pytest.mark.parametrize(
    ("limits", "inside", "outside"),
    [
        ({"above": 0}, 5e-324, 0.0),
        ({"least": 0}, -0.0, -5e-324),
        ({"below": 1}, math.nextafter(1, 0), 1.0),
        ({"most": 1}, 1.0, math.nextafter(1, 2)),
    ],
)
def test_ends_are_excluded_or_included_as_named(limits, inside, outside):
    assert real("x", inside, **limits) == inside
    with pytest.raises(ValueError, match="x: expected"):
        real("x", outside, **limits)


@pytest.mark.parametrize("size", [0, 1, MANY, MANY + 1, 3 * MANY])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, complex])
def test_one_value_that_is_not_finite_is_seen_among_any_number(size, dtype):
    a = np.full((size, 1), np.finfo(dtype).max, dtype)  # whose squares overflow
    all_finite("w", a)
    if size:
        a[-1] = np.nan
        with pytest.raises(NotFiniteError, match=rf"^w: .*nan.* at \[{size - 1}, 0\]"):
            all_finite("w", a)


def test_the_first_place_that_is_not_finite_is_named():
    a = np.ones((2, 3), np.float32)
    all_finite("w", a)
    all_finite("labels", np.arange(3))
    all_finite("empty", np.zeros((0, 3)))
    a[1, 2], a[1, 0] = np.nan, -np.inf
    with pytest.raises(ValueError, match=r"w: expected finite numbers, got -inf at \[1, 0\]"):
        all_finite("w", a)
    with pytest.raises(ValueError, match=r"gain: expected finite numbers, got nan$"):
        all_finite("gain", np.float64("nan"))


@pytest.mark.parametrize("value", [np.zeros(3), np.zeros(()), np.arange(3, dtype=np.uint8)[::2]])
def test_ordinary_arrays_pass(value):
    plain_array("x", value)


def test_a_memory_map_is_an_ordinary_array(tmp_path):
    np.zeros(4, np.float32).tofile(tmp_path / "x")
    plain_array("x", np.memmap(tmp_path / "x", np.float32, "r"))


class Tensor:
    """Stands for an array of another library."""

    __module__ = "torch.tensors"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([1.0], "got list; numpy.asarray makes one"),
        (Tensor(), "got torch.Tensor; numpy.asarray makes one"),
        (None, "got NoneType"),
        (np.float32(1), "got numpy.float32"),
        (np.ma.masked_array([1.0]), "got numpy.MaskedArray$"),
        (np.zeros((1, 1)).view(np.matrix), "got numpy.matrix$"),
        (np.zeros(1).view(np.recarray), "got numpy.recarray$"),
    ],
)
def test_what_is_no_ordinary_array_is_refused(value, words):
    with pytest.raises(TypeError, match=f"^x: expected a NumPy array, {words}"):
        plain_array("x", value)


@pytest.mark.parametrize("value", [(3, 4), [3, 4], np.array([3, 4]), (np.int8(3), np.uint64(4))])
def test_shapes_pass_as_a_tuple_of_int(value):
    found = shape("input_shape", value)
    assert found == (3, 4)
    assert all(type(n) is int for n in found)


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        (8, TypeError, r"at least 1, like \(8,\), got 8"),
        (np.int64(8), TypeError, r"like \(8,\)"),
        ("8", TypeError, "got '8'"),
        (None, TypeError, "got None"),
        ((8.0,), TypeError, r"got \(8\.0,\)"),
        ((True,), TypeError, r"got \(True,\)"),
        (("8",), TypeError, "got"),
        ([[8]], TypeError, "got"),
        ((), ValueError, "got an empty one"),
        ((8, 0), ValueError, r"got \(8, 0\)"),
        ((-1,), ValueError, "got"),
    ],
)
def test_what_is_no_shape_is_refused(value, error, words):
    with pytest.raises(error, match=f"^input_shape: expected a tuple of whole numbers.*{words}"):
        shape("input_shape", value)


def test_flags_are_true_or_false():
    assert flag("bias", np.True_) is True
    assert flag("bias", False) is False
    for value in (0, 1, "no", None, np.zeros(1, bool)):
        with pytest.raises(TypeError, match=r"^bias: expected True or False, got"):
            flag("bias", value)


def test_a_choice_is_one_of_the_words():
    assert choice("reading", "b", "ab") == "b"
    with pytest.raises(ValueError, match=r"^reading: expected 'a' or 'b', got 'c'"):
        choice("reading", "c", "ab")
    for value in (None, 1, ["a"], {}):
        with pytest.raises(TypeError, match=r"^reading: expected 'a' or 'b', got"):
            choice("reading", value, "ab")
    with pytest.raises(ValueError, match=r"got 'digts'; did you mean 'digits'\?$"):
        choice("recipe", "digts", iter(["mnist", "digits"]))


def test_a_class_is_no_instance():
    assert instance("tensor", value := Tensor(), Tensor) is value
    words = r"^tensor: expected .* Tensor, like Tensor\(1\), got the class Tensor, .*write Tensor\("
    with pytest.raises(TypeError, match=words):
        instance("tensor", Tensor, Tensor, "Tensor(1)")
    with pytest.raises(TypeError, match=r"^tensor: expected an object of Tensor, got str"):
        instance("tensor", "x", Tensor)


def test_the_reason_of_a_range_stands_at_the_end():
    with pytest.raises(ValueError, match=r"from 2 to 8, got 1: one bit is too few$"):
        whole("bits", 1, 2, 8, "one bit is too few")


def test_a_whole_number_beyond_all_floats_is_not_finite():
    with pytest.raises(ValueError, match="rate: expected a finite number, got inf"):
        real("rate", 10**400)


@pytest.mark.parametrize(
    ("shape", "fits"),
    [
        ((2, 3), True),
        ((2, "K"), True),
        (("M", 3), True),
        (("M", np.int64(3)), True),
        (("...", 3), True),
        (("...", 2, 3), True),
        (("...",), True),
        ((3, 2), False),
        (("M", np.int64(4)), False),
        (("M",), False),
        (("...", "B", 2, 3), False),
        (("M", "K", "N"), False),
        ((), False),
    ],
)
def test_shapes_are_sizes_and_letters(shape, fits):
    x = np.zeros((2, 3), np.float32)
    if fits:
        check_array("x", x, FLOATS, shape)
    else:
        with pytest.raises(ValueError, match=r"x: expected shape \(.*\), got \(2, 3\)"):
            check_array("x", x, FLOATS, shape)


@pytest.mark.parametrize("x", [[1.0], None, np.zeros(2, ">f4"), np.zeros(2, int), np.float32(1)])
def test_arrays_of_another_type_are_refused(x):
    with pytest.raises(TypeError, match="x: expected an array of float32 or float64, got "):
        check_array("x", x, FLOATS, ("n",))


def test_what_is_written_to_has_memory_of_its_own():
    x, y = np.zeros(8), np.zeros(8)
    check_written("x", x, y)
    check_written("x", x[:4], x[4:])
    for other in (x, x[::-1], x[2:3], x.view(np.int64)):
        with pytest.raises(ValueError, match="x: expected memory of its own"):
            check_written("x", x, y, other)
    frozen = x.copy()
    frozen.flags.writeable = False
    for wrong in (frozen, x[::2]):
        with pytest.raises(ValueError, match="x: expected a C-contiguous array that can be"):
            check_written("x", wrong)


def test_a_setting_is_checked_when_it_is_set_anew():
    class Rule:
        rate = Setting(above=0, most=1)

        def __init__(self, rate):
            self.rate = rate

    rule = Rule(np.float32(0.5))
    assert type(rule.rate) is float
    for value in (0, 1.5, math.nan, math.inf, True, "1"):
        with pytest.raises((ValueError, TypeError), match="rate: expected a finite number above 0"):
            rule.rate = value
        with pytest.raises((ValueError, TypeError), match="rate: expected a finite number above 0"):
            Rule(value)
    assert rule.rate == 0.5


def test_what_was_made_refuses_nonsense_that_is_set_later():
    parameter, norm = Parameter(np.ones(3, np.float32)), BatchNorm()
    for thing, name, value in (
        (parameter, "learning_rate_scale", -5),
        (parameter, "quantizer", 3),
        (norm, "momentum", -1),
        (norm, "epsilon", math.nan),
    ):
        with pytest.raises((ValueError, TypeError), match=name):
            setattr(thing, name, value)


@pytest.mark.parametrize("network", [None, "x", Dense(3)])
def test_what_is_no_network_is_neither_packed_nor_kept(tmp_path, network):
    with pytest.raises(TypeError, match="network: expected an object of Sequential"):
        pack(network)
    with pytest.raises(TypeError, match="run: expected an object of Run"):
        save_checkpoint(tmp_path / "run.npz", network)
    assert not list(tmp_path.iterdir())
