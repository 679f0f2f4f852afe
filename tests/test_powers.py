"""Products of powers of two with +-1 by shifts: exact, their twin's, and used in backward."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qnn_ref.bits import pack, powers_matmul, to_powers
from qnn_ref.bits.powers import LARGEST_POWER, powers_matmul_reference
from qnn_ref.layers import BatchNorm, Conv2D, Dense, Flatten, MaxPool2D, Pixels, Quantize
from qnn_ref.losses import squared_hinge
from qnn_ref.network import Sequential
from qnn_ref.products import PLAIN, ShiftProducts
from qnn_ref.products import by_shifts as products_module
from qnn_ref.products.by_shifts import shift_product
from qnn_ref.quantizers import LogQuant


def powers(rng, shape, octaves):
    """Zeros and signed powers of two, as Python integers in an object-free int64 array."""
    codes = 2 ** rng.integers(0, octaves + 1, shape) * rng.choice([-1, 1], shape)
    return codes * (rng.random(shape) < 0.8)


@given(
    st.integers(1, 200),
    st.integers(0, 4),
    st.integers(0, 4),
    st.integers(0, 40),
    st.integers(0, 99),
)
def test_product_is_its_twin_and_the_integer_product(K, M, N, octaves, seed):
    rng = np.random.default_rng(seed)
    codes, signs = powers(rng, (M, K), octaves), rng.choice([-1, 1], (N, K))
    planes, b = to_powers(codes), pack(signs)
    out = powers_matmul(*planes, b, K)
    assert out.dtype == np.int64
    assert (out == codes @ signs.T).all()
    assert (out == powers_matmul_reference(*planes, b)).all()


def test_largest_powers_of_one_sign_do_not_overflow():
    codes = np.full((1, 3000), -(2**40))
    out = powers_matmul(*to_powers(codes), pack(np.ones((1, 3000))), 3000)
    assert out.item() == -3000 * 2**40


def test_sums_that_might_not_fit_are_refused_at_the_limit():
    """41 planes of 2^22 - 1 elements are the most: one more of either is refused."""
    K = 2**22 - 1
    row = pack(np.ones((1, K), np.int8))
    assert powers_matmul(row, row[None], row, K).item() == K
    wide = pack(np.ones((1, K + 1), np.int8))
    with pytest.raises(ValueError, match=f"powers: sums of {K + 1} numbers"):
        powers_matmul(wide, wide[None], wide, K + 1)
    short = pack(np.ones((1, 3)))
    planes = np.zeros((41, *short.shape), np.uint64)
    assert powers_matmul(short, planes, short, 3).item() == 0
    with pytest.raises(ValueError, match=r"powers: sums of 3 numbers up to 2\^41"):
        powers_matmul(short, np.concatenate([planes, planes[:1]]), short, 3)


@pytest.mark.parametrize("wrong", [3, -6, 0.5, 2.0**41, np.inf])
def test_what_is_no_power_is_refused(wrong):
    with pytest.raises(ValueError, match="codes: expected 0 or"):
        to_powers(np.array([[1.0, wrong]]))


@pytest.mark.parametrize(
    ("codes", "error"),
    [
        ([[1, 2]], TypeError),
        (np.array([["1"]]), TypeError),
        (np.array([[True]]), TypeError),
        (np.array([1.0]), ValueError),
        (np.array([[[1.0]]]), ValueError),
    ],
)
def test_what_are_no_rows_of_numbers_is_refused(codes, error):
    with pytest.raises(error, match=r"^codes: expected"):
        to_powers(codes)


@pytest.mark.parametrize(("codes", "planes"), [([0, 0], 1), ([0, 1], 1), ([-2, 1], 2), ([8, 0], 4)])
def test_there_are_planes_up_to_the_largest_power(codes, planes):
    assert to_powers(np.array([codes]))[1].shape == (planes, 1, 1)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_both_forms_look_at_each_operand(place):
    name = ("signs", "powers", "b")[place]
    right = [*to_powers(np.array([[1, -2, 0]])), pack(np.ones((2, 3)))]
    wrong = [right[place].astype(np.int64), right[place][0], right[place].tolist()]
    wrong += [np.concatenate([right[place]] * 2, axis=-1)] if place else []
    for one in wrong:
        operands = right[:place] + [one] + right[place + 1 :]
        for call in (powers_matmul_reference, lambda *given: powers_matmul(*given, 3)):
            with pytest.raises((TypeError, ValueError), match=f"^{name}: expected"):
                call(*operands)


def test_operands_that_do_not_fit_are_refused():
    signs, planes = to_powers(np.array([[1, -2, 0]]))
    with pytest.raises(ValueError, match="powers: expected shape"):
        powers_matmul(signs, np.concatenate([planes, planes], axis=1), pack(np.ones((2, 3))), 3)
    with pytest.raises(ValueError, match="b: "):
        powers_matmul(signs, planes, pack(np.ones((2, 70))), 3)
    with pytest.raises(TypeError, match="signs: "):
        powers_matmul(signs.astype(np.int64), planes, pack(np.ones((2, 3))), 3)


@pytest.mark.parametrize(
    ("K", "octaves", "fits"),
    [
        pytest.param(2**22 - 1, 1, True, marks=pytest.mark.slow_without_jit),
        (2**22, 1, False),
        (64, LARGEST_POWER + 1, True),
        (64, LARGEST_POWER + 2, False),
    ],
)
def test_sums_that_may_not_fit_are_refused(K, octaves, fits):
    """So many numbers, or so large a power, each alone: sums stay below 2^62."""
    row = np.full((1, -(-K // 64)), 2**64 - 1, np.uint64)  # all +1
    row[0, -1] >>= np.uint64(-K % 64)
    powers = np.repeat(row[None] * np.uint64(0), octaves, axis=0)
    powers[-1] = row  # every number is the largest power
    if fits:
        assert powers_matmul(row, powers, row, K)[0, 0] == K * 2 ** (octaves - 1)
        return
    with pytest.raises(
        ValueError, match=rf"powers: sums of {K} numbers up to 2\^{octaves - 1} may"
    ):
        powers_matmul(row, powers, row, K)


@given(st.integers(1, 9), st.integers(1, 130), st.integers(0, 99), st.booleans())
def test_shift_product_equals_the_float_product_of_the_quantized_operands(M, K, seed, single):
    rng = np.random.default_rng(seed)
    g = rng.normal(size=(M, K)) * np.exp(rng.normal(scale=3, size=(M, K)))
    q = LogQuant(6, exponent=None).quantize(g.astype(np.float32) if single else g)
    signs = rng.choice([-1, 1], (5, K)).astype(q.dtype)
    product = shift_product(q, signs)
    exact = q.astype(np.float64) @ signs.T.astype(np.float64)
    assert product.dtype == q.dtype
    assert (product == exact.astype(q.dtype)).all()


def test_other_factors_go_the_plain_way():
    rng = np.random.default_rng(0)
    g = LogQuant(4, exponent=None).quantize(rng.normal(size=(3, 8)))
    assert shift_product(g, rng.normal(size=(2, 8))) is None
    assert shift_product(rng.normal(size=(3, 8)), np.ones((2, 8))) is None
    assert shift_product(np.array([[2.0**-30, 2.0**30]]), np.ones((2, 2))) is None
    assert (shift_product(np.zeros((3, 8)), np.ones((2, 8))) == 0).all()
    x, w = rng.normal(size=(3, 4)), rng.normal(size=(4, 8))
    assert (ShiftProducts().input_gradient(g, w) == PLAIN.input_gradient(g, w)).all()
    assert (ShiftProducts().weight_gradient(x, g) == PLAIN.weight_gradient(x, g)).all()


@pytest.mark.parametrize("lowest", [-60, -2, 0, 1, 60])
@pytest.mark.parametrize("octaves", [0, 3, LARGEST_POWER])
def test_powers_of_any_size_are_shifts_if_they_are_near_enough(lowest, octaves):
    """Ones and zeros among them; the next power is too far."""
    g = np.array([[0, 2.0**lowest, -(2.0 ** (lowest + octaves))], [0, 0, 2.0**lowest]])
    signs = np.array([[1.0, 1, -1], [-1, 1, 1]])
    np.testing.assert_array_equal(shift_product(g, signs), g @ signs.T)
    g[1, 1] = 2.0 ** (lowest + LARGEST_POWER + 1)
    assert shift_product(g, signs) is None


@pytest.mark.parametrize("size", [1.0, 4.0])
def test_powers_of_one_size_are_shifts(size):
    g, signs = np.full((2, 5), size), np.ones((3, 5))
    np.testing.assert_array_equal(shift_product(g, signs), np.full((2, 3), 5 * size))


def test_a_network_with_six_bit_gradients_gets_the_same_gradients_by_shifts(monkeypatch):
    rng = np.random.default_rng(1)
    layers = [
        *(Pixels(), Conv2D(6, 3, padding=1), MaxPool2D(), BatchNorm(), Quantize()),
        *(Conv2D(5, 3), BatchNorm(), Quantize(), Flatten()),
        *(Dense(7), BatchNorm(), Quantize(), Dense(4), BatchNorm()),
    ]
    network = Sequential(layers, (8, 8, 2), rng, np.float64)
    network.quantize_gradients(LogQuant(6, exponent=None))
    images, labels = rng.integers(0, 256, (9, 8, 8, 2), dtype=np.uint8), rng.integers(0, 4, 9)
    gradients, by_shifts = [], []

    def watched(g, signs):
        by_shifts.append(honest(g, signs))
        return by_shifts[-1]

    honest = products_module.shift_product
    monkeypatch.setattr(products_module, "shift_product", watched)
    for products in (PLAIN, ShiftProducts()):
        network.use_products(products)
        _, dscores = squared_hinge(network.forward(images, training=True), labels)
        network.backward(dscores)
        gradients.append({n: p.grad.copy() for n, p in network.parameters().items()})
    # dx and dW of three layers; the first layer's pixels are no signs, and it has no dx.
    assert [product is not None for product in by_shifts].count(True) == 6
    plain, shifted = gradients
    for name, gradient in plain.items():
        assert np.abs(gradient - shifted[name]).max() <= 1e-13 * np.abs(gradient).max(), name


def test_a_zero_has_the_sign_of_what_is_not_negative():
    signs, powers = to_powers(np.array([[0, -1, -0.0, 1]]))
    assert signs.tolist() == [[0b1101]]
    assert powers.tolist() == [[[0b1010]]]
