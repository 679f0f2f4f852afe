"""Lab 4. A frame around every map.

A convolution of +-1 maps with zero padding, in bits. Zero has no bit: the border is padded with +1,
and what the padding added is subtracted again, a small table that the kernel alone decides. Inside
all sums are right. At the border they are not.
"""

import numpy as np

LINE = 0  # your answer: the number of the line that is wrong in the file as you got it


def would_have_found_it(lab):
    """Your test: asserts that fail on the wrong program and pass on the mended one."""
    pass  # asserts stand here


def windows(x, k):
    """All k x k windows (rows, columns, k, k) of a map."""
    return np.lib.stride_tricks.sliding_window_view(x, (k, k))


def correlate(x, w):
    """Sums (rows, columns) of the windows of a map times a kernel (k, k)."""
    return np.einsum("ijkl,kl->ij", windows(x, len(w)), w)


def float_sums(x, w):
    """What the trained network computes: the border counts as 0."""
    return correlate(np.pad(x, len(w) // 2, constant_values=0), w)


def count_sums(bits, w):
    """The same as `correlate`, from bits: K - 2 popcount(x XOR w)."""
    k = len(w)
    differ = windows(bits, k) ^ (w > 0)
    return k * k - 2 * differ.sum(axis=(2, 3))


def outside(shape, w):
    """For each window the sum of those weights that lie outside of the map."""
    frame = np.pad(np.zeros(shape), len(w) // 2)
    return correlate(frame, w)


def bit_sums(x, w):
    """The sums of `float_sums`, from bits."""
    bits = np.pad(x > 0, len(w) // 2, constant_values=True)
    return count_sums(bits, w) - outside(x.shape, w)


if __name__ == "__main__":
    rng = np.random.default_rng(0)
    x, w = rng.choice([-1, 1], (7, 8)), rng.choice([-1, 1], (3, 3))
    print("float sums minus bit sums:")
    print((float_sums(x, w) - bit_sums(x, w)).astype(int))
