# %% [markdown]
# # 9. Memory of four bits
#
# **Goal.** Read a text a character at a time with a network that remembers, and give its weights
# and its memory few bits: draw a cell, check the gradient that goes back through time, train, let
# it write, and pack it.
#
# Afterwards you can
# - say how well a model foresees a text, in bits a character, and beat one that only counts;
# - show which numbers of a recurrent cell have few bits, and which stay real;
# - write the backward pass through time, and say where a gradient is lost on its way;
# - say what one bit costs here, with three seeds, and why.
#
# **Minutes.** 35 to read, 45 for the exercises.
#
# **Prerequisites.** LinearQuant and its readings from [notebook 7](07_two_bits_and_more.ipynb), the
# straight-through estimator from [notebook 1](01_one_bit.ipynb), Algorithm 1 from
# [notebook 2](02_by_hand.ipynb).
#
# **Equations.** Section 3, quantized recurrent networks; section 4.4 with its Table 4; Algorithm 1.
# The paper prints no cell: the places of the quantizers are our reading.

# %%
import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before the imports: idle threads sleep
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # small matrices: one thread is faster

from dataclasses import replace
from pathlib import Path

import numpy as np

import qnn_ref
from qnn_ref import course, datasets, plots, shown
from qnn_ref.checking import check_gradients
from qnn_ref.datasets import tokenize
from qnn_ref.experiments import TEXT_RECIPES
from qnn_ref.experiments.sweep import mean_and_spread, read_rows
from qnn_ref.experiments.text_runs import foreseen, prepared, train_text_recipe
from qnn_ref.experiments.trigram import trigram_nats
from qnn_ref.layers import LSTM, RNN, Dense, Embedding
from qnn_ref.layers.lstm import lstm_step as step_of_sums
from qnn_ref.likelihood import bits_per_symbol
from qnn_ref.network import Sequential
from qnn_ref.packed import pack_sequence
from qnn_ref.packed.generation import generate_tokens
from qnn_ref.quantizers import LinearQuant, Quantizer

# %matplotlib inline
print("qnn_ref", qnn_ref.__version__)

# %% [markdown]
# ## 9.1 How well is a text foreseen?
#
# Our text is 300,000 characters of Shakespeare: 80 % train, 10 % choose, 10 % test. A model reads
# the beginning and gives every character a probability to be the next. If the one that comes had
# probability $p$, it has cost $-\log_2 p$ **bits**; the mean over the text is "bits per
# character". Paper and we take the sum over *all* characters, in float64, and divide once: a mean
# of means over windows of different lengths would be another number.
#
# **Question.** How many bits does a model need that knows the 63 symbols and nothing else?

# %% tags=["question"]
course.answer("9.1a", 5.98)  # bits a character, knowing nothing

# %%
text = datasets.load("shakespeare")
tokens = tokenize(text, "characters")
vocabulary, before = tokens.vocabulary, tokens.validation
print(text)
print(vocabulary.decode(tokens.test[:120]))
print()
print(f"knowing nothing:            {np.log2(len(vocabulary)):.2f} bits a character")
for order, words in ((1, "how often each occurs"), (2, "the character before"), (3, "the two")):
    start = before[len(before) - order + 1 :]
    nats = trigram_nats(tokens.train, tokens.test, start, len(vocabulary), order)
    print(f"counting {words + ':':<22} {bits_per_symbol(nats, len(tokens.test)):.2f}")
print(tokens.strangers_said())

# %% [markdown]
# **Answer.** $\log_2 63 = 5.98$. (One of the 63 stands for whatever the training part does not
# have; here nothing is unknown.) Counting pairs and triples comes down to 2.99 bits without a
# network: that is the mark to beat. A model that counts tuples of ten would have seen nearly none
# of them before; a network that *remembers* does not need them.

# %% [markdown]
# ## 9.2 A cell
#
# A recurrent layer has a state. Each step multiplies the input and the state by weights, and makes
# the next state of the sums. The plain one, as in the paper's character model:
#
# $$h_t = \mathrm{ReLU}(x_t W_x + b + h^q_{t-1} W_h)$$
#
# An **LSTM** keeps a second state, the cell $c$, which is only scaled and added to:
#
# $$c_t = f\,c_{t-1} + i\,g, \qquad h_t = o \tanh(c_t)$$
#
# with $i, f, o$ sigmoids and $g$ a tanh of sums like the above. Section 3 says nothing more than
# that weights and activations are quantized. We read it so: **the operands of every product** have
# few bits (inputs, weights, and the state $h$ where it meets $W_h$); sums, gates, bias and the
# cell $c$ are real. Products are nearly all of the work, and the rest is $O(n)$ numbers a step.

# %%
plots.cell_figure()

# %%
print(shown.source(step_of_sums))

# %% [markdown]
# **Question.** A forget gate with a bias of 5 and nothing else is $\sigma(5) = 0.9933$. The cell
# is 1 and the candidate stays 0. What is left of it after 10 steps?

# %% tags=["question"]
course.answer("9.2a", 0.935)  # of c = 1, after 10 steps

# %%
sums = np.array([[0.0, 5.0, 0.0, 0.0]])  # input, forget, candidate, output
c = np.ones((1, 1))
for step in range(1, 11):
    h, c, _ = step_of_sums(sums, c)
    if step in (1, 10):
        print(f"step {step:2}: c = {c[0, 0]:.5f}, h = {h[0, 0]:.5f}")
print("expect c = 0.99331 and h = 0.37938 after the first")

# %% [markdown]
# **Answer.** $0.9933^{10} = 0.935$. Nothing multiplies the cell by a matrix: that is why an LSTM
# can remember, and why we leave the cell in real numbers. With a bias of 0 the gate would be 1/2,
# and $0.5^{10}$ is nothing; so forget biases start at 1 here.

# %% [markdown]
# **Exercise 9.2.** Write a step of an LSTM. The sums come in four blocks: input gate, forget gate,
# candidate, output gate.


# %% tags=["exercise", "id:9.2"]
def lstm_step(x, h, c, Wx, Wh, b):
    """State h and cell c after one step; z = x Wx + h Wh + b in four blocks i, f, g, o."""
    # BEGIN SOLUTION
    z_i, z_f, z_g, z_o = np.split(x @ Wx + h @ Wh + b, 4)
    i, f, o = (1 / (1 + np.exp(-z)) for z in (z_i, z_f, z_o))
    c = f * c + i * np.tanh(z_g)
    return o * np.tanh(c), c
    # END SOLUTION


course.check("9.2", lstm_step)

# %% [markdown]
# ## 9.3 Back through time
#
# Three steps of a recurrent layer are three layers with the same weights. So the backward pass is
# the one of notebook 2, with two things to remember. The state $h_t$ is heard twice: by what is
# above it, and by step $t + 1$. And $W_h$ is used in every step: its gradient is a **sum** over
# the steps.
#
# **Exercise 9.1.** Write it for $h_t = \tanh(x_t W_x + h_{t-1} W_h)$, one sequence, real numbers.


# %% tags=["exercise", "id:9.1"]
def rnn_backward(dh, x, h, Wx, Wh):
    """Gradients of x, Wx and Wh, given those of all states; zeros stand before the first."""
    # BEGIN SOLUTION
    dx, dWx, dWh = np.zeros_like(x), np.zeros_like(Wx), np.zeros_like(Wh)
    carry = np.zeros_like(h[0])
    for t in reversed(range(len(x))):
        dz = (dh[t] + carry) * (1 - h[t] ** 2)
        dx[t] = Wx @ dz
        dWx += np.outer(x[t], dz)
        if t > 0:
            dWh += np.outer(h[t - 1], dz)
        carry = Wh @ dz
    return dx, dWx, dWh
    # END SOLUTION


course.check("9.1", rnn_backward)

# %% [markdown]
# With quantizers the same loop stays, and the straight-through estimator goes back through time in
# each step. Is that right? The checker replaces every quantizer around its point by a straight
# line (notebook 1), so that central differences must agree with the backward pass to many digits.
# Here it looks at a whole language model of 2-bit weights and 4-bit states, over five steps.


# %%
def language_model(cell: str, weights: Quantizer, states: Quantizer) -> Sequential:
    """Table, cell and scores for ten symbols, for any number of steps."""
    body = LSTM(6, weights, states) if cell == "LSTM" else RNN(6, weights, states)
    layers = [Embedding(10, 4, weights), body, Dense(10, weights, bias=True)]
    return Sequential(layers, (-1,), np.random.default_rng(3))


two_bits = LinearQuant(2, reading="fixed-point")
drawn = np.random.default_rng(4).integers(0, 10, (3, 5))
for cell, states in (("RNN", LinearQuant(4, reading="unsigned")), ("LSTM", LinearQuant(4))):
    network = language_model(cell, two_bits, states)
    report = check_gradients(network, drawn, rng=np.random.default_rng(5))
    worst = report.worst_relative_error
    print(f"{cell}: {'passed' if report.passed else 'failed'}, worst relative error {worst:.0e}")
print("expect 1e-6 or less")

# %% [markdown]
# ## 9.4 Four networks
#
# A text does not end, and a gradient cannot go back through all of it. We read 100 places of the
# text side by side, 12 characters at a time; the *state* is handed to the next window, the gradient
# is cut there (**truncated** backpropagation), and what is longer than 1 is shortened, since a
# gradient that passes $W_h$ again and again can also grow. Paper and code part here: optimizer,
# window and clipping are not in the paper, and stand as our choices in
# `qnn_ref/experiments/text_recipe.py`.
#
# The same cell four times, 128 ReLU units: weights and states of 1, 2 and 4 bits, and float. Names
# are bits of weights - bits of states. To be quick they read the text twice only.

# %%
NAMES = {"1-1": "1-1", "2-2": "2-2", "4-4": "4-4", "float": "fp"}
runs, results = {}, {}
for name, ending in NAMES.items():
    recipe = replace(TEXT_RECIPES[f"text-char-rnn-{ending}"], epochs=2)
    runs[name] = train_text_recipe(recipe, text)
    results[name] = foreseen(runs[name].best_network(), prepared(recipe, text), lanes=8)
    print(f"{name:<6} {results[name].test_bits:.2f} bits a character of the test part")
counted = results["float"].trigram_bits
print(f"counted: {counted:.2f}")
plots.text_figure({name: run.history for name, run in runs.items()}, counted)

# %% [markdown]
# The four start from the same numbers: latent weights are those of the float network, cut to the
# range that their quantizer has. The one with four bits keeps up with it from the first pass on;
# the one with a single bit stays behind the model that counts. 9.7 has longer runs, with three
# seeds.

# %% [markdown]
# ## 9.5 What is left of a gradient?
#
# Let a loss look at the last state only. How long is its gradient, so many steps earlier? In each
# step back it is multiplied by ${W_h^q}^\top$, and masked twice: where ReLU was 0, and where the
# state was beyond the range of its quantizer.
#
# **Question.** In which of the four networks is least left after 20 steps?

# %% tags=["question"]
course.answer("9.5a", "1-1")  # least left after 20 steps


# %%
def lengths_back(network: Sequential, x: np.ndarray, most: int = 24) -> np.ndarray:
    """Length of the gradient of the state, 0 to `most` - 1 steps before the last one."""
    cell, numbers = network.layers[1], network.layers[0].forward(x)
    found, direction = [], np.random.default_rng(0).normal(size=(len(x), 1, cell.units))
    for back in range(1, most + 1):
        cell.forward(numbers[:, :-back])
        y = cell.forward(numbers[:, -back:], training=True, state=cell.final_state)
        dy = np.zeros_like(y)
        dy[:, -1:] = direction
        cell.backward(dy)  # also of the state that stood before these steps
        found.append(np.linalg.norm(cell.state_gradient))
    return np.array(found)


some = tokens.test[: 64 * 40].reshape(64, 40)
lengths = {name: lengths_back(run.best_network(), some) for name, run in runs.items()}
plots.through_time_figure(lengths)

# %%
for name, length in lengths.items():
    print(f"{name:<6} after 8 steps {length[8] / length[0]:8.1e}", end="")
    print(f", after 20 steps {length[20] / length[0]:8.1e}")

# %% [markdown]
# **Answer.** The fewer bits, the sooner the gradient is gone: with one bit a ten-thousandth is
# left. Nobody can learn from a character that far back if nothing arrives there: compare the
# numbers of 9.4. (Whether it is the masks or the weights that shorten it: exercise 2.)

# %% [markdown]
# ## 9.6 What do they write?
#
# The network's own probabilities draw the next character, and that one is read next. Temperature
# below 1 makes likely characters likelier.

# %%
start = vocabulary.encode("\n")
for name, run in runs.items():
    drawn = generate_tokens(run.best_network(), start, 240, np.random.default_rng(7), 0.7)
    print(f"--- {name}: {results[name].test_bits:.2f} bits a character ---")
    print(vocabulary.decode(drawn).strip())
    print()

# %% [markdown]
# Even the network of one bit has learned how long words are. With more bits more of the words
# exist, and lines and names in capitals appear. After two passes over a small text nobody writes
# like Shakespeare; the command at the end of 9.8 trains longer.

# %% [markdown]
# ## 9.7 How many bits does a memory need?
#
# Now the whole training part, longer, with three seeds each: the sweep `text-bits`, which was run
# once and stored. "1-4" are weights of one bit with states of four.
#
# **Question.** Literature says that binary *recurrent* weights fail. Does any seed of the networks
# with one-bit weights come up to the float network?

# %% tags=["question"]
course.answer("9.7a", False)

# %%
results_folder = Path(qnn_ref.__file__).parent / "experiments" / "results"
rows = read_rows(results_folder / "text-bits.csv")
table = mean_and_spread(rows, ["weights", "states"], "test_bits", digits=3)
for row in table:
    name = "float" if row["weights"] == "32" else f"{row['weights']}-{row['states']}"
    seeds = " ".join(
        r["test_bits"]
        for r in rows
        if r["weights"] == row["weights"] and r["states"] == row["states"]
    )
    print(f"{name:<6} {row['mean']} ± {row['spread']}   each seed: {seeds}")
trigram = float(rows[0]["trigram_bits"])
print(f"counted {trigram:.3f}")
plots.bits_of_text_figure(table, trigram)

# %% [markdown]
# **Answer.** No, and more than that: with weights of one bit every network stays behind the model
# that only counts, whether its states have one bit or four. So here the literature is right. Two
# bits with a zero among their levels pass it, three come close, and four cannot be told from float
# by three seeds. (What this is: 128 units, five passes over a small text, a range for one bit that
# was tried at two values. The paper's networks have 2,048 units and another text.)

# %% [markdown]
# ## 9.8 Packed
#
# Codes and bit planes for the products, the very same gate functions for the rest: so the packed
# network equals the trained one bit for bit, in every step, and writes the same text with the same
# seed. Had we packed with a tanh of another library, a difference in the last place could flip a
# state to the next level, and then everything after it.

# %%
trained = runs["4-4"].best_network()
packed = pack_sequence(trained, vocabulary.symbols, vocabulary.level)
texts = [
    vocabulary.decode(generate_tokens(model, start, 200, np.random.default_rng(7)))
    for model in (trained, packed)
]
print("the same text:", texts[0] == texts[1])
floats = sum(4 * p.size for p in trained.parameters().values())
print(f"packed {packed.nbytes:,} bytes, in float32 {floats:,}")
packed

# %% [markdown]
# From the command line:
#
# ```
# qnn-ref train text-char-rnn-4-4 --out RUN
# qnn-ref pack RUN -o speare.qnn --verify
# qnn-ref generate speare.qnn --length 500 --seed 1 --temperature 0.7
# ```
#
# ## Summary
#
# 1. A language model is measured by the bits it pays for each character, summed over all of a text.
#    A trigram model that only counts is the mark to beat.
# 2. A quantized cell has few bits where products are: inputs, weights and the state on its way to
#    $W_h$. Gates, sums and the cell of an LSTM are real.
# 3. The backward pass through time is the one of notebook 2, with two sums: a state is heard by the
#    loss above it *and* by the next step, and weights are used in every step.
# 4. A gradient loses length on its way back, at masks and at small weights. An LSTM's cell is the
#    way without a matrix.
# 5. One bit is too few for a memory, two are enough to beat counting, and four are as good as float
#    here. The range of the levels has to fit the number of units.
#
# ## Exercises
#
# 1. (9.1 and 9.2 above.) How many steps back does a gradient reach in an LSTM of 4 bits? Train
#    `replace(TEXT_RECIPES["text-char-rnn-4-4"], cell="lstm", epochs=2)` and draw it
#    into the picture of 9.5.
# 2. In 9.5, count the share of open units in each step back (read the text one character at a
#    time: `cell.final_state` is the state), and look at the largest singular value of $W_h^q$.
#    Which of the two makes the gradient of one bit shorter?
# 3. Give the weights of two bits the symmetric levels $-1, -\tfrac13, \tfrac13, 1$ instead of
#    $-1, -\tfrac12, 0, \tfrac12$ (`TextRecipe.weights_of`). What does the zero do for a memory?
# 4. Windows of 4, 12 and 48 characters at equal time: which is best? What is the price of a longer
#    one, beside the memory?
# 5. Perplexity is $2^{\text{bits}}$. The paper gives perplexities of words and bits of characters.
#    What would our bits a character be as a perplexity of words, if a word has 5.6 characters with
#    its space?
#
# ## Reading on
#
# Paper, sections 3 and 4.4. In the code: `qnn_ref/layers/recurrent.py`, `rnn.py` and `lstm.py`;
# `qnn_ref/language.py` is Algorithm 1 along a text, `qnn_ref/likelihood.py` the sum of 9.1. Binary
# recurrent weights: Ott, Lin, Zhang, Liu, Bengio (2016), *Recurrent neural networks with limited
# numerical precision*. Gradients that vanish or grow: Bengio, Simard, Frasconi (1994), *Learning
# long-term dependencies with gradient descent is difficult*; clipping: Pascanu, Mikolov, Bengio
# (2013), *On the difficulty of training recurrent neural networks*.
#
# Next: [10. The kernel ladder](10_the_kernel_ladder.ipynb).
