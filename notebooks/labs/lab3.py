"""Lab 3. One bit in a thousand.

Batch norm and Sign behind a product of bits are folded into one comparison: bit = (s >= T), or s <=
T where the gain is negative. The algebra is right, and the folded layer is nearly always equal to
the float one. Nearly. Which line is to blame, and what must stand there instead?
"""

import numpy as np

K = 64  # pairs of a sum: it lies between -K and K
LINE = 0  # your answer: the number of the line that is wrong in the file as you got it


def would_have_found_it(lab):
    """Your test: asserts that fail on the wrong program and pass on the mended one."""
    pass  # asserts stand here


def batch_norm(s, gain, shift, mean, r):
    """As it was trained, in float32; r is the inverse deviation."""
    return (s.astype(np.float32) - mean) * r * gain + shift


def float_bits(s, layer):
    """What the trained network gives for integer sums s (N, units)."""
    return batch_norm(s, *layer) >= 0


def threshold(turned, gain, shift, mean, r):
    """The border of each unit, among the sums from -K to K."""
    border = mean - shift / (gain * r)  # batch_norm(border) = 0
    return np.where(turned, np.floor(border), np.ceil(border))


def fold(layer):
    """Thresholds of the units, and whether their comparison is turned round."""
    turned = layer[0] < 0
    return threshold(turned, *layer), turned


def folded_bits(s, folded):
    """What the folded layer gives for integer sums s (N, units)."""
    borders, turned = folded
    return np.where(turned, s <= borders, s >= borders)


def a_layer(units, rng):
    """Gain, shift, mean, inverse deviation; many borders lie at a sum, as ties do."""
    gain = (rng.uniform(0.5, 1.5, units) * rng.choice([-1, 1], units)).astype(np.float32)
    mean = rng.uniform(-5, 5, units).astype(np.float32)
    r = rng.uniform(0.1, 0.3, units).astype(np.float32)
    border = rng.integers(-K // 4, K // 4, units).astype(np.float32)
    return gain, (mean - border) * r * gain, mean, r


if __name__ == "__main__":
    rng = np.random.default_rng(0)
    layer = a_layer(1000, rng)
    s = rng.integers(-K, K + 1, (10_000, 1000))
    wrong = float_bits(s, layer) != folded_bits(s, fold(layer))
    print(f"{wrong.sum():,} of {wrong.size:,} bits differ, in {wrong.any(axis=0).sum()} units")
