# %% [markdown]
# # 6. Convolutions of bits
#
# **Goal.** Run a convolution on bits, border included, and see that nothing is lost; then look
# inside a small convolutional network: its feature maps, and how often its filters repeat.
#
# Afterwards you can
# - write a convolution as one matrix product, and find each pixel's gradient in it;
# - say why zero padding has no bit, and correct for it exactly;
# - pool bits with OR and AND, and count repeated filters in three ways.
#
# **Minutes.** 35 to read, 40 for the exercises.
#
# **Prerequisites.** [Notebook 4](04_floats_to_bits.ipynb): words, XOR and popcount, thresholds.
# What a convolution is.
#
# **Equations.** (7) and (8) for each window, Algorithm 5; sections 2.6, 4.2 and 5.3. (From 6 on,
# equations have other numbers in other versions of the paper: notebook 4 says which we mean.)

# %%
import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before the imports: idle threads sleep
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # small matrices: one thread is faster

import numpy as np
from IPython.display import display
from ipywidgets import IntSlider
from matplotlib.figure import Figure

import qnn_ref
from qnn_ref import bits, course, datasets, plots
from qnn_ref.cost import expected_unique_share, filter_forms, form_filters, unique_filters
from qnn_ref.geometry import add_windows, output_size, pad_images, taps, windows
from qnn_ref.grid import PIXELS
from qnn_ref.layers import BatchNorm, Conv2D, Dense, Flatten, MaxPool2D, Pixels, Quantize
from qnn_ref.losses import squared_hinge
from qnn_ref.optimizers import Adam, ExponentialDecay
from qnn_ref.packed import identical_scores
from qnn_ref.packed.shape_stages import MaxPool
from qnn_ref.quantizers import Sign
from qnn_ref.shown import source
from qnn_ref.training import Run, train

# %matplotlib inline
print("qnn_ref", qnn_ref.__version__)

# %% [markdown]
# ## 6.1 A window is a row
#
# A convolution lays its kernel on the image at many places. What it covers at one of them is a
# *window*. Written out, a window is a row of numbers, and all windows together are a matrix. The
# kernel, written out the same way, is a column; so the convolution is a product of matrices, like a
# dense layer. (The kernel is not flipped, here as in every network.)
#
# Below, an image of $5 \times 5$ pixels with the numbers 1 to 25, and a kernel of $3 \times 3$.
#
# **Question.** How many places has the window? Which row begins with pixel 13?

# %% tags=["question"]
# number of places, and number of the row (from 0)
course.answer("6.1a", (9, 8))

# %%
image = np.arange(1, 26).reshape(1, 5, 5, 1)  # batch, height, width, channels


def plot_window(place: int = 0, stride: int = 1, padding: int = 0) -> Figure:
    """One window of the 5 x 5 image, and its row."""
    padded = pad_images(image, (padding, padding), 0)
    rows = windows(padded, (3, 3), (stride, stride)).reshape(-1, 9)
    steps = (stride, stride), (padding, padding)
    return plots.windows_figure(padded[0, ..., 0], rows, place, (3, 3), *steps)


plot_window(place=5)

# %% [markdown]
# **Answer.** $3 \times 3 = 9$, and the last, number 8. Each pixel stands in several rows, pixel 13
# in all nine. So the matrix is larger than the image, here 81 numbers for 25. That is the price of
# making everything a product.

# %% [markdown]
# We compare the product with a sum window by window. **Expect** 0.

# %%
w = np.random.default_rng(0).choice([-1, 1], (3, 3))
by_product = windows(image, (3, 3), (1, 1)).reshape(9, 9) @ w.reshape(9)
by_sums = [(image[0, i : i + 3, j : j + 3, 0] * w).sum() for i in range(3) for j in range(3)]
print("largest difference:", np.abs(by_product - by_sums).max(), "  (expect 0)")

# %% [markdown]
# With *stride* 2 the window moves by two pixels; *padding* 1 puts a border of zeros around the
# image (hatched). On an axis of $n$ pixels a kernel of $k$, padding $p$ on both sides and stride
# $s$ have
#
# $$\left\lfloor \frac{n + 2p - k}{s} \right\rfloor + 1 \text{ places.}$$
#
# **Question.** How many are there for $n = 5$, $k = 3$, $p = 1$, $s = 2$? And for $s = 1$?

# %% tags=["question"]
# stride 2, stride 1
course.answer("6.1b", (3, 5))

# %%
for stride in (1, 2):
    size = output_size((5, 5), (3, 3), (stride, stride), (1, 1))
    print(f"stride {stride}, padding 1: {size[0]} x {size[1]} places")
plot_window(place=2, stride=2, padding=1)

# %% [markdown]
# **Answer.** With stride 2 three, with stride 1 five: a kernel of 3 with padding 1 keeps the size.
# That is what the networks of section 4.2 use throughout.

# %% [markdown]
# In a running notebook, move the slider and follow the window.

# %%
picture = display(plot_window(4, stride=2, padding=1), display_id=True)
slider = IntSlider(value=4, min=0, max=8, description="window")
slider.observe(lambda change: picture.update(plot_window(change.new, 2, 1)), "value")
slider

# %% [markdown]
# **Exercise 6.1.** Write the matrix of all windows, for an image of any size with any number of
# channels. `kernel` and `stride` are pairs, the first for rows.


# %% tags=["exercise", "id:6.1"]
def window_rows(image, kernel, stride):
    """All windows of an image (height, width, channels), one a row, in the order of reading."""
    # BEGIN SOLUTION
    rows = []
    for i in range(0, image.shape[0] - kernel[0] + 1, stride[0]):
        for j in range(0, image.shape[1] - kernel[1] + 1, stride[1]):
            rows.append(image[i : i + kernel[0], j : j + kernel[1]].ravel())
    return np.array(rows)
    # END SOLUTION


course.check("6.1", window_rows)

# %% [markdown]
# The package's own has no loop: NumPy can look at the same memory in another order, and nothing is
# copied before somebody asks for rows.

# %%
print(source(windows))

# %% [markdown]
# **Backward.** The gradient of a product is a product: one row of gradients a window. Each number
# of it belongs to a pixel, and a pixel that stands in several windows gets the sum
# (`add_windows`).
#
# **Question.** An image of $6 \times 6$, kernel 3, stride 2, no padding. In how many windows does
# the pixel stand that is in most? How many pixels are in none, and what is their gradient?

# %% tags=["question"]
# windows of the pixel that is in most, pixels that are in none
course.answer("6.1c", (4, 11))

# %%
count = add_windows(np.ones((1, 2, 2, 3, 3, 1)), (1, 6, 6, 1), (2, 2))
layer = Conv2D(1, 3, stride=2, weight_quantizer=None).build(
    (6, 6, 1), np.random.default_rng(0), dtype=np.float64
)
layer.weight.assign(np.ones((3, 3, 1, 1)))
y = layer.forward(np.arange(36.0).reshape(1, 6, 6, 1), training=True)
dx = layer.backward(np.ones_like(y))
print("gradient of x = number of windows:", np.array_equal(dx, count), "  (expect True)")
plots.arrays_figure(
    {
        "windows that hold the pixel": count[0, ..., 0],
        "output": y[0, ..., 0],
        r"$\delta_w$": layer.weight.grad[..., 0, 0],
    }
)

# %% [markdown]
# **Answer.** One pixel stands in all four windows. The last row and column, 11 pixels, stand in
# none: the next window would leave the image. Their gradient is 0, and it must be there: whoever
# computes the size of the image back from the size of the output gets $5 \times 5$ and forgets
# them.
#
# With a kernel and a gradient of ones, each pixel's gradient counts its windows; $\delta_w$ sums
# what each tap of the kernel has seen.

# %% [markdown]
# **Exercise 6.2.** Write the way back: from the gradients of the rows of exercise 6.1 to the
# gradient of an image of this shape (height, width, channels).


# %% tags=["exercise", "id:6.2"]
def add_rows(rows, shape, kernel, stride):
    """Gradient of the image: each pixel gets the sum over the windows that hold it."""
    # BEGIN SOLUTION
    image, number = np.zeros(shape), 0
    for i in range(0, shape[0] - kernel[0] + 1, stride[0]):
        for j in range(0, shape[1] - kernel[1] + 1, stride[1]):
            window = rows[number].reshape(*kernel, shape[2])
            image[i : i + kernel[0], j : j + kernel[1]] += window
            number += 1
    return image
    # END SOLUTION


course.check("6.2", add_rows)

# %% [markdown]
# The package's own goes through the taps of the kernel instead of the windows, 9 steps for a kernel
# of 3 and any image: tap number 4 of all windows, say, is every second pixel with stride 2.

# %%
print(source(taps))
print()
print(source(add_windows))

# %% [markdown]
# ## 6.2 Zero has no bit
#
# In a binary network the image is $\pm1$, one bit a pixel. But the authors pad with zeros: at the
# border a tap sees -1, 0 or +1. Zero is not one of our two values.
#
# **Question.** Let the image be $3 \times 3$, all +1, and the kernel as well. What are the nine
# sums with a border of 0? Of +1? Of -1?

# %% tags=["question"]
# the sum in a corner, with a border of 0, of +1 and of -1
course.answer("6.2a", (4, 9, -1))

# %%
ones = np.ones((1, 3, 3, 1), int)
padded = {
    f"border {value:+d}" if value else "border 0": pad_images(ones, (1, 1), value)
    for value in (0, 1, -1)
}
plots.borders_figure({title: x[0, ..., 0] for title, x in padded.items()}, (1, 1))

# %%
plots.arrays_figure(
    {title: windows(x, (3, 3), (1, 1)).sum(axis=(3, 4, 5))[0] for title, x in padded.items()}
)

# %% [markdown]
# **Answer.** In a corner only 4 of the 9 taps lie in the image, at an edge 6. So the sums are 4, 6
# and 9. A border of +1 makes all of them 9; one of -1 gives $4 - 5 = -1$ and $6 - 3 = 3$.

# %% [markdown]
# Whoever packs the image with its zeros gets wrong sums without a warning: Sign(0) is +1, so
# `pack` makes +1 of them. It is no rarity either. Below, the share of sums that a border changes,
# for kernel 3, padding 1 and the sizes of the CIFAR-10 network.

# %%
by_mistake = bits.xnor_conv(
    bits.pack(padded["border 0"]), bits.pack_kernel(np.ones((3, 3, 1, 1))), 1
)
print("zeros packed by mistake, sums:", *np.unique(by_mistake))
for n in (32, 16, 8):
    inside = windows(pad_images(np.ones((1, n, n, 1)), (1, 1), 0), (3, 3), (1, 1)).min(axis=(3, 4))
    print(f"{n:>2} x {n:<2} pixels: {100 * (inside == 0).mean():.0f} % of the sums")

# %% [markdown]
# ## 6.3 The correction
#
# A bit must stand outside, so we choose +1. Then each sum is wrong by what the taps outside have
# added, and that is the sum of *their weights*. It does not depend on the image, only on the place
# of the window. So we take it away again:
#
# $$\sum_{\text{taps inside}} x\,w \;=\; \sum_{\text{all taps}} x\,w \;-\;
# \sum_{\text{taps outside}} w \qquad (x = +1 \text{ outside})$$
#
# The picture shows the kernel at each of the nine places of an image of $3 \times 3$. Hatched taps
# are outside.
#
# **Question.** What is the sum in the centre, for any kernel? How many other numbers does an image
# of $32 \times 32$ need?

# %% tags=["question"]
# numbers besides that of the centre
course.answer("6.3a", 8)

# %%
rng = np.random.default_rng(3)
w = np.array([[1, -1, -1], [1, 1, -1], [1, 1, -1]]).reshape(3, 3, 1, 1)
kernel = bits.pack_kernel(w)
table = bits.outside_sums(kernel, 1, (3, 3), stride=1, padding=1)
inside = windows(pad_images(np.ones((1, 3, 3, 1)), (1, 1), 0), (3, 3), (1, 1))[0, ..., 0] > 0
plots.outside_figure(w[..., 0, 0], inside, table[..., 0])

# %% [markdown]
# **Answer.** 0: nothing is outside. A larger image has the same nine numbers, four for its corners,
# four for its edges, and 0 for all the rest.

# %% [markdown]
# Now an image. We convolve its bits with +1 outside, take the table away, and compare with the
# float layer, which pads with zeros. **Expect** 0.

# %%
x = rng.choice([-1.0, 1.0], (1, 3, 3, 1))
layer = Conv2D(1, 3, padding=1).build((3, 3, 1), rng, Sign().encoding)
layer.weight.assign(w)
float_sums = layer.forward(x.astype(np.float32))
all_taps = bits.xnor_conv(bits.pack(x), kernel, 1, padding=1, pad_value=1)
print("largest difference:", np.abs(all_taps - table - float_sums).max(), "  (expect 0)")
plots.arrays_figure(
    {
        "all taps": all_taps[0, ..., 0],
        "− taps outside": table[..., 0],
        "= taps inside": float_sums[0, ..., 0],
    }
)

# %% [markdown]
# **Exercise 6.3.** Write the table, for any kernel (height, width) and one channel, with stride 1.
# You need no image for it, only its size.


# %% tags=["exercise", "id:6.3"]
def outside_sums(w, size, padding):
    """For each place of the kernel w, the sum of its weights whose taps are outside."""
    # BEGIN SOLUTION
    outside = np.pad(np.zeros(size, int), padding, constant_values=1)
    places = [n + 2 * padding - k + 1 for n, k in zip(size, w.shape, strict=True)]
    table = np.zeros(places, int)
    for i, j in np.ndindex(*places):
        table[i, j] = (w * outside[i : i + w.shape[0], j : j + w.shape[1]]).sum()
    return table
    # END SOLUTION


course.check("6.3", outside_sums)

# %% [markdown]
# `xnor_conv` does both steps by itself; its `pad_value` is 0 unless you say otherwise. The table is
# made once for a size of image.
#
# There is another way out: *pad with +1 in training too*, `Conv2D(..., one_padding=True)`. Then no
# correction is needed. But it is another network: one that was trained with zeros has to be run
# with zeros.

# %% [markdown]
# ## 6.4 Bits along the channels
#
# One bit a pixel would be a poor use of words. But inside a network a pixel has many channels, and
# *their* bits go into words. Here is a pixel with 70 channels: the thick line ends the first word,
# the padding bits are hatched.

# %%
pixel = rng.choice([-1, 1], 70)
print("words of a pixel:", bits.pack(pixel).size)
plots.bits_figure({"pixel": bits.unpack(bits.pack(pixel), 128) > 0}, K=70)

# %% [markdown]
# The 58 bits left over are 0 in image and kernel, so XOR sees nothing there, as in notebook 4.
#
# **Question.** Such an image lies in memory pixel by pixel, line by line. In how many pieces does a
# window of $3 \times 3$ lie there, and how long are they? With 128 channels, how many bytes has a
# row of the matrix of windows as float32, and how many as words?

# %% tags=["question"]
# pieces, and words in each, with two words a pixel
course.answer("6.4a", (3, 6))

# %%
addresses = np.arange(4 * 5 * 2).reshape(4, 5, 2)  # the number of each word in memory
row = windows(addresses[None], (3, 3), (1, 1))[0, 1, 2].ravel()
plots.runs_figure(addresses, row, (1, 2), (3, 3))

# %% [markdown]
# **Answer.** In three runs of $3 \times 2 = 6$ words. A row is made by copying three runs, and its
# product is one XOR and one popcount a word. As float32 it has $9 \cdot 128 \cdot 4 = 4{,}608$
# bytes, as words $9 \cdot 2 \cdot 8 = 144$: a 32nd.

# %% [markdown]
# Now all of it at once: ragged channels, a kernel of $3 \times 2$, stride 2 along one axis, zero
# padding. **Expect** 0 in each line: these are integers.

# %%
for channels in (1, 3, 63, 64, 65, 128, 200):
    x = rng.choice([-1.0, 1.0], (4, 9, 8, channels)).astype(np.float32)
    layer = Conv2D(10, (3, 2), stride=(2, 1), padding=(1, 1))
    layer.build(x.shape[1:], rng, Sign().encoding)
    by_bits = bits.xnor_conv(
        bits.pack(x), bits.pack_kernel(layer.weight.codes), channels, (2, 1), (1, 1)
    )
    differ = np.count_nonzero(by_bits != layer.forward(x))
    print(f"{channels:>3} channels: {differ} of {by_bits.size} sums differ")

# %% [markdown]
# **The first layer** sees pixels of 8 bits. Each of their bits is a plane of its own, eq. (7), and
# each plane is an image of bits. With three channels a plane would fill 3 of 64 bits of each word;
# so the package writes windows out as bytes and sums with tables, the same integers.
#
# The pixel $p$ is the odd integer $2p - 255$, and *again* zero is not among the values.
#
# **Question.** Which value would you put outside, and what is then to be taken away?

# %% tags=["question"]
course.answer("6.4b", 255)

# %%
photo = rng.integers(0, 256, (2, 9, 8, 3), dtype=np.uint8)
layer = Conv2D(10, 3, padding=1).build((9, 8, 3), rng, Pixels(scale=1).output_encoding(None))
kernel = bits.pack_kernel(layer.weight.codes)
by_floats = layer.forward(2 * photo.astype(np.float32) - 255)
by_bytes = bits.pixels_conv(photo, kernel, padding=1)
by_planes = bits.planes_conv(bits.pixel_planes(photo), kernel, 3, PIXELS, padding=1)
for name, sums in (("by bytes", by_bytes), ("by planes", by_planes)):
    print(f"{name}: largest difference {np.abs(sums - by_floats).max()}   (expect 0)")

# %% [markdown]
# **Answer.** 255, the largest, because its bits are all 1. Taken away is 255 times the table of
# 6.3.

# %% [markdown]
# ## 6.5 Max pool, with OR and AND
#
# A max pool keeps the largest of each window; with size 2 and stride 2 windows do not overlap. In
# the paper it stands *before* batch norm and Sign.
#
# **Question.** Why not after Sign? Think of four random signs: what is their maximum, most of the
# time?

# %% tags=["question"]
# the maximum of four random signs, most of the time
course.answer("6.5a", 1)

# %%
sums = rng.choice([-1.0, 1.0], (1000, 4, 4, 144)).sum(axis=3, keepdims=True)
pool = MaxPool2D(2).build((4, 4, 1), dtype=np.float64)
pooled = pool.forward(sums)
after, before = pool.forward(Sign().quantize(sums)), Sign().quantize(pooled - pooled.mean())
print(f"share of +1, pool after Sign:  {100 * (after > 0).mean():.0f} %   (expect 93 to 96)")
print(f"share of +1, pool before both: {100 * (before > 0).mean():.0f} %   (expect 40 to 60)")
zero = (sums == 0).mean()
by_hand = 1 - (0.5 - zero / 2) ** 4
print(f"{100 * zero:.1f} % of the sums are 0; with Sign(0) = +1 four signs have a +1", end="")
print(f" in {100 * by_hand:.1f} % of the windows, without ties in {100 * 15 / 16:.1f} %")

# %% [markdown]
# **Answer.** +1. Of four fair coins one shows heads in 15 of 16 throws, 94 %. These coins are not
# quite fair: an even number of $\pm1$ often has the sum 0, and Sign(0) is +1, so it is more than
# that. Such a bit says nearly nothing. Sums have more than two values, and batch norm puts the
# threshold where the *maxima* are.

# %% [markdown]
# Sums of $\pm1$ are integers, so ties happen. The first of equals wins, in the order of reading,
# and gets the whole gradient.
#
# **Question.** In how many windows are there two or more winners, for these sums of 144 terms? And
# if we pooled signs?

# %% tags=["question"]
# percent for sums, percent for signs
course.answer("6.5b", (9, 79))

# %%
for name, x in (("sums", sums), ("signs", Sign().quantize(sums))):
    tied = windows(x, (2, 2), (2, 2)) == pool.forward(x)[:, :, :, None, None]
    share = 100 * (tied.sum(axis=(3, 4)) > 1).mean()
    print(f"{name}: {share:.0f} % of the windows have several winners")

# %% [markdown]
# **Answer.** Of sums, in about one of eleven; of signs, in four of five.

# %% [markdown]
# Now the packed form. There batch norm and Sign are one comparison (notebook 4), which gives bits
# at once. Can the pool come after it?
#
# Below, the threshold lies between 1 and 3, and the frames are windows.
#
# **Question.** For a positive gain: what is the sign of the largest sum, in terms of the signs of
# all four sums? For a negative gain?

# %% tags=["question"]
# for a negative gain the largest sum gives +1 "if any is +1" or "if all are +1"
course.answer("6.5c", "if all are +1")

# %%
norm = BatchNorm().build((2,), dtype=np.float64)
norm.running_mean[:], norm.running_inverse_deviation[:] = 1.2, 0.4
norm.gain.assign([1.5, -1.5])


def sign_of(sums: np.ndarray) -> np.ndarray:
    """Batch norm and Sign of integer sums (batch, height, width, 2)."""
    return Sign().quantize(norm.pointwise(sums.astype(float)))


s = np.array([[3, -1, 5, 3], [1, 3, 7, 3], [-5, 1, -1, -3], [-3, -7, 3, -1]])
pool = MaxPool2D(2).build((4, 4, 2), dtype=np.float64)
both = np.repeat(s[None, :, :, None], 2, axis=3)  # channel 0: gain > 0, channel 1: gain < 0
largest, signs = pool.forward(both.astype(float)), sign_of(both)
word = {0: pool.forward(signs.astype(float)), 1: -pool.forward(-signs.astype(float))}
plots.pool_figure(
    {
        f"gain {sign} 0": {
            "sums": s,
            "their max": largest[0, ..., c],
            "BN, Sign": sign_of(largest)[0, ..., c],
            "BN, Sign of all": signs[0, ..., c],
            name: word[c][0, ..., c],
        }
        for c, (sign, name) in enumerate(((">", "OR"), ("<", "AND")))
    },
    (2, 2),
)

# %% [markdown]
# **Answer.** With a positive gain the largest sum passes if *any* of them does: OR. A negative gain
# turns the comparison round: the largest sum stays below the threshold if *all* of them do: AND.

# %% [markdown]
# A pool with padding must not see anything outside: the border holds the value that never wins.
# That is $-\infty$ for sums, bit 0 for OR and bit 1 for AND. A border of 0, as in a convolution,
# would win over an image of -1.
#
# We compare 70 channels with gains of both signs, overlapping windows of 3 and padding 1.
# **Expect** 0 words that differ.

# %%
norm = BatchNorm().build((70,), dtype=np.float32)
norm.gain.assign(rng.normal(size=70).astype(np.float32))
norm.shift.assign(rng.normal(size=70).astype(np.float32))
norm.running_mean[:], norm.running_inverse_deviation[:] = rng.normal(size=70), 0.1
sums = rng.integers(-50, 51, (100, 8, 8, 70)).astype(np.float32)
pool = MaxPool2D(3, stride=2, padding=1).build((8, 8, 70))
trained = Sign().quantize(norm.pointwise(pool.forward(sums)))
stage = MaxPool((3, 3), (2, 2), (1, 1), flip=norm.gain.latent < 0)
packed_pool = stage.run(bits.pack(Sign().quantize(norm.pointwise(sums))))
differ = np.count_nonzero(packed_pool != bits.pack(trained))
print(f"words that differ: {differ} of {packed_pool.size}   (expect 0)")

# %% [markdown]
# **Exercise 6.4.** Write this pool for packed bits: size 3, stride 2, padding 1. `words` is an
# image (height, width, words), `flip` holds a bit 1 for each channel whose gain is negative. The
# bits of a word belong to channels of both kinds.


# %% tags=["exercise", "id:6.4"]
def pool_bits(words, flip):
    """Bits of Sign(BN(max)), given the bits of Sign(BN) of all sums."""
    # BEGIN SOLUTION
    turned = np.pad(words ^ flip, ((1, 1), (1, 1), (0, 0)))
    high, wide = ((n - 1) // 2 + 1 for n in words.shape[:2])
    pooled = np.zeros((high, wide, words.shape[2]), np.uint64)
    for u, v in np.ndindex(3, 3):
        pooled |= turned[u : u + 2 * high - 1 : 2, v : v + 2 * wide - 1 : 2]
    return pooled ^ flip
    # END SOLUTION


course.check("6.4", pool_bits)

# %% [markdown]
# ## 6.6 A small network
#
# Two convolutions and a dense layer, on the first 6,000 images of MNIST, a few seconds long. The
# first one has a kernel of $5 \times 5$ and stride 2.
#
# **Question.** What is the size of the image behind each step? Each bit of the second convolution
# comes from how many products?

# %% tags=["question"]
# width behind convolution, pool, second convolution; products a bit
course.answer("6.6a", (14, 7, 7, 288))

# %%
mnist = datasets.load("mnist")
layers = [
    *(Pixels(), Conv2D(32, 5, stride=2, padding=2), MaxPool2D(2), BatchNorm(), Quantize()),
    *(Conv2D(64, 3, padding=1), BatchNorm(), Quantize()),
    *(Flatten(), Dense(10), BatchNorm()),
]
network = qnn_ref.Sequential(layers, mnist.train_images.shape[1:], np.random.default_rng(0))
print(network.summary())

# %%
run = train(
    Run(network, Adam(1e-2), np.random.default_rng(1)),
    mnist.train_images[:6_000],
    mnist.train_labels[:6_000],
    (mnist.train_images[-1_000:], mnist.train_labels[-1_000:]),
    loss=squared_hinge,
    epochs=3,
    batch_size=100,
    schedule=ExponentialDecay(1e-2, 3e-4, epochs=3),
)
network = run.best_network()
packed = qnn_ref.pack(network)
print("steps of the packed network:", *(type(stage).__name__ for stage in packed.stages))

# %% [markdown]
# **Answer.** $14 \times 14$, behind the pool $7 \times 7$, and that stays. A bit of the second
# convolution comes from $3 \cdot 3 \cdot 32 = 288$ products, so each window is a row of 9 words,
# half filled.
#
# **Expect** all ten scores to be equal, bit for bit, on all 10,000 test images.

# %%
same = identical_scores(network, packed, mnist.test_images)
print(f"equal, all ten scores, bit for bit: {same:,} of {len(mnist.test_images):,}   (expect all)")
wrong = 100 * np.mean(packed.predict(mnist.test_images) != mnist.test_labels)
print(f"test error {wrong:.1f} %, untrained 90 %")

# %% [markdown]
# Each map of bits is a picture in black and white. We stop the packed network after its first
# threshold, in front of the pool, and draw ten of the 32 maps, each under its filter.
#
# **Question.** A filter is black above and white below. Where is its map black? What does a map
# show where the image is blank, and what decides that?

# %% tags=["question"]
# "upper side of a stroke", "lower side of a stroke" or "inside a stroke"
course.answer("6.6b", "lower side of a stroke")

# %%
convolution, threshold, pool, second, *_ = packed.stages
chosen = [int(np.argmax(mnist.test_labels == digit)) for digit in (7, 0, 4)]
images = mnist.test_images[chosen]
maps = bits.unpack(threshold.run(convolution.run(images)), 32)
filters = np.moveaxis(network.layers[1].weight.codes[:, :, 0], -1, 0)
plots.maps_figure(images[..., 0], filters[:10], maps[..., :10])

# %% [markdown]
# **Answer.** Where there is ink above and none below: along the lower side of a stroke. A blank
# window gives the same sum everywhere, $-255 \sum w$, so the background is of one colour, and the
# threshold decides which. At the rim of some maps it is the other one: there taps see zeros
# instead of -255. It is zero padding that you see there, and the packed network draws it
# correctly.

# %% [markdown]
# ## 6.7 Repeated filters
#
# Nine taps of $\pm1$ have $2^9 = 512$ forms. The second convolution has $32 \cdot 64 = 2048$ such
# filters, one for each pair of an input map and an output map. So forms must repeat, four times
# each on average, and equal filters on one map give equal sums: they could be computed once
# (section 5.3).
#
# **Question.** Were the filters random, how often would the most frequent form occur: about 5, 11
# or 40 times? Which forms do you expect to be frequent in a trained layer?

# %% tags=["question"]
course.answer("6.7a", 11)

# %%
codes = network.layers[5].weight.codes
forms = filter_forms(codes)  # a number from 0 to 511 for each of 32 x 64 filters
counts = np.bincount(forms.ravel(), minlength=512)
random_codes = np.random.default_rng(5).choice([-1, 1], codes.shape)
random_counts = np.bincount(filter_forms(random_codes).ravel(), minlength=512)
print(f"forms that occur: trained {np.count_nonzero(counts)}, ", end="")
print(f"random {np.count_nonzero(random_counts)} of 512")
print(f"the most frequent form: trained {counts.max()} times, random {random_counts.max()} times")
plots.forms_figure({"trained": counts, "random": random_counts}, forms.size / 512)

# %%
order = np.argsort(-counts, kind="stable")[:32]
plots.filters_figure(form_filters(order, (3, 3)), [str(n) for n in counts[order]])

# %% [markdown]
# **Answer.** About 11 times, here 10: random counts scatter around 4. The trained layer is less
# even, and the forms that lead are simple ones: all white, all black, one side against the other,
# and those with a single tap turned. So they look for blobs and edges. After three epochs this is a
# mild preference.
#
# **Three ways to count.** The paper says that in its CIFAR-10 network 42 % of the filters are
# unique, on average over the layers, and notes that a filter and its negative *can* share their
# sums. It does not say whether the 42 % count them as one, nor among *which* filters:
#
# - per layer: of all $C \cdot N$ filters of a layer;
# - per map: of the $N$ filters that see the same input map, in the mean over the maps;
# - per map, up to sign.
#
# **Question.** For which of the three can repeated filters save work? For which one is 42 %
# impossible in a layer of $128 \cdot 128$ filters?

# %% tags=["question"]
# impossible: "per layer", "per map" or "per map, up to sign"
course.answer("6.7b", "per layer")

# %%
shares = unique_filters(codes)
by_chance = [expected_unique_share(*pair) for pair in ((2048, 512), (64, 512), (64, 256))]
names = ("per layer", "per map", "per map, up to sign")
for name, share, chance in zip(names, shares, by_chance, strict=True):
    print(f"{name:<20} trained {100 * share:5.1f} %   random {100 * chance:5.1f} %")

# %%
print(f"{'random filters':<16}" + "".join(f"{name:>21}" for name in names))
for c, n in ((128, 128), (128, 256), (256, 256), (256, 512), (512, 512)):
    chance = [expected_unique_share(*pair) for pair in ((c * n, 512), (n, 512), (n, 256))]
    print(f"{f'{c} x {n}':<16}" + "".join(f"{100 * share:>19.1f} %" for share in chance))

# %% [markdown]
# **Answer.** Per map, with or without the sign: only filters on one map share their sums. And *per
# layer* 42 % is impossible: of 16,384 filters at most 512 are different, 3 %, and in the larger
# layers it is less still. So the number can only count per map. There random filters have 63 to 89
# %, and 43 to 79 % up to the sign, 58 % on average over these five layers. 42 % is below all of
# them, so the filters of the paper repeat more often than chance has it. In our small layer we see
# the beginning of that. Which of the two counts per map it was, the paper leaves open; who quotes
# the number should say so.

# %% [markdown]
# Does it work? We compute each form, up to sign, once for each map, and put the second convolution
# together from these sums. **Expect** 0 differences, and the third share from above.

# %%
packed_maps = pool.run(threshold.run(convolution.run(mnist.test_images[:200])))
x = bits.unpack(packed_maps, 32, np.int32)
view = windows(pad_images(x, (1, 1), 0), (3, 3), (1, 1)).reshape(200, 7, 7, 9, 32)
sums, products = np.zeros((200, 7, 7, 64), np.int32), 0
for c in range(32):
    small = np.minimum(forms[c], 511 - forms[c])  # a form or its negative
    unique, index = np.unique(small, return_inverse=True)
    once = view[..., c] @ form_filters(unique, (3, 3)).reshape(-1, 9).T
    sums += np.where(small == forms[c], 1, -1) * once[..., index]
    products += len(unique)
differ = np.count_nonzero(sums != second.run(packed_maps))
print(f"{differ} of {sums.size:,} sums differ   (expect 0)")
print(f"2D filters computed: {products} instead of {forms.size}, {100 * products / 2048:.0f} %")

# %% [markdown]
# What remains is an addition for each filter and place. So this pays for hardware that computes 2D
# filters one by one. It does not for our words, where 64 maps share one XOR.

# %% [markdown]
# ## Summary
#
# 1. A window is a row, a convolution a product; on the way back a pixel gets the sum over its
#    windows, and 0 if it is in none.
# 2. Zero has no bit: put +1 outside and take away the weights whose taps are outside. The table
#    depends on the place only, and the result is exact.
# 3. Max pool stands before batch norm. On bits it is OR, or AND where the gain is negative.
# 4. A packed convolutional network gives the trained one's scores bit for bit.
# 5. A $3 \times 3$ filter has 512 forms. "Unique" needs a definition: per layer, per map, per map
#    up to sign.
#
# ## More to try
#
# 1. The table of 6.3 holds nine numbers, however large the image. How many are there with kernel 5
#    and padding 2? And with kernel 3, padding 1 and stride 2, for images of 32 and of 33 pixels?
# 2. Put -1 outside instead of +1. How does the formula of 6.3 change? Check it with `bits.pack` of
#    an image that you padded yourself.
# 3. Train the network of 6.6 with `one_padding=True` in both convolutions. Does the error change?
#    And what is the error if you run a network that was trained with zeros as if it had been
#    padded with ones? (Set `one_padding` of its layers, and compare the scores again.)
# 4. Turn the order of 6.5 round: put `MaxPool2D` behind `Quantize` and train. What happens to the
#    error, and to the share of +1 in the maps?
# 5. Train for 20 epochs (a minute or two). Do the three shares of 6.7 go down?
#
# ## Reading on
#
# Paper, sections 2.6, 4.2 and 5.3. In the code: `qnn_ref/layers/conv.py` and `pooling.py`,
# `qnn_ref/bits/conv.py`, `qnn_ref/packed/shape_stages.py`, `qnn_ref/cost/filters.py`.
# `qnn-ref train cifar10` is the network of section 4.2. Convolution as a product of matrices:
# Chellapilla, Puri, Simard (2006), *High performance convolutional neural networks for
# document processing*. Scales for each filter, and binary convolutions on ImageNet: Rastegari and
# others (2016), *XNOR-Net*.
#
# Next: [7. Two bits and more](07_two_bits_and_more.ipynb).
