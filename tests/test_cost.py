"""Repeated filters: counted by hand, by brute force, and against the expectation of chance."""

from itertools import product

import numpy as np
import pytest

from qnn_ref.cost import (
    expected_unique_share,
    filter_forms,
    filter_operations,
    form_filters,
    unique_filters,
)


def random_codes(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).choice([-1.0, 1.0], shape)


def test_each_form_of_2x2_has_its_number():
    """All 16 of them: the first tap is bit 0, and +1 is a 1."""
    every = np.array(list(product([-1, 1], repeat=4)))[:, ::-1]  # the first tap runs fastest
    forms = filter_forms(every.T.reshape(2, 2, 1, 16))
    assert forms.shape == (1, 16)
    assert forms.dtype == np.int64
    assert forms[0].tolist() == list(range(16))


def test_taps_are_numbered_in_the_order_of_reading():
    codes = -np.ones((2, 3, 1, 6))
    for t in range(6):
        codes[t // 3, t % 3, 0, t] = 1
    assert filter_forms(codes).tolist() == [[1, 2, 4, 8, 16, 32]]


def test_the_negative_form_is_the_complement():
    codes = random_codes((3, 3, 4, 5))
    np.testing.assert_array_equal(filter_forms(codes) + filter_forms(-codes), 511)


def test_a_number_gives_its_form_back():
    codes = random_codes((3, 2, 4, 5))
    filters = form_filters(filter_forms(codes), (3, 2))
    assert filters.shape == (4, 5, 3, 2)
    np.testing.assert_array_equal(np.moveaxis(filters, (2, 3), (0, 1)), codes)
    assert form_filters(np.int64(5), (2, 2)).tolist() == [[1, -1], [1, -1]]


def test_shares_by_hand():
    """Two maps, four filters each; forms 1 and 14 are negatives of each other."""
    forms = np.array([[1, 1, 14, 3], [1, 2, 4, 8]])
    codes = np.where(forms >> np.arange(4)[:, None, None] & 1, 1, -1).reshape(2, 2, 2, 4)
    np.testing.assert_array_equal(filter_forms(codes), forms)
    shares = unique_filters(codes)
    assert shares.per_layer == 6 / 8  # 1, 2, 3, 4, 8, 14
    assert shares.per_map == (3 / 4 + 4 / 4) / 2
    assert shares.per_map_up_to_sign == (2 / 4 + 4 / 4) / 2


def test_shares_against_tuples():
    """Brute force: filters as tuples, in sets."""
    codes = random_codes((2, 2, 3, 30))
    filters = [[tuple(codes[:, :, c, n].ravel()) for n in range(30)] for c in range(3)]
    up_to_sign = [[max(f, tuple(-np.array(f))) for f in row] for row in filters]
    shares = unique_filters(codes)
    assert shares.per_layer == len(set().union(*filters)) / 90
    assert shares.per_map == pytest.approx(np.mean([len(set(row)) for row in filters]) / 30)
    expected = np.mean([len(set(row)) for row in up_to_sign]) / 30
    assert shares.per_map_up_to_sign == pytest.approx(expected)


def test_equal_filters_are_one():
    shares = unique_filters(np.ones((3, 3, 2, 8)))
    assert shares == (1 / 16, 1 / 8, 1 / 8)


def test_operations_with_each_filter_once():
    """The two maps of above: 4 and 3 of four differ, 4 and 2 up to the sign; four taps each."""
    forms = np.array([[1, 1, 14, 3], [1, 2, 4, 8]])
    codes = np.where(forms >> np.arange(4)[:, None, None] & 1, 1, -1).reshape(2, 2, 2, 4)
    found = filter_operations(codes)
    assert found == (4 * 8, 4 * (3 + 4), 4 * (2 + 4), 8)
    assert found.saving == 8 / 6
    random = filter_operations(random_codes((3, 3, 8, 16)))
    forms = filter_forms(random_codes((3, 3, 8, 16)))
    up_to_sign = np.minimum(forms, 511 - forms)
    assert random.per_map == 9 * sum(len(set(row)) for row in forms.tolist())
    assert random.per_map_up_to_sign == 9 * sum(len(set(row)) for row in up_to_sign.tolist())


@pytest.mark.parametrize(
    ("filters", "forms", "share"),
    [
        (1, 512, 1.0),
        (5, 1, 0.2),
        (2, 2, 0.75),  # equal half of the time
        (128, 512, 0.89),
        (256, 512, 0.79),
        (512, 512, 0.63),
        (128, 256, 0.79),
        (256, 256, 0.63),
        (512, 256, 0.43),
    ],
)
def test_expectation(filters, forms, share):
    assert expected_unique_share(filters, forms) == pytest.approx(share, abs=0.005)


def test_random_filters_have_the_expected_shares():
    shares = unique_filters(random_codes((3, 3, 64, 256)))
    assert shares.per_map == pytest.approx(expected_unique_share(256, 512), abs=0.01)
    assert shares.per_map_up_to_sign == pytest.approx(expected_unique_share(256, 256), abs=0.01)
    assert shares.per_layer == 512 / (64 * 256)  # so many that every form is there


@pytest.mark.parametrize(
    ("codes", "words"),
    [
        (np.ones((3, 3, 2)), "shape"),
        (np.ones((8, 8, 1, 1)), "62 taps"),
        (np.full((3, 3, 1, 1), 0.5), "binary"),
        (np.full((3, 3, 1, 1), np.nan), "binary"),
    ],
)
def test_what_is_no_binary_filter_is_refused(codes, words):
    for function in (filter_forms, unique_filters, filter_operations):
        with pytest.raises(ValueError, match=words):
            function(codes)


def test_no_filters_have_no_share():
    with pytest.raises(ValueError, match="at least one filter"):
        unique_filters(np.ones((3, 3, 0, 4)))
    with pytest.raises(ValueError, match="at least 1"):
        expected_unique_share(0, 512)
    with pytest.raises(ValueError, match="at least 1"):
        expected_unique_share(3, 0)
