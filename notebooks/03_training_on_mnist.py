# %% [markdown]
# # 3. Training on MNIST
#
# **Goal.** Train a binarized network on real digits beside its float twin, and watch what its
# signs, masks and clips do meanwhile.
#
# Afterwards you can
# - train the paper's kind of network with a recipe of your own;
# - read its vital signs: flipped signs, saturated values, clipped weights;
# - say what one bit costs in accuracy, and what was done to keep it low.
#
# **Minutes.** 25 to read, 40 for the exercises.
#
# **Prerequisites.** [Notebook 2](02_by_hand.ipynb).
#
# **Equations.** Algorithm 1 as a whole; sections 2.2, 2.3 and 4.2; Figure 1 (training curves).

# %%
import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before the imports: idle threads sleep
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # small matrices: one thread is faster

from dataclasses import replace

import numpy as np

import qnn_ref
from qnn_ref import course, datasets, plots
from qnn_ref.checking import check_gradients
from qnn_ref.experiments import find_recipe
from qnn_ref.experiments.runs import start_run, train_recipe
from qnn_ref.losses import squared_hinge
from qnn_ref.shown import source
from qnn_ref.training import error_rate, train_step

# %matplotlib inline
print("qnn_ref", qnn_ref.__version__)

# %% [markdown]
# ## 3.1 The data
#
# MNIST has 60,000 training and 10,000 test images of handwritten digits. To be quick, we train on
# the first 12,000, let the next 2,000 choose the best epoch, and test on all 10,000.

# %%
mnist = datasets.load("mnist")
small = replace(
    mnist, train_images=mnist.train_images[:14_000], train_labels=mnist.train_labels[:14_000]
)
plots.images_figure(small.train_images[:16, ..., 0], [str(d) for d in small.train_labels[:16]])

# %% [markdown]
# ## 3.2 The network
#
# A recipe is a record of numbers. We take the package's small MNIST recipe and make it narrower
# and shorter. Each hidden layer is what notebook 2 did by hand: Dense, BatchNorm, Quantize.
#
# **Question.** It has 118,016 binary weights. How many bytes do they need? And how many as float32?

# %% tags=["question"]
# bytes as bits, bytes as float32
course.answer("3.2a", (14_752, 472_064))

# %%
recipe = replace(find_recipe("mnist-small"), hidden=(128, 128), epochs=5, validation=2_000)
start = start_run(recipe, (28, 28, 1), 10).network
print(start.summary())

# %%
weights = {name: p for name, p in start.parameters().items() if p.quantizer is not None}
count = sum(p.size for p in weights.values())
print(f"{count:,} binary weights: {count // 8:,} bytes as bits, {4 * count:,} bytes as float32")
for name, p in weights.items():
    print(f"{name:<16} fan_in + fan_out = {sum(p.shape):>4}   gamma = {p.learning_rate_scale:.2f}")

# %% [markdown]
# **Answer.** An eighth of a byte each: 32 times less. That counts the network in use. While it
# trains, every weight has its latent float32, and ADAM keeps two more numbers for it.

# %% [markdown]
# `gamma` is the factor of line 11. It is large, because binary weights live in $[-1, 1]$, where
# an ordinary layer of this size would use weights around 0.03.

# %% [markdown]
# ## 3.3 Training
#
# What runs for each batch is Algorithm 1. This is the package's code, word for word:

# %%
print(source(train_step))

# %% [markdown]
# Around it are two loops: over the epochs, where the learning rate falls (line 12), and over
# `batches`, which are drawn anew for each of them. `qnn_ref/training.py` is one page.
#
# The float twin has the same shape, the same start seed, and the same number of steps, but real
# weights and the hard tanh in the place of Sign.
#
# **Question.** Which of the two has the lower loss after the first epoch? And does the order
# change?

# %% tags=["question"]
# the lower loss after the first epoch, and in the end
course.answer("3.3a", "float, float")

# %%
run = train_recipe(recipe, small)
float_run = train_recipe(replace(recipe, binary=False), small)
plots.training_figure({"binary": run.history, "float": float_run.history})

# %%
print("epoch   rate      loss    training error   validation error")
for entry in run.history:
    print(
        f"{entry['epoch'] + 1:>5}   {entry['learning_rate']:.1e}   {entry['loss']:.3f}"
        f"{entry['training_error']:>14.1f} %{entry['validation_error']:>16.1f} %"
    )

# %% [markdown]
# **Answer.** The float network is ahead all the way; the binary one follows and comes close. That
# is Figure 1 of the paper in small. Notice the learning rate in the table: it falls by the same
# factor after each epoch (line 12).

# %% [markdown]
# **Exercise 3.1.** Write such an error yourself, from answers and labels. Images are seen in
# batches, and the last one is often smaller than the others. The result must not depend on that.


# %% tags=["exercise", "id:3.1"]
def error_percent(answers, labels, batch):
    """How many answers are wrong, in percent of all images, seen `batch` at a time."""
    # BEGIN SOLUTION
    wrong = 0
    for start in range(0, len(labels), batch):
        part = slice(start, start + batch)
        wrong += np.count_nonzero(answers[part] != labels[part])
    return 100 * wrong / len(labels)
    # END SOLUTION


course.check("3.1", error_percent)

# %% [markdown]
# ## 3.4 Vital signs
#
# Three shares tell how a binary network is doing:
# - **flipped**: how many weights changed their sign in this epoch;
# - **saturated**: how many hidden values had $|a| > 1$, so that the mask stopped their gradient;
# - **clipped**: how many latent weights sit exactly at -1 or +1.
#
# **Question.** Guess the share of flipped weights in the first epoch, and in the last.

# %% tags=["question"]
# percent in the first epoch, and in the last
course.answer("3.4a", (23.8, 0.9))

# %%
for name in ("flipped", "saturated", "clipped"):
    print(f"{name:<10}", *(f"{100 * entry[name]:5.1f} %" for entry in run.history))
plots.shares_figure(run.history)

# %% [markdown]
# **Answer.** In the first epoch about every fifth weight, in the last fewer than one in fifty.
# The falling learning rate freezes the signs.

# %% [markdown]
# About a third of the hidden values are saturated from the start. That is batch norm's doing: for
# a bell curve of deviation 1, 32 % lie outside $[-1, 1]$. **Expect** values of 30 to 40 %. When
# this share grows towards 1, training stops, and section 4.3 widens the boundary.

# %% [markdown]
# **Exercise 3.2.** Write the first of the three shares. `before` and `after` are latent weights.


# %% tags=["exercise", "id:3.2"]
def flipped_share(before, after):
    """Share of weights, from 0 to 1, whose binary value differs before and after."""
    # BEGIN SOLUTION
    return float(np.mean((before >= 0) != (after >= 0)))
    # END SOLUTION


course.check("3.2", flipped_share)

# %% [markdown]
# ## 3.5 Where the latent weights go
#
# At the start latent weights are spread evenly over $[-1, 1]$.
#
# **Question.** Where will most of them be after training: at 0, where they can flip; at the clip,
# as sure as can be; or neither?

# %% tags=["question"]
# "at 0", "at the clip" or "anywhere else"
course.answer("3.5a", "anywhere else")

# %%
before = start.layers[2].weight.latent
after = run.network.layers[2].weight.latent
plots.latent_histogram_figure(before, after)

# %%
print("share of the latent weights   before      after")
for name, low, high in (
    ("exactly at the clip", 1, 1),
    ("within 0.05 of it", 0.95, 1),
    ("within 0.05 of 0", 0, 0.05),
    ("anywhere else", 0.05, 0.95),
):
    shares = [100 * np.mean((low <= np.abs(w)) & (np.abs(w) <= high)) for w in (before, after)]
    print(f"{name:<28}" + " ".join(f"{share:>8.1f} %" for share in shares))

# %% [markdown]
# **Answer.** Neither: three of four weights are anywhere else, as they were at the start. But three
# heaps have grown. The two largest are at the clip: that share has become four times as large, and
# a quarter of it sits exactly there, weights that nearly every batch pushes in the same direction.
# The third, small one is around 0: weights that are pushed back each time they flip. The clip keeps
# even the first two within reach.

# %% [markdown]
# ## 3.6 What the first layer looks for
#
# Each hidden unit of the first layer has 784 weights, one for each pixel, so they can be drawn as
# an image: black +1, white -1. Above the units before training, below the same units after it.
#
# **Question.** The pixels at the border are 0 in every image. What happens to their weights?

# %% tags=["question"]
# the signs: "they stay", "all become +1", "all become -1" or "they flip at random"
course.answer("3.6a", "they stay")

# %%
units = range(8)
images = [w.T.reshape(-1, 28, 28)[units] for w in (np.sign(before), np.sign(after))]
plots.images_figure(np.concatenate(images), ["before"] * 8 + ["after"] * 8)

# %%
always_zero = (small.train_images[:12_000].max(axis=0) == 0).ravel()
flipped = (before >= 0) != (after >= 0)
print(f"pixels that are 0 in every training image: {always_zero.sum()}")
print(f"flipped weights, those pixels:  {100 * flipped[always_zero].mean():5.2f} %  (expect < 1 %)")
print(
    f"flipped weights, other pixels:  {100 * flipped[~always_zero].mean():5.2f} %  (expect > 20 %)"
)

# %% [markdown]
# **Answer.** They keep the random sign they started with. A pixel that never changes adds the
# same number to every sum of the batch, and batch norm takes it away. So its gradient is 0, up to
# rounding. Inside, strokes appear: black and white areas that react to parts of digits.
#
# **Question.** Their gradient is 0, and their sign stays. Do their latent weights stay exactly
# where they were?

# %% tags=["question"]
course.answer("3.6b", False)

# %%
images, labels = small.train_images[:100], small.train_labels[:100]
network = run.network.copy()
_, dscores = squared_hinge(network.forward(images, training=True), labels)
network.backward(dscores)
sizes = {
    "size of the gradient (100 images)": np.abs(network.layers[2].weight.grad),
    "moved in five epochs": np.abs(after - before),
}
for name, size in sizes.items():
    for pixels, rows in (("pixels always 0", always_zero), ("other pixels", ~always_zero)):
        print(f"{name:<35}{pixels:<17}median {np.median(size[rows]):.0e}", end="")
        print(f"   largest {size[rows].max():.0e}")

# %% [markdown]
# **Answer.** No: they moved, though by 0.003 at most. What is left of their gradient is rounding, a
# millionth of what others get, but ADAM divides each gradient by its own usual size. So it makes
# steps of noise, and only its epsilon of $10^{-8}$ keeps them small. Under SGD nobody would see
# them. "Did not learn" is not "did not move".

# %% [markdown]
# ## 3.7 The price of one bit
#
# In training, batch norm took the mean and the deviation of each batch. A single image has none, so
# it uses *running averages* in inference. They begin at 0 and 1, and each batch moves them a bit:
#
# $$\bar\mu \leftarrow (1-\alpha)\,\bar\mu + \alpha\,\mu, \qquad
# \bar r \leftarrow (1-\alpha)\,\bar r + \alpha\,(\sigma^2 + \epsilon)^{-1/2}$$
#
# with the *momentum* $\alpha$, the weight of the newest batch. The authors' codes and ours average
# the inverse deviation; others average the variance, which is not the same.

# %% [markdown]
# **Exercise 3.3.** Write both averages. The batch has the shape (images, units).


# %% tags=["exercise", "id:3.3"]
def running_statistics(mean, inv_dev, batch, momentum, eps):
    """Both running averages after one more batch: of the mean, of the inverse deviation."""
    # BEGIN SOLUTION
    r = 1 / np.sqrt(batch.var(axis=0) + eps)
    mean = (1 - momentum) * mean + momentum * batch.mean(axis=0)
    return mean, (1 - momentum) * inv_dev + momentum * r
    # END SOLUTION


course.check("3.3", running_statistics)

# %% [markdown]
# The epoch with the lowest validation error is used, as in the paper; of equal ones the later.
# The test images are looked at once, now.

# %%
binary, real = run.best_network(), float_run.best_network()
for name, network in (("binary", binary), ("float", real)):
    wrong = error_rate(network, mnist.test_images, mnist.test_labels)
    print(f"{name:<8} test error {wrong:5.2f} %")
print("expect about 9 and 7 %, the float network ahead by 1 to 3 points")

# %% [markdown]
# These are small networks after a few seconds. With all images, three layers of 512 units and a
# minute the same code reaches about 2 % (`qnn-ref demo`); the paper's 3 x 4096 units, dropout and
# 1,000 epochs reach 0.96 %.
#
# Which images are hard for it? "4, not 9" means: it is a 4, and the network said 9.

# %%
answers = binary.predict(mnist.test_images)
wrong = np.flatnonzero(answers != mnist.test_labels)[:16]
titles = [f"{mnist.test_labels[i]}, not {answers[i]}" for i in wrong]
plots.images_figure(mnist.test_images[wrong, ..., 0], titles)

# %% [markdown]
# ## 3.8 Are all these gradients right?
#
# A network can learn with wrong gradients, only worse. So we check the very network that we
# trained, in float64, on 32 images. *Probe* mode takes random directions instead of single
# elements: the network has 100,000 of them.
#
# **Expect:** relative errors below 1e-6.

# %%
report = check_gradients(
    run.network,
    small.train_images[:32],
    labels=small.train_labels[:32],
    loss=squared_hinge,
    rng=np.random.default_rng(0),
)
print(report)

# %% [markdown]
# ## Summary
#
# 1. Algorithm 1 trains a network of one-bit weights and activations on real data; it trails its
#    float twin a little.
# 2. Signs flip a lot at first and freeze as the learning rate falls; about a third of the masks
#    are closed at any time.
# 3. Weights whose input never changes never learn, because batch norm removes what is constant.
#    ADAM moves them all the same: it makes steps even of rounding.
#
# ## More to try
#
# 1. Train with `hidden=(512, 512)` and with `hidden=(32, 32)`. Draw the gap between binary and
#    float against the width.
# 2. Build the layers yourself, with `Quantize(StochasticSign())` in the place of
#    `Quantize(Sign())`. `Sequential`, `Run` and `train` are all you need;
#    `qnn_ref/experiments/recipe.py` shows how a recipe makes its layers. Which one overfits more?
# 3. Set `weight.learning_rate_scale = 1` for all weights of a fresh run. What happens to the
#    share of flipped signs, and to the error?
#
# ## Reading on
#
# Paper, section 4.2 and Figure 1. In the code: `qnn_ref/training.py`, `qnn_ref/experiments/`. Do
# latent weights matter, or only their flips? Helwegen et al. (2019), *Latent weights do not
# exist*, takes the second side.
#
# Next: [4. From floats to bits](04_floats_to_bits.ipynb).
