# %% [markdown]
# # 4. From floats to bits
#
# **Goal.** Turn a trained network into bits and integers, and see that nothing is lost: the
# scores stay the same to the last bit.
#
# Afterwards you can
# - pack a vector of +1 and -1 into a word, and take a dot product with XOR and popcount;
# - run 8-bit pixels through a kernel that knows only bits;
# - replace batch norm and Sign by one comparison of integers.
#
# **Minutes.** 30 to read, 50 for the exercises.
#
# **Prerequisites.** [Notebook 3](03_training_on_mnist.ipynb) (a small network is trained here
# again); binary numbers.
#
# **Equations.** (6) to (8), Algorithm 5, sections 2.6 and 6. (From 6 on, equations have other
# numbers in other versions of the paper. We mean: the first layer's product; the same by bit
# planes; XNOR with popcount.)

# %%
import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before the imports: idle threads sleep
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # small matrices: one thread is faster

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

import qnn_ref
from qnn_ref import bits, course, datasets, plots
from qnn_ref.bits.popcount import popcount
from qnn_ref.experiments import find_recipe
from qnn_ref.experiments.runs import train_recipe
from qnn_ref.grid import PIXELS
from qnn_ref.layers import BatchNorm
from qnn_ref.layers.normalization import normalize
from qnn_ref.packed.thresholds import find_thresholds
from qnn_ref.quantizers import Sign
from qnn_ref.shown import source

# %matplotlib inline
print("qnn_ref", qnn_ref.__version__)

# %% [markdown]
# ## 4.1 Eight values, one word
#
# A vector of +1 and -1 needs one bit for each value: bit 1 means +1, bit 0 means -1. Element 0
# goes to bit 0, the one that counts 1. In the strips below, 1 is black.
#
# **Question.** Which number is $[+1, -1, -1, -1, -1, -1, -1, -1]$?

# %% tags=["question"]
course.answer("4.1a", 1)

# %%
x = np.array([+1, -1, -1, -1, -1, -1, -1, -1])
a = np.array([+1, +1, -1, +1, -1, -1, +1, -1])
for vector in (x, a):
    word = bits.pack(vector)[0]
    print(f"{vector!s:<26} = {word:>3} = {word:08b} in binary")
plots.bits_figure({"x": x > 0, "a": a > 0})

# %% [markdown]
# **Answer.** It is 1. In binary notation bit 0 stands on the *right*, in the strip on the left.
# Both are habits; mixing them up is a classic bug (NumPy's `packbits` starts at the other end of
# each byte).

# %% [markdown]
# **Question.** `pack` takes real numbers too and packs their signs. How many of $[-2, -0.0, 0.0,
# 10^{-45}, 3]$ become +1?

# %% tags=["question"]
course.answer("4.1b", 4)

# %%
word = bits.pack(np.array([-2, -0.0, 0.0, 1e-45, 3], np.float32))[0]
print(f"{word} = {word:05b} in binary")

# %% [markdown]
# **Answer.** Everything but -2 is +1, as eq. (1) says. Reading the float's own sign bit would be
# quicker, and wrong at -0.0.

# %% [markdown]
# **Exercise 4.1.** Write `pack` for one vector, its numbers all +1 or -1. NumPy's `packbits` may
# help, `bits.pack` may not. A vector of 65 numbers needs a second word.


# %% tags=["exercise", "id:4.1"]
def pack_signs(signs):
    """Words, uint64, of K numbers +1 and -1: element i is bit i % 64 of word i // 64."""
    # BEGIN SOLUTION
    bools = np.zeros(-(-len(signs) // 64) * 64, bool)
    bools[: len(signs)] = signs > 0
    return np.packbits(bools, bitorder="little").view("<u8").astype(np.uint64)
    # END SOLUTION


course.check("4.1", pack_signs)

# %% [markdown]
# ## 4.2 A dot product without multiplication
#
# Two factors of $\pm1$ agree, and their product is +1; or they differ, and it is -1. XOR marks
# the pairs that differ, popcount counts them:
#
# $$a \cdot b = \text{agree} - \text{differ} = K - 2\,\mathrm{popcount}(a \oplus b)$$
#
# Below are $K = 8$ pairs.

# %%
b = np.array([+1, -1, -1, +1, +1, -1, +1, +1])
word_a, word_b = bits.pack(a)[0], bits.pack(b)[0]
plots.bits_figure({"a": a > 0, "b": b > 0, "a XOR b": (a > 0) ^ (b > 0)})

# %% [markdown]
# **Question.** Count the black cells of the last strip. What is $a \cdot b$?

# %% tags=["question"]
course.answer("4.2a", 2)

# %%
differ = int(popcount(word_a ^ word_b))
print(f"a XOR b = {word_a ^ word_b:08b}: {differ} pairs differ")
print(f"K - 2 popcount = 8 - 2 * {differ} = {8 - 2 * differ}")
print(f"the ordinary way: {a @ b}")

# %% [markdown]
# **Answer.** Three pairs differ: $8 - 2 \cdot 3 = 2$. A word has 64 bits, so one XOR and one
# popcount replace 64 multiplications and additions. That is the inner step of eq. (8). The paper
# writes XNOR, which marks the pairs that *agree*; it is the same count from the other side.

# %% [markdown]
# **Exercise 4.2.** Write the product of two packed vectors, each of any number of words. To count
# ones there is `popcount`, imported above, or NumPy's `bitwise_count`.


# %% tags=["exercise", "id:4.2"]
def dot(a, b, K):
    """Dot product of two packed vectors of K elements +1 and -1."""
    # BEGIN SOLUTION
    return K - 2 * int(popcount(a ^ b).sum())
    # END SOLUTION


course.check("4.2", dot)

# %% [markdown]
# ## 4.3 Ragged ends
#
# 64 rarely divides $K$. A vector of 70 values fills two words, and 58 bits of the second are left
# over. They are *padding*: always zero, hatched below. The thick line is the end of the first
# word.
#
# **Question.** The kernel does not know where the padding begins. Why is the result right all the
# same? Would it be, with XNOR in the place of XOR?

# %% tags=["question"]
# right with XNOR, without a mask?
course.answer("4.3a", False)

# %%
rng = np.random.default_rng(0)
a, b = rng.choice([-1, 1], (2, 70))
words_a, words_b = bits.pack(a), bits.pack(b)


def all_bits(words: np.ndarray) -> np.ndarray:
    """Every bit of the words, padding included."""
    return bits.unpack(words, 64 * len(words)) > 0


plots.bits_figure(
    {"a": all_bits(words_a), "b": all_bits(words_b), "a XOR b": all_bits(words_a ^ words_b)}, K=70
)

# %%
print(f"70 - 2 * popcount = {70 - 2 * int(popcount(words_a ^ words_b).sum())}, ordinary: {a @ b}")
for K in (1, 63, 64, 65, 70, 128):
    plus, minus = bits.pack(np.ones((1, K))), bits.pack(-np.ones((1, K)))
    print(f"K = {K:>3}: all +1 times all -1 gives {bits.xnor_matmul(plus, minus, K)[0, 0]:>4}")

# %% [markdown]
# **Answer.** Both operands have zeros there, so XOR sees no difference and counts nothing. XNOR
# would count 58 pairs that agree, and would need a mask.

# %% [markdown]
# `xnor_matmul` does this for whole matrices, in a compiled kernel. We compare it with the
# ordinary product of integers. **Expect** a difference of exactly 0: these are integers.

# %%
A, B = rng.choice([-1, 1], (100, 784)), rng.choice([-1, 1], (128, 784))
product = bits.xnor_matmul(bits.pack(A), bits.pack(B), 784)
print(f"shape {product.shape}, dtype {product.dtype}")
print(f"largest difference: {np.abs(product - A @ B.T).max()}")

# %% [markdown]
# ## 4.4 The first layer: eq. (7)
#
# Pixels are not $\pm1$. But a pixel of 8 bits *is* eight bits, and each of them can be a plane of
# its own:
#
# $$x = \sum_{n=1}^{8} 2^{n-1} x^n$$
#
# $$x \cdot w = \sum_{n=1}^{8} 2^{n-1} (x^n \cdot w) \tag{7}$$
#
# The paper counts its planes from 1, we count bits from 0.
#
# **Question.** Which plane shows the digit best? Which one looks like noise?

# %% tags=["question"]
# the bit that shows it best, the bit that looks like noise
course.answer("4.4a", (7, 0))

# %%
mnist = datasets.load("mnist")
image = mnist.test_images[0, ..., 0]
planes = bits.unpack(bits.pixel_planes(image.ravel()), image.size) > 0
plots.planes_figure(image, planes.reshape(8, 28, 28))

# %% [markdown]
# **Answer.** Bit 7 counts 128 and is black where the pixel is at least 128: the digit itself. Bit
# 0 counts 1 and is nearly random where the ink is grey.

# %% [markdown]
# Algorithm 5 feeds each plane to the *same* XNOR kernel: bit 1 is read as +1, bit 0 as -1. Then
# the weighted sum is not $x \cdot w$ but $(2x - 255) \cdot w$. That is no loss: $2x - 255$ runs
# from -255 to 255 in odd steps, it is the pixel scaled to $[-1, 1]$ in units of $1/255$, and the
# network was trained on just that.
#
# **Expect** 0 again.

# %%
w = rng.choice([-1, 1], (1, 784))
by_planes = bits.planes_matmul(bits.pixel_planes(image.reshape(1, -1)), bits.pack(w), 784, PIXELS)
ordinary = (2 * image.ravel().astype(int) - 255) @ w[0]
print(f"by planes {by_planes[0, 0]}, ordinary {ordinary}, difference {by_planes[0, 0] - ordinary}")

# %% [markdown]
# **Exercise 4.3.** Write this sum for one vector of pixels and one of weights. Make the planes
# yourself: eight dot products of signs, each times what its bit counts. A pixel has only 8 bits,
# the sum has more.


# %% tags=["exercise", "id:4.3"]
def planes_product(pixels, w):
    """Algorithm 5's sum over eight bit planes, of 8-bit pixels and weights +1 and -1."""
    # BEGIN SOLUTION
    total = 0
    for n in range(8):
        plane = 2 * ((pixels >> n) & 1).astype(int) - 1
        total += 2**n * int(plane @ w)
    return total
    # END SOLUTION


course.check("4.3", planes_product)

# %% [markdown]
# ## 4.5 Batch norm and Sign become one comparison
#
# Between two binary layers stands $\mathrm{Sign}(\mathrm{BN}(s))$ with an integer $s$. Batch norm
# is a straight line in $s$, with slope of the sign of its gain. So the output jumps once, at a
# threshold $T$.
#
# Three units with the same statistics and shift, but gains 1.5, -1.5 and 0. Black dots are +1.
#
# **Question.** For a positive gain the bit is $s \ge T$. What is it for a negative gain? And for
# gain 0?

# %% tags=["question"]
# for a negative gain: "s >= T", "s < T", "s <= T" or "always 0"
course.answer("4.5a", "s < T")

# %%
norm = BatchNorm().build((3,), dtype=np.float32)
norm.running_mean[:], norm.running_inverse_deviation[:] = 1.2, 0.4
norm.gain.assign([1.5, -1.5, 0.0])
norm.shift.assign([0.7, 0.7, 0.7])


def signs(sums: np.ndarray) -> np.ndarray:
    """What the trained float code says about integer sums."""
    return Sign().quantize(norm.pointwise(sums.astype(np.float32)))


thresholds, turned = find_thresholds(signs, largest=9, channels=3)
sums = np.arange(-9, 10, 2)  # K = 9: odd sums only
grid = np.repeat(sums[:, None], 3, axis=1)
titles = [
    f"gain {g:g}: bit = s {'<' if f else '≥'} {t}"
    for g, t, f in zip(norm.gain.latent, thresholds, turned, strict=True)
]
plots.threshold_figure(
    sums, norm.pointwise(grid.astype(np.float32)), signs(grid), thresholds, titles
)

# %% [markdown]
# **Answer.** A negative gain turns the comparison round; the bit is $s < T$. With gain 0 batch
# norm forgets $s$, and the bit is the sign of the shift, here always +1: the threshold is the
# smallest possible sum.

# %% [markdown]
# The package does not solve $\mathrm{BN}(s) = 0$ for $T$. That formula rounds differently from
# the trained code. It *asks the trained code itself*.

# %% [markdown]
# **Exercise 4.4.** Write this for one unit: find T and whether the comparison is turned, so that
# `(s >= T) != turned` says for every whole s from -K to K where the float code gives +1. Where it
# gives the same for all of them, T is -K. There are so few sums that you can ask about each.


# %% tags=["exercise", "id:4.4"]
def gives_plus(s, gain, shift, mean, r):
    """What the float32 code says about a sum: True for +1. This one is ready."""
    f = np.float32
    return bool(normalize(f(s), f(mean), f(r), f(gain), f(shift)) >= 0)


def threshold(gain, shift, mean, r, K):
    """T and turned."""
    # BEGIN SOLUTION
    plus = [gives_plus(s, gain, shift, mean, r) for s in range(-K, K + 1)]
    if plus[0] == plus[-1]:
        return -K, not plus[0]
    return plus.index(plus[-1]) - K, plus[0]
    # END SOLUTION


course.check("4.4", threshold)

# %% [markdown]
# A layer can have sums up to many thousands, so the package halves the range again and again, for
# all units at once. This is its code:

# %%
print(source(find_thresholds))

# %% [markdown]
# **Expect** no difference, in each of 19 sums and 3 units.

# %%
every = np.repeat(np.arange(-9, 10)[:, None], 3, axis=1)
by_threshold = (every >= thresholds) ^ turned
print("bits that differ:", np.count_nonzero(by_threshold != (signs(every) > 0)))

# %% [markdown]
# **Exercise 4.5.** Put a binary layer together, from packed inputs to packed outputs. `words` holds
# a row for each example, `W` one for each unit. `bits.xnor_matmul` and `bits.pack` may be used.


# %% tags=["exercise", "id:4.5"]
def packed_layer(words, W, K, T, turned):
    """Packed outputs: unit j gives +1 where (s >= T[j]) != turned[j]."""
    # BEGIN SOLUTION
    plus = (bits.xnor_matmul(words, W, K) >= T) ^ turned
    return bits.pack(np.where(plus, 1, -1))
    # END SOLUTION


course.check("4.5", packed_layer)

# %% [markdown]
# ## 4.6 A whole network
#
# We train a small network for a few seconds, pack it, write it to a file and read it back.
#
# **Question.** For how many of the 10,000 test images will all ten scores be equal, bit for bit:
# about 9,900, or all?

# %% tags=["question"]
# "about 9,900" or "all"
course.answer("4.6a", "all")

# %%
small = replace(
    mnist, train_images=mnist.train_images[:8_000], train_labels=mnist.train_labels[:8_000]
)
recipe = replace(find_recipe("mnist-small"), hidden=(128, 128), epochs=3, validation=1_000)
network = train_recipe(recipe, small).best_network()

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "network.qnn"
    qnn_ref.pack(network).save(path)
    packed = qnn_ref.PackedNetwork.load(path)
    file_bytes = path.stat().st_size
print("steps of the packed network:", *(type(stage).__name__ for stage in packed.stages))

# %%
trained_scores, packed_scores = (n.scores(mnist.test_images) for n in (network, packed))
same = np.all(trained_scores.view(np.uint32) == packed_scores.view(np.uint32), axis=1)
print(f"equal, all ten scores, bit for bit: {same.sum():,} of {len(same):,}   (expect all)")
wrong = [100 * np.mean(s.argmax(1) != mnist.test_labels) for s in (trained_scores, packed_scores)]
print(f"test error: trained {wrong[0]:.2f} %, packed {wrong[1]:.2f} %")

# %% [markdown]
# **Answer.** All. `PixelsDense` is section 4.4 (the eight planes' sums come from tables, the same
# integers), `Threshold` 4.5, `XnorDense` 4.2, `Scores` the last batch norm. Each step was exact:
# integers in, integers out, thresholds from the trained code, and the last batch norm in the same
# float arithmetic as in training. "Nearly equal" would be a bug.

# %% [markdown]
# And the file:

# %%
float_bytes = 4 * sum(p.size for p in network.parameters().values() if p.quantizer is not None)
sizes = [f"{n:,} bytes" for n in (float_bytes, file_bytes)]
print(f"the file is {float_bytes / file_bytes:.0f} times smaller (expect 20 to 32)")
plots.bars_figure(
    ["float32 weights", "packed file"], [float_bytes, file_bytes], sizes, "size / bytes"
)

# %% [markdown]
# Not quite 32 times: thresholds, the last batch norm and the names of the arrays need room too.
# In larger networks they matter less.
#
# Eight test images and what the bits say:

# %%
answers = packed.predict(mnist.test_images[:8])
plots.images_figure(mnist.test_images[:8, ..., 0], [str(answer) for answer in answers])

# %% [markdown]
# ## Summary
#
# 1. $a \cdot b = K - 2\,\mathrm{popcount}(a \oplus b)$: 64 products with one XOR and one
#    popcount; zero padding needs no mask.
# 2. Pixels run as eight bit planes; batch norm and Sign become one comparison of integers, turned
#    round where the gain is negative.
# 3. The packed network's scores equal the trained network's bit for bit, in a file 20 to 32 times
#    smaller.
#
# ## More to try
#
# 1. Work out $a \cdot b$ for two vectors of 8 values with `&` and popcount only, as if bits were
#    0 and 1. Which correction do you need to get the $\pm1$ product?
# 2. In 4.4 use bits 7 to 4 only. How far is the sum from the exact one, and what does the test
#    error of a network become if you set the low four bits of all images to 0?
# 3. Why can the integer sums of a layer with $K = 9$ never be even? By how much can you move a
#    threshold without any effect?
#
# ## Reading on
#
# Paper, section 2.6, Algorithm 5 and section 6. In the code: `qnn_ref/bits/words.py`, `gemm.py`
# and `planes.py`, then `qnn_ref/packed/`. The authors' GPU kernel is `binary_kernels.cu`. A
# modern relative: Larq Compute Engine, which runs such networks on phones.
#
# Next: [5. Arithmetic by shifts](05_arithmetic_by_shifts.ipynb).
