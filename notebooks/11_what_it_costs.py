# %% [markdown]
# # 11. What it costs
#
# **Goal.** Count what a network does, price it with the paper's two tables, and see what is left of
# the price when numbers have one bit: for an image, for a layer, for a step of training.
#
# Afterwards you can
# - say what an operation and a memory access cost, and which of the two you pay for;
# - count the bytes of a packed network, padding and thresholds included;
# - tell which claims of section 5 hold for a circuit, and which for your processor.
#
# **Minutes.** 30 to read, 20 for the exercise.
#
# **Prerequisites.** [Notebook 4](04_floats_to_bits.ipynb): words, bit planes, thresholds. For 11.7
# also 6.7, repeated filters.
#
# **Equations.** Sections 5, 5.1, 5.2 and 5.3, both energy tables. (Tables have other numbers in
# other versions of the paper.)

# %%
import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before the imports: idle threads sleep
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from dataclasses import replace

import numpy as np

import qnn_ref
from qnn_ref import bits, course, datasets, plots
from qnn_ref.cost import (
    filter_operations,
    inference_cost,
    joules,
    level_of,
    memory_of,
    training_cost,
    unique_filters,
)
from qnn_ref.cost.energy import ASSUMPTIONS, FULL_ADDER, HOROWITZ, LEVELS
from qnn_ref.experiments import IMAGE_SHAPES, find_recipe
from qnn_ref.layers import BatchNorm, Conv2D, Dense, Flatten, MaxPool2D, Pixels, Quantize
from qnn_ref.losses import squared_hinge
from qnn_ref.optimizers import Adam
from qnn_ref.packed import identical_scores
from qnn_ref.training import Run, train

# %matplotlib inline
print("qnn_ref", qnn_ref.__version__)

# %% [markdown]
# ## 11.1 Two tables
#
# What does a multiplication cost? Not its time, its *energy*: the heat that a circuit gives off,
# and what drains a battery. The paper takes two tables of Horowitz (2014), for circuits of 45 nm at
# 0.9 V: one of operations, one of memory. A picojoule is $10^{-12}$ joules.
#
# **Question.** Eight bits added to eight bits, against a multiplication of two float32: by how much
# is it cheaper, 4, 30 or 120 times? And how many such multiplications does *one* access to DRAM
# cost, which brings two floats?

# %% tags=["question"]
course.answer("11.1a", 123)  # additions of int8 for one multiplication

# %% tags=["question"]
course.answer("11.1b", 351)  # multiplications for one access

# %%
plots.prices_figure(
    {
        "an operation": {str(operation): price for operation, price in HOROWITZ.items()},
        "an access of 64 bits": {f"memory, {level.name}": level.low for level in LEVELS},
        "our assumption": {"xnor, and count, of a bit": 2 * FULL_ADDER},
    }
)

# %% [markdown]
# **Answer.** 120 times, and about 350. A number costs by its bits: an addition of 32 bits about
# four times one of 8, a multiplication by the *square* of them. And whatever you do with a number,
# it is cheap beside fetching it from afar: the table ends at twice this price, 2.6 nJ.

# %% [markdown]
# The last bar is ours. The table has no XNOR. We take a *full adder* for it, one bit of the
# addition of eight, and another one to count the result: 0.0075 pJ for a pair of signs. A gate
# needs less, so what follows is rather too dear. All that we assume:

# %%
for sentence in ASSUMPTIONS:
    print("-", sentence)

# %% [markdown]
# ## 11.2 A network, one image
#
# The network of the Torch recipe for MNIST, 784-2048-2048-2048-10. In few bits its hidden layers
# multiply signs; its first layer multiplies signs by pixels, eight bit planes. In `float32` all
# numbers are floats, and a hard tanh stands for Sign.
#
# **Question.** For one image in float32: what costs more, to compute or to read? And by which
# factor does the energy of *memory* fall with bits: less than 32, 32, or more?

# %% tags=["question"]
course.answer("11.2a", "memory")

# %% tags=["question"]
course.answer("11.2b", "more")


# %%
def build(name: str, **changes: int) -> qnn_ref.Sequential:
    """The network of a recipe, not trained: its cost does not depend on its weights."""
    recipe = replace(find_recipe(name), **changes)
    return recipe.network(IMAGE_SHAPES[recipe.dataset], 10, np.random.default_rng(0))


FORMATS = ("float32", "float16", "int8", "quantized")
mnist = build("mnist-torch")
costs = {number: inference_cost(mnist, 1, number) for number in FORMATS}
print(f"{costs['float32'].pairs:,} products for an image")
for operation, count in costs["quantized"].operations.items():
    print(f"{operation!s:<18}{count:>12,}")

# %%
plots.cost_figure(
    "MNIST, one image", {n: (c.operation_energy, c.memory_energy[0]) for n, c in costs.items()}
)

# %% [markdown]
# **Answer.** Reading costs 140 times as much as computing: for one image each weight is used once,
# and each pair of weights is an access to DRAM. In few bits both fall, and memory falls by far more
# than 32 times. Accesses *are* 32 times fewer; but a layer's weights, 16 MB of floats, are 512 KB
# of bits, and such a matrix lies in a memory of 1 MB, whose accesses cost a thirteenth.

# %% [markdown]
# That is the paper's argument, "32 times smaller, 32 times fewer accesses, energy by more than
# that", in numbers. Check where the arrays lie:

# %%
for number in ("float32", "quantized"):
    size = 2048 * 2048 * {"float32": 32, "quantized": 1}[number]
    held = f"a hidden layer's weights: {size // 8:>10,} bytes, in {level_of(size).name}"
    print(f"{number:<10} {held:<52}", costs[number].accesses)
memory = memory_of(mnist)
print(f"{memory.weights:,} weights: {memory.float_bytes:,} bytes, {memory.quantized_bytes:,} bytes")
print(f"factor {memory.factor:g}   (expect 32)")

# %% [markdown]
# The same picture, layer by layer: bits move the bars of all layers, but not all by as much.

# %%
both = {number: costs[number] for number in ("float32", "quantized")}
plots.cost_figure(
    "MNIST, one image",
    {number: (c.operation_energy, c.memory_energy[0]) for number, c in both.items()},
    {
        number: {p.place: (p.operation_energy, p.memory_energy) for p in c.parts if p.pairs}
        for number, c in both.items()
    },
)

# %% [markdown]
# **Exercise 11.1.** A packed network is a little larger than one bit a weight. Count the bytes of
# each layer of a dense network, given its `widths`, such as 784, 4096, 4096, 4096, 10: the weights
# as float32, and the packed form. There the row of each unit fills whole words of 64 bits, and each
# *hidden* unit has a threshold (int32) and a flip (one byte). Return two arrays of int64, a number
# for each layer.


# %% tags=["exercise", "id:11.1"]
def memory_bytes(widths):
    """Bytes of each layer's weights in float32, and of each layer's packed form."""
    # BEGIN SOLUTION
    n, m = widths[:-1], widths[1:]
    packed = 8 * -(-n // 64) * m
    packed[:-1] += 5 * m[:-1]
    return 4 * n * m, packed
    # END SOLUTION


course.check("11.1", memory_bytes)

# %% [markdown]
# The package agrees: these are the arrays of a packed network, step by step. (The last one has four
# real numbers for each class.)

# %%
small = [Pixels(), Flatten(), Dense(70), BatchNorm(), Quantize(), Dense(10), BatchNorm()]
small = qnn_ref.Sequential(small, (28, 28, 1), np.random.default_rng(0))
print(qnn_ref.pack(small))
print("by hand:", 8 * 13 * 70, "+", 5 * 70, "and", 8 * 2 * 10, "+", 4 * 4 * 10)

# %% [markdown]
# ## 11.3 Layer by layer
#
# The CIFAR-10 network: six convolutions and three dense layers (notebook 6 has a small one).
#
# **Question.** For each product that it forms: is the first layer, a middle one or the last one the
# dearest in few bits? And how often is each weight of a convolution used for one image of 32 x 32?

# %% tags=["question"]
course.answer("11.3a", "first")

# %% tags=["question"]
course.answer("11.3b", 1024)

# %%
cifar = build("cifar10-theano")
layers = {}
for number in ("float32", "quantized"):
    parts = [part for part in inference_cost(cifar, 1, number).parts if part.pairs]
    layers[number] = {p.place: (p.operation_energy, p.memory_energy) for p in parts}
print("layer         pairs   fJ a pair: float32   quantized")
for part in parts:
    each = [1000 * layers[number][part.place][0] / part.pairs for number in layers]
    print(f"{part.place:<10}{part.pairs:>12,}{each[0]:>16.0f}{each[1]:>13.1f}")

# %%
totals = {
    number: tuple(sum(pair[k] for pair in places.values()) for k in (0, 1))
    for number, places in layers.items()
}
plots.cost_figure("CIFAR-10, one image", totals, layers)

# %% [markdown]
# **Answer.** The first: its pixels have eight bits, so eight XNORs a pair. And 1,024 times, once
# for each place: a convolution reads little and computes much. In floats *operations* are most of
# what the first convolutions pay for. In the later ones, with small images and many weights, memory
# leads, and in the dense layers it is nearly all. In few bits the convolutions pay for their sums,
# numbers of 32 bits, which are written and read again by batch norm.

# %% [markdown]
# **An FPGA** is a field of small circuits, *slices*. About 200 of them make a multiplier of floats,
# one makes an XNOR (section 5.2). Had each product of the image a circuit of its own:

# %%
for number in ("float32", "quantized"):
    cost = inference_cost(cifar, 1, number)
    print(f"{number:<10}{cost.slices:>16,} slices, {cost.slices / cost.pairs:>6.2f} a product")

# %% [markdown]
# 192 times fewer, not 200: the first layer again. Adders are not in these numbers, neither in the
# paper's sentence. An XNOR needs no multiplier, but *somebody* counts.

# %% [markdown]
# ## 11.4 A batch
#
# A hundred images at a time. Weights are read once for all of them.
#
# **Question.** What do the operations of *one* image cost then: a hundredth, the same, or 100 times
# as much?

# %% tags=["question"]
course.answer("11.4a", "the same")

# %%
batches = np.array([1, 4, 16, 64, 256, 1024])
curves = {}
for number in ("float32", "quantized"):
    each = [inference_cost(mnist, int(batch), number) for batch in batches]
    energies = np.array([(c.operation_energy, c.memory_energy[0]) for c in each]).T / batches
    for what, values in zip(("operations", "memory"), energies, strict=True):
        curves[f"{number}, {what}"] = batches, values / 1e6
plots.lines_figure(curves, "images at a time", "energy of an image / µJ", logarithmic=True)

# %% [markdown]
# **Answer.** The same: each image has its own products. The weights' share falls, and what is left
# of memory are the activations, which go from one layer to the next. Large batches push those into
# DRAM themselves, where the curve turns up or stays flat. With floats a batch is what makes
# computing matter; with bits memory stays the larger part.

# %% [markdown]
# ## 11.5 One bit more
#
# **Question.** Weights *and* activations of two bits. By which factor does the number of XNORs
# grow, and by which one the bits of the weights?

# %% tags=["question"]
course.answer("11.5a", (4, 2))

# %%
print("bits   XNORs of a hidden pair   operations   memory       together")
for k in (1, 2, 3, 4, 8):
    network = build("mnist-small", weight_bits=k, activation_bits=k, epochs=1)
    cost = inference_cost(network)
    hidden = [p for p in cost.parts if p.pairs][1]
    xnors = sum(n for o, n in hidden.operations.items() if o.name == "xnor") / hidden.pairs
    energies = cost.operation_energy, cost.memory_energy[0], cost.energy
    print(f"{k:>4}   {xnors:>22g}   " + "   ".join(f"{joules(e):<10}" for e in energies))
for number in ("int8", "float32"):
    cost = inference_cost(network, 1, number)
    energies = cost.operation_energy, cost.memory_energy[0], cost.energy
    print(f"{number:>7}{'-':>22}   " + "   ".join(f"{joules(e):<10}" for e in energies))

# %% [markdown]
# **Answer.** Four, and two: $k \cdot l$ planes meet, notebook 7. At eight bits the planes cost
# about as much as numbers of eight bits that are multiplied at once: 64 XNORs and counts are 0.48
# pJ, a multiplication of int8 with an addition of int32 is 0.3. Planes are for *few* bits.

# %% [markdown]
# ## 11.6 Training
#
# A step of Algorithm 1, a batch of 100, with the recipe's shift-based AdaMax. Forward, signs meet
# signs. Backward, real gradients meet signs: no multiplication, but additions of floats. The update
# reads and writes latent weights and moments, all of them floats.
#
# **Question.** Which of the three costs most, in few bits? In floats?

# %% tags=["question"]
course.answer("11.6a", "update")  # in few bits

# %%
recipe = find_recipe("mnist-torch")
steps = {n: training_cost(mnist, recipe.optimizer(), 100, n) for n in ("float32", "quantized")}
plots.cost_figure(
    "a step, batch of 100",
    {
        f"{phase}, {number}": (cost.operation_energy, cost.memory_energy[0])
        for number, step in steps.items()
        for phase in ("forward", "backward", "update")
        for cost in [step.of(phase)]
    },
)

# %%
whole = {number: step.energy for number, step in steps.items()}
print(f"a step: float32 {joules(whole['float32'])}, few bits {joules(whole['quantized'])}")
multiplications = [
    sum(n for o, n in step.operations.items() if o.name == "multiply") for step in steps.values()
]
print(f"multiplications: float32 {multiplications[0]:,}, few bits {multiplications[1]:,}")

# %% [markdown]
# **Answer.** The update, in both: a weight, its gradient and two moments are read, three of them
# written, 28 bytes a weight, from DRAM. The operations of the forward pass become cheap, and there
# are 14 times fewer multiplications; most that are left are pixels times gradients, in the first
# layer. But most of the energy of training is memory that no bit has touched: latent weights are
# what training *is* (notebook 1). Binary networks are cheap to run, not to train.

# %% [markdown]
# ## 11.7 Repeated filters
#
# A binary filter of $3 \times 3$ on one map has at most 512 forms, 256 up to the sign (6.7).
# Compute each form once a map, then add. The paper: 42 % of the filters are unique in its CIFAR-10
# network, which makes the XNORs three times fewer.
#
# **Question.** If 42 % are computed, how many times fewer XNORs is that? For each map and filter
# one addition of a small number remains. Priced as an addition of int8: what becomes of the energy?

# %% tags=["question"]
course.answer("11.7a", 2.4)

# %% tags=["question"]
course.answer("11.7b", "1.2 times less")

# %%
digits = datasets.load("digits")
layers = [
    *(Pixels(), Conv2D(32, 3, padding=1), MaxPool2D(2), BatchNorm(), Quantize()),
    *(Conv2D(64, 3, padding=1), BatchNorm(), Quantize(), Flatten(), Dense(10), BatchNorm()),
]
network = qnn_ref.Sequential(layers, (8, 8, 1), np.random.default_rng(0))
run = Run(network, Adam(1e-2), np.random.default_rng(1))
images, labels = digits.train_images, digits.train_labels
held_out = images[-200:], labels[-200:]
schedule = {"epochs": 6, "batch_size": 50, "schedule": lambda epoch: 1e-2 / 2**epoch}
train(run, images[:-200], labels[:-200], held_out, loss=squared_hinge, **schedule)
trained = run.best_network()
codes = trained.layers[5].weight.codes

ONE, SMALL = 2 * FULL_ADDER, 8 * FULL_ADDER  # a pair of signs; an addition of int8


def energies(computed: float, taps: int = 9) -> tuple[float, float]:
    """Energy of a filter on a map at one place: plain, and with this share computed."""
    return taps * ONE, computed * taps * ONE + SMALL


shares, counted = unique_filters(codes), filter_operations(codes)
cases = {
    "the paper's 42 %": 0.42,
    "trained, 32 x 64, a map": shares.per_map,
    "the same, up to the sign": shares.per_map_up_to_sign,
}
print("                           computed   XNORs, fewer   energy, less")
for name, share in cases.items():
    plain, once = energies(share)
    print(f"{name:<26}{100 * share:>7.0f} %{1 / share:>14.2f}{plain / once:>14.2f}")
print(f"counted by forms: {counted.per_map_up_to_sign:,} of {counted.plain:,} XNORs a place")

# %% [markdown]
# **Answer.** 2.4 times; for three times only a third may differ, and which of the three ways of
# counting (6.7) the paper took, we do not know. The energy falls by 1.2 only. A sum over nine taps
# is cheap; to add it to the others costs half as much, and that addition stays. A filter of $5
# \times 5$ would save more, if it repeated: it has $2^{24}$ forms, so it does not.
#
# If all filters differ, the form computed once *costs*: the additions come on top.

# %% [markdown]
# The package has this convolution as a kernel. **Expect** equal sums, of trained weights.

# %%
packed = qnn_ref.pack(trained)
convolution, threshold, pool, second, *_ = packed.stages
maps = pool.run(threshold.run(convolution.run(digits.test_images)))
repeated = bits.RepeatedKernel(second.words, 32)
found = bits.repeated_conv(maps, repeated, 32, padding=1)
print(repeated)
print("sums that differ:", np.count_nonzero(found != second.run(maps)), "  (expect 0)")
same = identical_scores(trained, packed, digits.test_images)
print(f"scores of the packed network that are equal: {same} of {len(digits.test_images)}")

# %% [markdown]
# Its time is another matter. `qnn-ref bench convolution` has it beside the plain kernel of notebook
# 6, which puts 64 *maps* into a word. There a pair costs a 64th of three instructions, and nothing
# is added by itself; the kernel that looks for equal filters treats one map at a time, and its
# additions alone take longer than the whole plain convolution. On a processor it loses by a factor
# of tens. A circuit that is built for it would not have words.

# %% [markdown]
# ## 11.8 A processor is no circuit
#
# Energy tables are for *circuits*: an adder here, a memory there. Read the numbers above as what a
# chip could do that is made for the network, not as what yours does.
#
# - A processor fetches and decodes each *instruction*, which costs more than most of the operations
#   in the table. Bits gain there because one instruction serves 512 of them (10.1), not because an
#   XNOR gate is small.
# - Its memory is a hierarchy that moves lines of 64 bytes, guesses what comes next, and holds what
#   it can. "An array lies in the smallest memory that holds all of it" is a model.
# - 45 nm is old. Newer circuits cost less, operations more so than DRAM: memory matters more.
# - Nobody here has measured a joule. What we measure is time (notebook 10, `qnn-ref bench`), and
#   there the network gains less than the kernel.
#
# `qnn-ref cost RECIPE`, `qnn-ref cost RUN` and `qnn-ref cost FILE` print all of this for any
# network of yours, `-o cost.png` draws it.

# %% [markdown]
# ## Summary
#
# 1. A multiplication of floats costs 3.7 pJ, of eight bits 0.2, a pair of signs about 0.0075. An
#    access to DRAM costs 1,300 or more.
# 2. For one image a dense network pays for reading its weights. Bits make them 32 times fewer, and
#    they then fit into a nearer memory.
# 3. A batch, or a convolution, uses a weight many times: there operations count. The first layer
#    costs eight planes.
# 4. $k$ bits cost $k^2$ in operations and $k$ in memory.
# 5. Training is dear all the same: latent weights, moments and gradients are floats.
# 6. Repeated filters save XNORs, the additions stay; in words of 64 maps there is nothing to save.
#
# ## More to try
#
# 1. Price the network of 11.2 with DRAM at 2.6 nJ. Which of the conclusions change?
# 2. How large a memory would hold all weights of `mnist-theano` (784-3x4096-10) as bits? As floats?
#    Change `LEVELS` and look at the energy.
# 3. Let layers be fused: a sum that is compared at once need not be written. Take the 32-bit sums
#    out of the count of 11.3. What is left for the convolutions?
# 4. Take DoReFa's gradients or those of six bits (notebook 8): `network.quantize_gradients(...)`,
#    then `training_cost`. What becomes of the backward pass? And of the update?
# 5. From which share of equal filters on does computing each once save energy, by 11.7?
#
# ## Reading on
#
# Paper, section 5. Horowitz (2014), *Computing's energy problem (and what we can do about it)*. In
# the code: `qnn_ref/cost/`, one file for each question; `tests/test_cost_counted.py` runs the
# layers on numbers that count themselves. Where energy goes in accelerators: Sze, Chen, Yang and
# Emer (2017), *Efficient processing of deep neural networks*.
#
# Next: [12. The paper's tables and ours](12_the_papers_tables_and_ours.ipynb).
