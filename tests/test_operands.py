"""What a kernel reads, and what receives its result."""

import numpy as np
import pytest

from qnn_ref.bits.operands import check_out, check_sums, read_only, room_for


@pytest.mark.parametrize("make", [lambda x: x, lambda x: x[:, ::2], lambda x: x.T])
def test_an_operand_becomes_contiguous_and_read_only_and_the_array_stays_as_it_was(make):
    x = make(np.arange(24.0).reshape(4, 6))
    view = read_only(x)
    np.testing.assert_array_equal(view, x)
    assert view.flags.c_contiguous
    assert not view.flags.writeable
    assert x.flags.writeable
    assert np.shares_memory(view, x) == x.flags.c_contiguous


def test_what_is_read_only_already_is_taken_as_it_is():
    assert read_only(LOCKED) is LOCKED


@pytest.mark.parametrize(("count", "largest"), [(2**31 - 1, 1), (2**16, 2**15 - 1), (1, 2**31 - 1)])
def test_sums_end_below_two_to_the_31(count, largest):
    check_sums("K", count, largest)
    with pytest.raises(ValueError, match=r"^K: sums of .* do not fit in int32"):
        check_sums("K", count, largest + 1)


def test_room_is_new_or_what_the_caller_gave():
    out = np.zeros((2, 3), np.int32)
    assert room_for(out, (2, 3)) is out
    for dtype in (np.int32, np.float64):
        new = room_for(None, (2, 3), dtype)
        assert (new.shape, new.dtype) == ((2, 3), dtype)


LOCKED = np.zeros((2, 3), np.int32)
LOCKED.flags.writeable = False
WIDE = np.zeros((2, 6), np.int32)


@pytest.mark.parametrize(
    "out",
    [
        *(np.zeros((3, 2), np.int32), np.zeros(6, np.int32), np.zeros((2, 3), np.int64)),
        *(
            WIDE[:, ::2],
            np.zeros((3, 2), np.int32).T,
            LOCKED,
            WIDE[:1].reshape(2, 3),
            [[0] * 3] * 2,
        ),
    ],
)
def test_what_cannot_receive_a_result_is_refused(out):
    for check in (check_out, room_for):
        with pytest.raises((TypeError, ValueError), match=r"^out: "):
            check(out, (2, 3), np.int32, WIDE)
