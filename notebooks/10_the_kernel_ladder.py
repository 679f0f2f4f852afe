# %% [markdown]
# # 10. The kernel ladder
#
# **Goal.** Climb from one word to the kernel that trains and runs our networks, one idea a rung;
# count what each rung reads and computes; then measure, and see what a whole network gains.
#
# Afterwards you can
# - say where the speed of bits comes from, and which part of it a kernel can lose;
# - read every kernel in `qnn_ref/bits/ladder.py` and `lookup.py`;
# - answer "why is my binary network not faster?" with numbers.
#
# **Minutes.** 45 to read, 45 for the exercises.
#
# **Prerequisites.** [Notebook 4](04_floats_to_bits.ipynb): words, XOR and popcount, thresholds.
# What a loop is; no assembly language.
#
# **Equations.** (8), which has another number in some versions of the paper; Algorithm 1, lines 2,
# 8 and 9; Algorithm 5; section 6.

# %%
import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before the imports: idle threads sleep
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # all that is measured here: one core

from itertools import pairwise

import numba
import numpy as np
from IPython.display import display
from ipywidgets import IntSlider
from matplotlib.figure import Figure

import qnn_ref
from qnn_ref import bits, course, plots, shown
from qnn_ref.bench.ceiling import ceiling_calls, tops
from qnn_ref.bench.measure import interleave
from qnn_ref.bits import ladder as kernels
from qnn_ref.bits import lookup as tables
from qnn_ref.bits.ladder import RUNGS, Rung
from qnn_ref.bits.operands import read_only
from qnn_ref.bits.popcount import popcount
from qnn_ref.packed.product_stages import PixelsDense, XnorDense
from qnn_ref.packed.thresholds import Threshold

# %matplotlib inline
numba.set_num_threads(1)
rng = np.random.default_rng(0)
print("qnn_ref", qnn_ref.__version__)

# %% [markdown]
# ## 10.1 A word
#
# The product of two signs says whether they agree. XOR marks the pairs that differ, popcount
# counts them:
#
# $$a \cdot b = K - 2\,\mathrm{popcount}(a \oplus b)$$
#
# **Question.** Is an XOR faster than a multiplication? And if it is not, where does the speed come
# from?

# %% tags=["question"]
course.answer("10.1a", False)  # XOR is faster

# %%
a, b = rng.choice([-1, 1], (2, 16))
plots.word_figure(a, b)

# %% [markdown]
# Now count. A processor works on *vectors*: registers of 512 bits, or 256, and one instruction for
# all that is in them. Such a register holds 16 floats (or 8). One instruction multiplies and adds
# them. As bits it holds 512 pairs (or 256), and these need an XOR, a popcount and an addition.

# %%
print("register   popcount   pairs in an instruction")
for width, cost in ((512, 1), (256, 8)):
    floats, pairs = width // 32, width / (2 + cost)
    print(f"{width} bits   {cost} instr.   floats {floats:>2}, bits {pairs:>5.1f}", end="")
    print(f": {pairs / floats:>4.1f} times as many")

# %% [markdown]
# **Answer.** No. An addition, a multiplication and an XOR each start in every cycle, several at a
# time. The speed comes from the *width*: a pair of floats fills 32 bits of a register, a pair of
# signs one. That is a factor of 32, and we pay it back in part, because one instruction becomes
# three.

# %% [markdown]
# The second line is a processor that has no popcount for vectors. There eight simpler
# instructions do it, with a small table in a register. Remember this; section 10.8 is about it.
#
# The other gift of the width is memory: 32 times fewer bytes, whatever the processor.

# %% [markdown]
# ## 10.2 A dot product
#
# $K$ pairs fill $\lceil K / 64 \rceil$ words. Each word costs the same three operations, however
# many of its bits are in use.
#
# **Question.** What happens at $K = 8$? Which is dearer, $K = 64$ or $K = 65$?

# %% tags=["question"]
course.answer("10.2a", 6)  # operations at K = 65


# %%
def dot(words_a: np.ndarray, words_b: np.ndarray, K: int) -> tuple[int, int]:
    """Dot product of packed vectors, and the word operations that it took."""
    differ, operations = 0, 0
    for x, y in zip(words_a, words_b, strict=True):
        differ += int(popcount(x ^ y))
        operations += 3  # XOR, popcount, addition
    return K - 2 * differ, operations


for K in (8, 64, 65, 784, 4096):
    a, b = rng.choice([-1, 1], (2, K))
    result, operations = dot(bits.pack(a), bits.pack(b), K)
    print(f"K = {K:>4}: {operations:>3} operations, error {result - a @ b}   (expect 0)", end="")
    print(f", pairs an operation {K / operations:>4.1f}")

# %%
K = np.arange(1, 321)
plots.lines_figure({"": (K, 100 * K / (64 * -(-K // 64)))}, "pairs K", "bits in use / %")

# %% [markdown]
# **Answer.** At $K = 8$ an operation serves 2.7 pairs instead of 21: the word is there, and seven
# eighths of it are empty. $K = 65$ costs twice as much as $K = 64$. Notice how the saw fades out:
# from a few hundred pairs on it does not matter.

# %% [markdown]
# ## 10.3 Padding
#
# The bits beyond $K$ are zero, in both operands (hatched).
#
# **Question.** What if they were 1 in both operands? In one only? Which of the three would need a
# mask?

# %% tags=["question"]
course.answer("10.3a", "1 in one")  # needs a mask

# %%
K = 70
a, b = rng.choice([-1, 1], (2, K))
words_a, words_b = bits.pack(a), bits.pack(b)
padding = np.array([0, ~np.uint64(0) << np.uint64(K - 64)], np.uint64)


def strip(words: np.ndarray) -> np.ndarray:
    """Every bit of two words."""
    return bits.unpack(words, 128) > 0


plots.bits_figure(
    {"a": strip(words_a), "b": strip(words_b), "a XOR b": strip(words_a ^ words_b)}, K=K
)

# %%
for name, x, y in (
    ("0 in both", words_a, words_b),
    ("1 in both", words_a | padding, words_b | padding),
    ("1 in one ", words_a | padding, words_b),
):
    print(f"padding {name}: error {dot(x, y, K)[0] - a @ b}")
print("2 for each of the padding bits:", 2 * (128 - K))

# %% [markdown]
# **Answer.** Only the last one. XOR sees *differences*, so padding must agree, no more. Zero is
# the choice that costs nothing: `pack` fills words that begin as 0. And zero also disappears in
# other uses, such as counting the +1 of a column.

# %% [markdown]
# So no kernel below knows $K$ until the last step, and none of them has a mask.

# %% [markdown]
# ## 10.4 A matrix: three loops
#
# A product of matrices has $M \cdot N$ dot products of $W$ words each. The plainest kernel is
# three loops. In the picture: one result, the row and the column that it needs, and in frames what
# is read in one turn of the inner loop.
#
# **Question.** How often is each word of a row read, in the whole product? How many words are read
# for one XOR, popcount and addition?

# %% tags=["question"]
course.answer("10.4a", 2)  # words for a count


# %%
def plot_block(rows: int = 1, columns: int = 1) -> Figure:
    """A block of results and what it reads."""
    return plots.block_figure((8, 16, 4), (rows, columns))


plot_block()

# %%
M, N, W = 8, 16, 4


def reads(rows: int, columns: int) -> int:
    """Words read by an M x N product of W words that makes blocks of results."""
    count = 0
    for _ in range(0, M, rows):
        for _ in range(0, N, columns):
            for _ in range(W):
                count += rows + columns  # and rows * columns turns of XOR, popcount, addition
    return count


print("words of the rows:", M * W, "  words of the columns:", N * W)
print("words counted:", M * N * W, "  words read:", reads(1, 1))

# %% [markdown]
# **Answer.** Each word of a row is read $N$ times, each word of a column $M$ times. For each turn
# of three operations *two* words are read. A processor reads two or three vectors in a cycle, so
# reading is as much work as counting.

# %% [markdown]
# This is the kernel, as it is compiled:

# %%
print(shown.source(kernels._three_loops))

# %% [markdown]
# ## 10.5 A block of results
#
# Make $2 \times 2$ results at once. A word that is in a register serves two products.
#
# **Question.** How many words are read for each count now? In a block of $4 \times 16$? Why not
# $64 \times 64$?

# %% tags=["question"]
course.answer("10.5a", (1, 0.3125))  # words for a count

# %%
plot_block(2, 2)

# %%
print("block     words read   for each count   counters")
for rows, columns in ((1, 1), (2, 2), (4, 4), (4, 16), (8, 16)):
    found = reads(rows, columns)
    share = found / (M * N * W)
    print(f"{rows} x {columns:<2}    {found:>10}   {share:>14.4f}   {rows * columns:>8}")

# %% [markdown]
# **Answer.** $(R + C) / (R\,C)$: one for $2 \times 2$, a third for $4 \times 16$. But each result
# under way is a *counter*, and counters have to stay in registers, of which a processor has 16 or
# 32. A block that is too large sends them to memory and back, and loses more than it saved.

# %% [markdown]
# Blocks at the edge of a matrix are not full. The rung `register_block` lets the last row stand in
# for the one that is missing, so it needs no second kernel:

# %%
print(shown.source(kernels._register_block))

# %% [markdown]
# **Expect** 0 for each shape.


# %%
def call_of(rung: Rung, x: np.ndarray, w: np.ndarray):
    """The product x w by one rung, its operands prepared: a call without arguments."""
    K = x.shape[1]
    given = (x, w) if rung.float_operands else (bits.pack(x), bits.pack(w.T))
    operands = [read_only(a) if np.ndim(a) else a for a in rung.prepare(*given, K)]
    out = np.empty((len(x), w.shape[1]), np.float32 if rung.float_operands else np.int32)

    def call() -> np.ndarray:
        rung.run(*operands, out)
        return out

    return call


def signs_of(*shape: int) -> np.ndarray:
    """Random signs as float32."""
    return np.where(rng.random(shape) < 0.5, -1, 1).astype(np.float32)


ladder = {rung.name: rung for rung in RUNGS}
for rows, K, columns in ((4, 64, 4), (5, 70, 7), (1, 1000, 3)):
    x, w = signs_of(rows, K), signs_of(K, columns)
    difference = call_of(ladder["register_block"], x, w)() - x @ w
    print(f"{rows} x {K} x {columns}: largest difference {np.abs(difference).max():.0f}")

# %% [markdown]
# In a running notebook, move the slider: the number of rows, with four columns.

# %%
picture = display(plot_block(2, 4), display_id=True)
slider = IntSlider(value=2, min=1, max=8, description="rows")
slider.observe(lambda change: picture.update(plot_block(change.new, 4)), "value")
slider

# %% [markdown]
# ## 10.6 A panel
#
# A vector instruction takes *neighbours in memory*: here eight words, 512 bits. Which words are
# neighbours is our choice. Above, the columns lie one after the other. Below, the same words as a
# *panel*: word 0 of 16 columns, then word 1 of them, and so on; `words[p, w, j]` is word $w$ of
# column $j$ of panel $p$. The numbers are addresses; the same eight addresses are filled in both.
#
# **Question.** What does each of the eight counters count, above? Below? What is left to do at the
# end?

# %% tags=["question"]
course.answer("10.6a", "one")  # results of the eight counters, above


# %%
def plot_layouts(vector: int = 1) -> Figure:
    """Eight neighbours in both layouts."""
    address = np.arange(64)
    return plots.layouts_figure(
        {
            "columns one after the other: where each word lies": address.reshape(16, 4).T,
            "a panel of 16 columns: where each word lies": address.reshape(4, 16),
        },
        8 * vector,
        8,
    )


plot_layouts()

# %%
w = rng.choice([-1, 1], (256, 40))
packed = bits.pack(w.T)
panels = bits.to_panels(packed, 256).words
print("packed columns:", packed.shape, "  panels:", panels.shape)
wrong = sum(panels[n // 16, i, n % 16] != packed[n, i] for n in range(40) for i in range(4))
print("words in another place than words[p, w, j]:", wrong, "  (expect 0)")
print("words of columns that do not exist:", np.unique(panels[2, :, 8:]))

# %% [markdown]
# **Answer.** Above, the lanes hold parts of the *same* result: they must be summed, across the
# lanes, for every result. Below, each lane is a result of its own, and nothing is left to do.

# %%
row = bits.pack(rng.choice([-1, 1], 512))
column = bits.pack(rng.choice([-1, 1], 512))
eight = bits.pack(rng.choice([-1, 1], (8, 256)))
plots.across_figure(popcount(row ^ column), np.cumsum(popcount(row[:4] ^ eight).T, axis=0))

# %% [markdown]
# Three steps across lanes, each a shuffle and an addition, seem few. With $K = 512$ the counting
# itself is *one* turn of three instructions. So the vectors along $K$ are a poor kernel just where
# networks live, at a few words a column; and the panel is as good for one word as for a hundred.
# It is also why weights are rearranged *once* (`to_panels`), and the left operand not at all.
#
# **Question.** Which word of the left matrix does a vector of eight columns need?

# %% tags=["question"]
course.answer("10.6b", 1)  # words of the left matrix

# %% [markdown]
# **Answer.** A single one, the same in all eight lanes. The processor can read a word and spread
# it in one instruction.

# %% [markdown]
# In the kernel of this rung that word is `x`, and the compiler makes vectors of the innermost loop.
# (`planes` are those of notebook 7; for a binary product there is one.)

# %%
print(shown.source(kernels._column_panels))

# %% [markdown]
# ## 10.7 A tile of vectors
#
# Now both ideas together: a block of results, made of vectors. Four rows times 16 columns are 64
# counters, eight vectors of them, which stay in registers from the first word to the last.
#
# **Question.** Count for one turn, in vectors: what is read, what is computed? How many registers
# are taken?

# %% tags=["question"]
course.answer("10.7a", 11)  # registers

# %%
x, y = bits.pack(rng.choice([-1, 1], (4, 64))), bits.pack(rng.choice([-1, 1], (16, 64)))
plots.tile_figure(popcount(x ^ y.T), lanes=8)

# %% [markdown]
# **Answer.** Read: two vectors of columns, and four words that are spread. Computed: 8 XOR, 8
# popcounts, 8 additions. Registers: 8 with counters, 2 with columns, 1 with a row, 11 in all. One
# result at a time would read 16 times for the same eight counts.
#
# That is $4 \cdot 16 \cdot 64 = 4096$ pairs in 24 instructions that compute and 6 that read, and
# the reads go on beside the computing. Where registers hold 256 bits, each vector is two of them:
# 22 registers, and if the processor has 16, some counters go to the cache and back.

# %% [markdown]
# Here is the tile in NumPy, in the kernel's order (**expect** 0), and below it the kernel: `load`
# reads eight neighbours, `spread` one word for all lanes.

# %%
x, w = rng.choice([-1, 1], (4, 1000)), rng.choice([-1, 1], (1000, 16))
words, panel = bits.pack(x), bits.to_panels(bits.pack(w.T), 1000).words[0]
counters = np.zeros((4, 16), np.uint64)
for i in range(words.shape[1]):  # one turn: a word of every row and column
    counters += popcount(words[:, i, None] ^ panel[i])
result = 1000 - 2 * counters.astype(int)
print("turns:", words.shape[1], "  largest difference:", np.abs(result - x @ w).max())

# %%
print(shown.source(kernels._count_tile))

# %% [markdown]
# ## 10.8 Adders made of logic
#
# What if the processor has no popcount for vectors, and one costs eight instructions? Then count
# less often. A *full adder* adds three bits and gives a number of two digits, a sum and a carry. As
# logic on words it adds 64 (or 512) triples at once. In the strips below each element is another
# triple, and $2 \cdot \mathrm{carry} + \mathrm{sum}$ is the number of ones.

# %%
x, y, z = (np.arange(8) >> k & 1 for k in range(3))
ones = x + y + z
plots.bits_figure({"x": x, "y": y, "z": z, "sum": ones % 2, "carry": ones // 2})

# %% [markdown]
# **Exercise 10.1.** Write it with logic alone, for words: `&`, `|`, `^`, `~`. The check counts your
# operations.


# %% tags=["exercise", "id:10.1"]
def full_adder(x, y, z):
    """Sum and carry of three words, for each bit."""
    # BEGIN SOLUTION
    half = x ^ y
    return half ^ z, (x & y) | (half & z)
    # END SOLUTION


course.check("10.1", full_adder)

# %% [markdown]
# **Question.** How few operations are enough for both?

# %% tags=["question"]
course.answer("10.8a", 5)  # operations

# %% [markdown]
# **Answer.** Five:
#
# $$\mathrm{sum} = x \oplus y \oplus z \qquad \mathrm{carry} = (x \wedge y) \vee ((x \oplus y)
# \wedge z)$$
#
# and $x \oplus y$ is used twice.

# %% [markdown]
# Sums are worth 1, carries 2. Add carries in the same way, and their carries again: that is Harley
# and Seal's tree. Eight words go in at the top. What is kept, one word a line, are the digits of 64
# binary numbers; only what overflows is counted. Every box is one full adder.

# %%
plots.carry_tree_figure()

# %% [markdown]
# Let us follow 16 bits of eight words. Read the last four strips from below, as digits worth 8, 4,
# 2 and 1.
#
# **Question.** All eight strips have a one in column 3. Which digits stand there? And which number
# stands in column 0?

# %% tags=["question"]
course.answer("10.8b", (1, 0, 0, 0))  # digits of column 3


# %%
def add(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum and carry of three words, for each bit."""
    half = x ^ y
    return half ^ z, (x & y) | (half & z)


def add_eight(w: np.ndarray, digits: tuple) -> tuple[tuple, np.ndarray]:
    """Add eight words to the digits (ones, twos, fours); return them, and the eights."""
    ones, twos, fours = digits
    ones, two0 = add(ones, w[0], w[1])
    ones, two1 = add(ones, w[2], w[3])
    twos, four0 = add(twos, two0, two1)
    ones, two0 = add(ones, w[4], w[5])
    ones, two1 = add(ones, w[6], w[7])
    twos, four1 = add(twos, two0, two1)
    fours, eights = add(fours, four0, four1)
    return (ones, twos, fours), eights


strips = rng.random((8, 16)) < 0.6
strips[:, 3] = True  # eight ones: the only way to an eight in the first turn
digits, eights = add_eight(strips, (np.zeros(16, bool),) * 3)
names = dict(zip(("ones", "twos", "fours"), digits, strict=True)) | {"eights": eights}
plots.bits_figure({f"w{k}": s for k, s in enumerate(strips)} | names)

# %%
numbers = sum(2**k * digit.astype(int) for k, digit in enumerate((*digits, eights)))
print("numbers from the digits:", *numbers)
print("sums of the eight words:", *strips.sum(axis=0))

# %% [markdown]
# **Answer.** 1, 0, 0, 0: eight is 1000. In every column the digits are the number of ones above
# them, as the two lines say.

# %% [markdown]
# **Exercise 10.2.** Count the ones of $n$ words, with one popcount for eight words and three at the
# end: 64 words take 11. `add_eight` from above does a turn; words that are left over have a
# popcount each. `popcount`, here an argument, says how many ones a word has, and keeps count of its
# uses.


# %% tags=["exercise", "id:10.2"]
def carry_save_count(words, popcount):
    """Number of ones in words (n,), by n // 8 + 3 popcounts and those of the rest."""
    # BEGIN SOLUTION
    digits, count, whole = (np.uint64(0),) * 3, 0, len(words) - len(words) % 8
    for start in range(0, whole, 8):
        digits, eights = add_eight(words[start : start + 8], digits)
        count += 8 * popcount(eights)
    for worth, digit in zip((1, 2, 4), digits, strict=True):
        count += worth * popcount(digit)
    return count + sum(popcount(word) for word in words[whole:])
    # END SOLUTION


course.check("10.2", carry_save_count)

# %% [markdown]
# The kernel does the same for eight columns at a time, with an XOR before the adders. `count +=
# count` doubles, so that fours, twos and ones get their worth without a multiplication.

# %%
print(shown.source(kernels._count_with_carries))

# %% [markdown]
# Is it worth it? For eight words, where a popcount costs $p$ instructions: plainly 8 XOR, 8
# popcounts, 8 additions, $16 + 8p$. By adders 8 XOR, $7 \cdot 5$ for the adders, one popcount, one
# addition, $44 + p$.
#
# **Question.** From which $p$ on do adders pay?

# %% tags=["question"]
course.answer("10.8c", 5)  # instructions of a popcount

# %%
p = np.arange(1, 13)
plots.lines_figure(
    {"popcount of each word": (p, 16 + 8 * p), "adders first": (p, 44 + p)},
    "instructions of a popcount",
    "instructions for 8 words",
)

# %% [markdown]
# **Answer.** From 5 on; at 4 both are equal. With a vector popcount ($p = 1$) plain counting needs
# 24 instructions against 45, and adders would be a loss. With $p = 8$ it is 80 against 52. So the
# package asks the processor at run time: `kernel_for` takes `vector_tiles` where vectors can be
# counted, and `carry_save` for long columns elsewhere.

# %% [markdown]
# ## 10.9 The backward pass: look sums up
#
# Lines 8 and 9 of Algorithm 1 multiply *real* gradients by signs. XOR cannot help: only one of the
# operands is bits. But four numbers have only $2^4 = 16$ signed sums. Write them into a table,
# once; then four bits of a packed word *are* the index of the sum that an output wants.
#
# **Question.** How many of the 16 sums have to be computed? What does an output pay for four pairs?

# %% tags=["question"]
course.answer("10.9a", 8)  # sums to compute

# %%
numbers = np.array([5, -2, 7, 1])
signs = 2 * (np.arange(16)[:, None] >> np.arange(4) & 1) - 1
table = signs @ numbers
word = bits.pack(rng.choice([-1, 1], 16))
plots.lookup_figure(numbers, table, strip(np.append(word, np.uint64(0)))[:16], place=2)

# %% [markdown]
# **Answer.** Eight: entry $15 - e$ is the negative of entry $e$. With $a \pm b$ and $c \pm d$
# first, that is $4 + 8$ additions and 8 changes of sign, 20 operations. Afterwards an output pays
# *one* addition (and a read) for four pairs, in the place of four multiply-adds.

# %% [markdown]
# **Exercise 10.3.** Multiply signs by numbers with tables. Bit $i$ of an index belongs to number
# $i$ of the four, and fewer than four may be left at the end. The check counts your additions.


# %% tags=["exercise", "id:10.3"]
def lookup_product(bits, x):
    """Sums (N,) of x (K,) with the signs of bits (N, K), 1 for + and 0 for -."""
    # BEGIN SOLUTION
    N, K = bits.shape
    out = np.zeros(N, x.dtype)
    for first in range(0, K, 4):
        four = np.zeros(4, x.dtype)
        four[: K - first] = x[first : first + 4]
        a, b, c, d = four
        s, t, u, v = a + b, a - b, c + d, c - d
        left, right = (-s, t, -t, s), (-u, v)  # by bits 1 and 0, and by bit 2
        half = [left[e & 3] + right[e >> 2] for e in range(8)]
        table = np.array([*half, *(-total for total in half[::-1])], x.dtype)
        index = np.zeros(N, int)
        for i in range(min(4, K - first)):
            index += bits[:, first + i].astype(int) << i
        out = out + table[index]
    return out
    # END SOLUTION


course.check("10.3", lookup_product)

# %% [markdown]
# In the kernel a table entry is not one number but 32 of them, a row of 32 columns of the gradient:
# reading it is reading four vectors, which every processor can do. So nothing here needs a special
# instruction. Here is one output: `count` tables, four bits of a word for each, and a row of
# numbers, `total`, that is one to three vectors wide.

# %%
print(shown.source(tables._look_up))

# %% [markdown]
# **Question.** From how many outputs on is the table worth its price?

# %% tags=["question"]
course.answer("10.9b", 7)  # outputs

# %%
for outputs in (1, 4, 6, 7, 64, 1024):
    plain, lookup = 4 * outputs, 20 + outputs
    print(f"{outputs:>4} outputs: {plain:>4} multiply-adds, {lookup:>4} by lookup", end="")
    print(f", ratio {plain / lookup:.2f}")

# %% [markdown]
# **Answer.** From 7 on by this count; `BitProducts` asks for 64, because reading is not free
# either.

# %% [markdown]
# The sums are formed in another order than in BLAS. With whole numbers nothing is rounded, so we
# **expect** 0; with real ones as large an error as BLAS has itself.

# %%
signs = rng.choice([-1, 1], (70, 100))
whole = rng.integers(-50, 51, (100, 33)).astype(np.float32)
by_lookup = bits.signs_matmul(bits.pack(signs), whole)
print("whole numbers, largest difference:", np.abs(by_lookup - signs @ whole).max())
real = rng.normal(size=(100, 33)).astype(np.float32)
exact = signs @ real.astype(np.float64)
errors = [
    np.abs(product - exact).max()
    for product in (bits.signs_matmul(bits.pack(signs), real), signs.astype(np.float32) @ real)
]
print("real numbers, both errors below 1e-4:", max(errors) < 1e-4, "  (expect True)")

# %% [markdown]
# ## 10.10 The ladder, measured
#
# All rungs with one sentence each, as the code has them. First the exact check, on a shape that
# fits nothing: 5 rows, 70 pairs, 19 columns. **Expect** 0 in each line.

# %%
x, w = signs_of(5, 70), signs_of(70, 19)
for name, rung in ladder.items():
    difference = call_of(rung, x, w)() - x @ w
    print(f"{np.abs(difference).max():.0f}  {name:<17} {rung.sentence}")

# %% [markdown]
# Now the time, for $256 \times 4096$ times $4096 \times 256$ on one core, packed beforehand; each
# bar is a median of interleaved runs. Two more things are drawn in: NumPy's float32 product, and
# the *ceiling*, a loop that does nothing but XOR, popcount and addition on words in the L1 cache.
# It is what this very processor can do at most.
#
# **Question.** Put the steps in order: floats in three loops to floats with vectors; to words; the
# block; panels; vectors. Which one gains most? Which ones next to nothing?
#
# The cells below print no times: they differ from machine to machine, and from run to run. So do
# the pictures; yours will look different.

# %% tags=["question"]
course.answer("10.10a", "words")  # the step that gains most

# %%
M, K, N = 256, 4096, 256
x, w = signs_of(M, K), signs_of(K, N)
calls = {name: call_of(rung, x, w) for name, rung in ladder.items()}
calls["NumPy float32"] = lambda: x @ w
loops = ceiling_calls(threads=1)
timings = interleave(calls | loops, 15, 3.0, compiled=calls | loops).timings
pace = {name: 2 * M * K * N / timings[name].median / 1e12 for name in calls}
ceiling = max(tops(timings[name].median, threads=1) for name in loops)
plots.ladder_figure(
    list(ladder),
    [pace[name] for name in ladder],
    ceiling,
    {"NumPy float32": pace["NumPy float32"]},
)

# %% [markdown]
# **Answer.** What you should notice, on whatever processor:
#
# - Two steps gain a factor of five or more each. The first has nothing to do with bits: the strict
#   loop must add in the order of the text, one number at a time; let the compiler reorder, and it
#   takes vectors. The paper's *baseline kernel* is as plain as these loops. Whoever compares bits
#   with the strict loop counts that step as theirs, so quote the product of a good library beside
#   it.
# - The second, which gains most, is the word: 64 pairs for three operations, even in plain loops.
# - All other rungs share what is left up to the ceiling, a factor of two to four. That is much if
#   you wait for it, and little beside what the *format* gave.
# - Which of the upper rungs is highest, and whether the block gains anything, depends on the
#   processor: on its popcount, and on what the compiler made of the plain loops. `carry_save` pays
#   for three popcounts at the end of each column: it needs long columns to earn them back, and a
#   processor that has no popcount for vectors. Elsewhere it falls behind, as it may in your
#   picture.
# - `qnn-ref bench ladder` measures the same with other libraries beside it.

# %% [markdown]
# ## 10.11 A whole network: Amdahl
#
# A kernel is 20 times faster. How much faster is the network? If part $i$ takes a share $s_i$ of
# the time and becomes $f_i$ times faster,
#
# $$\text{speed-up} = \frac{1}{\sum_i s_i / f_i}$$
#
# The network of the paper's section 6 is 784-4096-4096-4096-10. Its first layer sees pixels, not
# bits.
#
# **Question.** The paper's kernel is 23 times faster than its baseline kernel, and the first layer
# stays as it is. By how much is the network faster: about 20, 15 or 8 times? And with a kernel that
# takes no time at all?

# %% tags=["question"]
course.answer("10.11a", (8, 11.5))  # times faster


# %%
def amdahl(shares: list[float], speedups: list[float]) -> float:
    """Speed-up of the whole from the shares of its parts and their speed-ups."""
    return sum(shares) / sum(s / f for s, f in zip(shares, speedups, strict=True))


widths = (784, 4096, 4096, 4096, 10)
products = [n * m for n, m in pairwise(widths)]
first, hidden, last = products[0], sum(products[1:-1]), products[-1]
shares = [n / sum(products) for n in (first, hidden, last)]
print("shares of the multiply-adds:", *(f"{100 * s:.1f} %" for s in shares))
print(f"first layer as it is, the others 23 times faster: {amdahl(shares, [1, 23, 23]):.1f}")
print(f"first layer as it is, the others in no time:      {amdahl(shares, [1, 1e9, 1e9]):.1f}")
print(f"all 23 times, the first as eight planes:          {amdahl(shares, [23 / 8, 23, 23]):.1f}")

# %%
f = np.geomspace(1, 1000, 60)
plots.lines_figure(
    {
        "first layer as eight planes": (f, [amdahl(shares, [n / 8, n, n]) for n in f]),
        "first layer as it is": (f, [amdahl(shares, [1, n, n]) for n in f]),
    },
    "speed-up of the binary product",
    "speed-up of the network",
    {"limit: first layer as it is": amdahl(shares, [1, 1e9, 1e9])},
    logarithmic=True,
)

# %% [markdown]
# **Answer.** About 8 times, and the paper measured 7. With a kernel in no time at all it would be
# 11.5: the first layer is a twelfth of the work. Eight planes cost the first layer an eighth of the
# kernel's speed-up, so below 8 they are a loss; at 23 they nearly double the network's.

# %% [markdown]
# We have counted products only. Now measure the parts of a packed network of this size with random
# weights, for 100 images on one core, beside the same network in NumPy's float32.
#
# **Question.** Thresholds and packing are one comparison a unit, three in 10,000 of the operations.
# Which share of the packed network's time do they take? Which part has grown most, against the
# float network?

# %% tags=["question"]
course.answer("10.11b", "first layer")  # has grown most

# %%
pixels = rng.integers(0, 256, (100, 784), np.uint8)
signs = rng.choice([-1, 1], (4096, 784))
first_layer = PixelsDense(bits.pack(signs), 784)
hidden_layer = XnorDense(rng.integers(0, 2**64, (4096, 64), np.uint64), 4096)
last_layer = XnorDense(rng.integers(0, 2**64, (10, 64), np.uint64), 4096)
threshold = Threshold(np.zeros(4096, np.int32), rng.random(4096) < 0.5)
sums = first_layer.run(pixels)
activations = threshold.run(sums)
parts = {
    "first layer": lambda: first_layer.run(pixels),
    "hidden layers": lambda: hidden_layer.run(activations),
    "last layer": lambda: last_layer.run(activations),
    "thresholds": lambda: threshold.run(sums),
}

weights = [rng.normal(size=size).astype(np.float32) for size in ((784, 4096), (4096, 4096))]
gain, shift = rng.normal(size=(2, 4096)).astype(np.float32)
x0, x1 = signs_of(100, 784), signs_of(100, 4096)
float_sums = x0 @ weights[0]
float_parts = {
    "first layer": lambda: x0 @ weights[0],
    "hidden layers": lambda: x1 @ weights[1],
    "last layer": lambda: x1 @ weights[1][:, :10],
    "thresholds": lambda: np.where(float_sums * gain + shift >= 0, np.float32(1), np.float32(-1)),
}
times = {"hidden layers": 2, "thresholds": 3}  # how often the network has this part
rows = {}
for name, calls in (("float32", float_parts), ("packed", parts)):
    timings = interleave(calls, 7, 2.0, compiled=calls).timings
    rows[name] = {part: times.get(part, 1) * timings[part].median for part in calls}
plots.parts_figure(rows)

# %% [markdown]
# **Answer.** Some percent, a hundred times their share of the operations: they touch *every sum*,
# as a number of 32 bits, and a sum costs only 64 words of counting. The first layer has grown most,
# from a twelfth to a quarter or more; the faster the binary product, the more. This is Amdahl's law
# at work: what was too small to see is what you optimise next. (Thresholds are batch norm and Sign
# in the float network, compare and pack in the other one. The first layer is computed by lookup,
# 10.9, and not as eight planes.)

# %% [markdown]
# ## 10.12 Where binary loses
#
# Five products, each three times: with everything packed beforehand; with the left operand packed
# in each call, as in a network whose activations come as floats; with the weights packed in each
# call too, as in a layer that keeps floats. A bar on the left of the thick line means that NumPy's
# float32 product is faster.
#
# **Question.** Which of these does binary lose: $K = 8$; ten outputs; one vector times 256 x 256
# weights; one vector times 4096 x 4096 weights?

# %% tags=["question"]
course.answer("10.12a", "4096 x 4096")  # won by most

# %%
cases = {
    "256 x 1024 x 256": (256, 1024, 256),
    "K = 8: 256 x 8 x 256": (256, 8, 256),
    "ten outputs: 256 x 4096 x 10": (256, 4096, 10),
    "a vector: 1 x 256 x 256": (1, 256, 256),
    "a vector: 1 x 4096 x 4096": (1, 4096, 4096),
}


def compare(M: int, K: int, N: int) -> dict[str, float]:
    """How many times faster bits are than floats, with less and less packed beforehand."""
    x, w = signs_of(M, K), signs_of(K, N)
    words, panels = bits.pack(x), bits.to_panels(bits.pack(w.T), K)
    calls = {
        "float": lambda: x @ w,
        "all packed before": lambda: bits.xnor_matmul(words, panels, K),
        "inputs packed each time": lambda: bits.xnor_matmul(bits.pack(x), panels, K),
        "weights too": lambda: bits.xnor_matmul(bits.pack(x), bits.pack_panels(w).columns, K),
    }
    timings = interleave(calls, 15, 0.7, compiled=calls).timings
    base = timings.pop("float").median
    return {name: base / timing.median for name, timing in timings.items()}


plots.ratios_figure(
    {name: compare(*size) for name, size in cases.items()}, "times faster than NumPy's float32"
)

# %% [markdown]
# **Answer.**
#
# - **$K = 8$.** A word is one eighth full, and each result still costs its 32 bits of memory.
#   Binary loses.
# - **Ten outputs.** A number is packed once and used ten times only. Packing is a large part of the
#   time; with more outputs it would fade.
# - **A small vector.** The product takes less time than the call: checks, and the start of a
#   parallel loop. Nothing about bits is slow here; there is just nothing to be saved.
# - **A large vector.** Each weight is used *once*, so the time is that of reading the weights.
#   Floats read 64 MiB from memory, bits 2 MiB from the cache. This is where bits win most, and it
#   is the product of a network that answers one question at a time.
# - **Weights packed each time.** For one vector that means reading all floats after all, and doing
#   something with them: nothing is left of the gain.

# %% [markdown]
# How often is a weight used? Multiply-adds for each byte of weights that is read:

# %%
print("rows M   float32   bits")
for M in (1, 16, 256):
    print(f"{M:>6}   {M / 4:>7g}   {8 * M:>4}")

# %% [markdown]
# In one cycle a core typically makes 16 or 32 multiply-adds of floats, and gets some five bytes
# from memory. With one row, floats wait for memory (*memory-bound*); with hundreds the weights come
# from the cache and the arithmetic is the limit (*compute-bound*), where float BLAS is very good.
# Bits gain in both, for two different reasons.

# %% [markdown]
# ## 10.13 "Why is my binary network not faster?"
#
# 1. **It computes with floats.** Most frameworks keep $\pm1$ as float32 and call the float product.
#    Training then costs *more* than a float network, by the Signs. Bits must be packed, and a
#    kernel must be there that reads them.
# 2. **It packs in each call.** Weights change only when they are trained: pack them once, in the
#    order in which the kernel reads them (10.6, 10.12).
# 3. **The products are small.** Below some hundred pairs a dot product words are not full (10.2);
#    below some hundred thousand products the call is dearer than the work (10.12).
# 4. **The first layer.** It sees pixels. As it is, it limits the network to 11.5 times (10.11); as
#    planes or by lookup it costs several binary products.
# 5. **Batch norm lies between.** With floats between two layers every sum is turned into a float,
#    scaled, compared and packed. Folded into thresholds it is one comparison (notebook 4), and even
#    that can be seen (10.11).
# 6. **It is compared with the wrong thing**, or the right thing is compared unfairly: three loops
#    of floats (10.10), one thread against two, packing left out.
# 7. **It trains.** The backward pass has real gradients. XOR does not apply; lookup leaves a
#    quarter of the additions (10.9), and the optimizer reads and writes all of its floats in each
#    step.

# %% [markdown]
# ## Summary
#
# 1. An XOR is no faster than a multiplication. Bits win by width: 64 pairs in a word, 512 in a
#    register, and 32 times fewer bytes.
# 2. A block reads $(R + C) / (R\,C)$ words for each count; a panel puts columns side by side, so
#    that nothing is summed across lanes; counters stay in registers. All of it is exact, with no
#    mask.
# 3. Without a vector popcount, adders made of logic leave one popcount for eight words. For real
#    gradients, 16 sums in a table leave one addition for four pairs.
# 4. The network gains less than the kernel: 23 times become 8 if the first layer stays as it is.
#    Binary loses with few pairs, few outputs, or weights that are packed in each call.
#
# ## More to try
#
# 1. Write `dot(a, b)` for two vectors of $\pm1$ of any length in pure Python, with `int` as a word
#    of any width and `int.bit_count()`. Do you need padding? Now cut it into words of 64 and test
#    $K = 1, 63, 64, 65$.
# 2. Write a carry-save adder for three words that returns two, and count 48 words with it, taking
#    three at a time. How many popcounts are left, and what are they worth? Compare with the tree of
#    10.8.
# 3. Find an order of the 16 sums in which each differs from the one before in *one* sign (a Gray
#    code), so that one addition of $\pm 2a$ is enough. Is it better, if a processor can do several
#    additions at a time?
# 4. Count the words read by a block of $R \times C$, for all blocks with at most 24 counters. Which
#    one reads least? Now a counter vector holds eight columns, and there are 24 registers for
#    counters: which tile would you take?
# 5. Tables for *five* numbers have 32 sums. What does an output pay for a pair, and from how many
#    outputs on is it better than tables for four? Think of the cache too: how many bytes are eight
#    such tables, with 32 columns of float32?
# 6. In 10.11, let the thresholds take 20 % of the packed network's time. A new kernel makes the
#    hidden layers twice as fast. What does the network gain at most?
#
# ## Reading on
#
# Paper, section 6, and the authors' GPU kernel `binary_kernels.cu`. In the code:
# `qnn_ref/bits/ladder.py`, `panels.py` and `lookup.py`; `vectors.py` shows how Python gets vectors;
# `qnn-ref bench` measures all of it. Blocks and panels for floats: Goto and van de Geijn (2008),
# *Anatomy of high-performance matrix multiplication*. Adders: Muła, Kurz and Lemire (2018), *Faster
# population counts using AVX2 instructions*. Where time goes: Williams, Waterman and Patterson
# (2009), *Roofline: an insightful visual performance model*.
#
# Cost against width and batch, where bits win and where they lose, with the machine's limit:
# `qnn-ref bench scaling --plot scaling.png`; ours stands in the
# [results](../qnn_ref/experiments/results/README.md#speed).
#
# Next: [11 What it costs](11_what_it_costs.ipynb), or a layer of your own:
# [how to write one](../docs/write_a_layer.md).
