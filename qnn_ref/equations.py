"""Index of the paper: where each equation, algorithm and table is computed, tested and taught.

Functions are dotted names, since they stand on all floors; `locate` finds their file and line in
the source text, without importing anything. Numbers of equations from 6 on, and of the tables,
differ between versions of the paper; what is not certain has a name instead of a number.
"""

from __future__ import annotations

import ast
import re
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path(__file__).parent


class Equation(NamedTuple):
    """An entry of the index.

    Parameters
    ----------
    id : str
        Section, then number or name.
    title : str
    function : str
        Dotted name of what computes it; empty where the package does not have it yet.
    test : str
        "file::function" of a test that fails if it is wrong.
    notebook : str
        Where the course explains it; empty if nowhere.
    """

    id: str
    title: str
    function: str
    test: str
    notebook: str


# id | title | function | test | notebook
TABLE = """
2.1 eq. 1 | Sign | quantizers.Sign.encode | test_quantizers.py::test_sign_is_plus_one_from_zero_upwards | 01
2.1 eq. 2 | stochastic sign, stochastic binarization | quantizers.StochasticSign.encode | test_quantizers.py::test_stochastic_sign_is_plus_one_where_the_noise_is_below_the_probability | 01
2.1 eq. 3 | hard sigmoid | quantizers.hard_sigmoid | test_quantizers.py::test_hard_sigmoid_is_half_of_one_plus_x_between_zero_and_one | 01

2.2 latent weights | accumulated in real numbers | layers.Parameter | test_optimizers.py::test_the_gradient_of_the_binary_weight_moves_the_latent_one | 01

2.3 eq. 4 | straight-through estimator (STE): its gradient | quantizers.hard_tanh_backward | test_quantizers.py::test_gradient_passes_where_the_input_is_within_the_bound | 01
2.3 eq. 5 | hard tanh, Htanh | quantizers.hard_tanh | test_quantizers.py::test_hard_tanh_is_the_clipped_identity | 01
2.3 figure | Sign, Htanh and the estimator | plots.straight_through_figure | test_plots.py::test_a_full_dot_marks_the_value_at_a_bound | 01
2.3 clipping | latent weights stay in [-1, 1] | optimizers.Optimizer.step | test_optimizers.py::test_latent_weights_stay_within_their_bound_and_reach_it | 01
2.3 Algorithm 1 | a training step, all lines | training.train_epoch | test_algorithm1.py::test_five_training_steps_agree_with_the_oracle | 02
2.3 Algorithm 1, line 1 | Binarize the weights | layers.Parameter.codes | test_layers_base.py::test_latent_is_real_and_quantized_is_plus_or_minus_one | 02
2.3 Algorithm 1, line 2 | forward product | products.PlainProducts.forward | test_dense.py::test_forward_is_the_input_times_the_quantized_weights | 02
2.3 Algorithm 1, line 3 | BatchNorm | layers.BatchNorm.forward | test_normalization.py::test_training_normalizes_with_the_batch_and_then_scales_and_shifts | 02
2.3 Algorithm 1, line 4 | Binarize the activations | layers.Quantize.forward | test_activations.py::test_quantize_emits_signs_and_passes_the_gradient_within_the_bound | 02
2.3 Algorithm 1, line 5 | gradient of the loss | losses.squared_hinge | test_losses.py::test_squared_hinge_is_the_mean_over_batch_and_classes | 02
2.3 Algorithm 1, line 6 | mask where the activation saturates | layers.Quantize.backward | test_activations.py::test_quantize_emits_signs_and_passes_the_gradient_within_the_bound | 02
2.3 Algorithm 1, line 7 | BackBatchNorm | layers.BatchNorm.backward | test_normalization.py::test_backward_is_the_exact_gradient | 02
2.3 Algorithm 1, line 8 | gradient of the input | products.PlainProducts.input_gradient | test_dense.py::test_backward_is_the_gradient_with_respect_to_the_quantized_weights | 02
2.3 Algorithm 1, line 9 | gradient of the weights | products.PlainProducts.weight_gradient | test_dense.py::test_backward_is_the_gradient_with_respect_to_the_quantized_weights | 02
2.3 Algorithm 1, line 10 | Update of batch norm's parameters | optimizers.Optimizer.step | test_optimizers.py::test_adam_follows_its_formula | 02
2.3 Algorithm 1, line 11 | Clip(Update) of the latent weights | optimizers.Optimizer.step | test_optimizers.py::test_scaled_rule_moves_gamma_times_as_far_and_is_then_clipped | 02
2.3 Algorithm 1, line 12 | decay of the learning rate | optimizers.ExponentialDecay | test_optimizers.py::test_decay_of_the_papers_recipes |
2.3 gamma_k | learning-rate scale from the Glorot coefficient | layers.glorot_scale | test_experiments.py::test_mnist_theano_learning_rate_scales_and_order_of_layers | 02
2.3 start | initial weights in [-1, 1], real ones as Glorot | layers.weighted.Weighted.make_weights | test_dense.py::test_float_weights_start_in_glorots_range_and_are_neither_clipped_nor_scaled |

2.4 batch norm | batch normalization, forward | layers.BatchNorm.forward | test_normalization.py::test_training_normalizes_with_the_batch_and_then_scales_and_shifts | 02
2.4 batch norm, backward | exact gradient | layers.BatchNorm.backward | test_normalization.py::test_backward_is_the_exact_gradient | 02
2.4 batch norm, running statistics | averages of the mean and the inverse deviation | layers.BatchNorm.forward | test_normalization.py::test_running_averages_of_the_mean_and_the_inverse_deviation | 03
2.4 AP2 | approximate power of two | shifts.ap2 | test_shifts.py::test_ap2_is_right_in_rational_arithmetic | 05
2.4 shift | product with a power of two | shifts.shift_multiply_fixed | test_shifts.py::test_shifts_of_integers_equal_the_product_of_floats | 05
2.4 Algorithm 2 | shift-based batch norm | layers.ShiftBatchNorm.forward | test_shift_normalization.py::test_training_is_algorithm_2 | 05
2.4 Algorithm 2, backward | shift-based batch norm, three forms | layers.ShiftBatchNorm.backward | test_shift_normalization.py::test_s_and_r_are_the_gradients_of_their_surrogates | 05

2.5 ADAM | rule of the Theano recipes | optimizers.Adam | test_optimizers.py::test_adam_follows_its_formula | 02
2.5 AdaMax | infinity norm | optimizers.AdaMax | test_optimizers.py::test_adamax_follows_its_formula | 05
2.5 Algorithm 4 | shift-based AdaMax | optimizers.ShiftAdaMax | test_shift_adamax.py::test_ten_steps_are_the_oracles | 05
2.5 halving | decay of the learning rate by shifts | optimizers.Halving | test_shift_adamax.py::test_halving_is_a_shift_every_n_epochs |

2.6 eq. 6 | fixed-point input | layers.Pixels.forward | test_dense.py::test_the_product_of_codes_is_an_exact_integer_before_the_scale | 04
2.6 eq. 7 | bit planes of the input | bits.planes_matmul | test_planes.py::test_pixels_are_equation_7_with_both_operands_plus_or_minus_one | 04
2.6 two's complement | bit planes of signed pixels | bits.to_fixed_planes | test_levels.py::test_planes_of_twos_complement_hold_the_codes | 07
2.6 Algorithm 5 | running on bits, all lines | packed.PackedNetwork.scores | test_packed_network.py::test_scores_equal_the_trained_network_bit_for_bit | 04
2.6 Algorithm 5, line 1 | first layer: pixels by bit planes | packed.product_stages.PixelsDense.run | test_packed_network.py::test_scores_equal_the_trained_network_bit_for_bit | 04
2.6 Algorithm 5, line 2 | hidden layers: Xnor | packed.product_stages.XnorDense.run | test_packed_network.py::test_scores_equal_the_trained_network_bit_for_bit | 04
2.6 Algorithm 5, lines 1 and 2 | Sign(BN) of the sums | packed.thresholds.Threshold.run | test_packed_network.py::test_scores_equal_the_trained_network_bit_for_bit | 04
2.6 Algorithm 5, line 3 | last layer: BN of the sums, as real numbers | packed.thresholds.Scores.run | test_packed_network.py::test_scores_are_those_of_sums | 04
2.6 threshold | Sign(BN) of an integer is a comparison | packed.thresholds.find_thresholds | test_packed_thresholds.py::test_threshold_is_the_float_code_for_every_sum | 04
2.6 zero padding | exact by a correction | bits.outside_sums | test_bits_conv.py::test_zero_padding_counts_nothing_and_one_padding_plus_one | 06

3 LinearQuant | symmetric, fixed-point, unsigned (L3, L1, L5) | quantizers.LinearQuant.encode | test_linear_quant.py::test_l3_l1_and_l5_are_their_formulas_in_rational_arithmetic | 07
3 LogQuant | finite exponents and a zero | quantizers.LogQuant.encode | test_log_quant.py::test_codes_are_zero_and_powers_of_two | 07
3 LogQuant, stochastic | unbiased | quantizers.logarithmic.stochastic_log_codes | test_log_quant.py::test_stochastic_form_is_unbiased | 08
3 straight-through | clip(x, minV, maxV) | quantizers.linear.clip_backward | test_linear_quant.py::test_backward_is_the_gradient_of_the_surrogate | 07
3 products, symmetric | k l runs of XNOR | bits.levels_matmul | test_levels.py::test_levels_matmul_is_the_integer_product_for_all_bits | 07
3 products, fixed-point | AND, two's complement | bits.fixed_matmul | test_levels.py::test_fixed_matmul_is_the_integer_product_for_all_bits | 07
3 k-bit networks | codes between layers | packed.thresholds.Levels | test_packed_levels.py::test_scores_of_dense_networks_of_k_bits_are_equal_bit_for_bit | 07
3 gradients | quantized before both products | layers.weighted.Weighted.quantized_gradient | test_gradient_quantizers.py::test_both_products_of_a_dense_layer_see_the_quantized_gradient | 08
3 gradients, shifts | products of powers of two | products.ShiftProducts | test_powers.py::test_a_network_with_six_bit_gradients_gets_the_same_gradients_by_shifts | 08
3 gradients, DoReFa | for comparison | quantizers.DoReFaGradient | test_gradient_quantizers.py::test_dorefa_is_its_formula_with_a_range_for_each_example | 08
3 recurrent networks | operands of every product quantized | layers.recurrent.Recurrent.forward | test_recurrent.py::test_inputs_and_weight_gradients_take_one_product_for_all_steps | 09
3 recurrent networks, backward | backpropagation through time | layers.recurrent.Recurrent.backward | test_recurrent.py::test_gradients_of_two_parts_with_that_of_the_state_between_are_those_of_the_whole | 09

4.1 training curves | errors and losses, binary beside float | plots.training_figure | test_plots.py::test_training_shows_errors_and_losses_from_epoch_1 | 03
4.1 Table 1 | the paper's test errors, and the recipe for ours | experiments.tables.TABLE_1 | test_tables.py::test_table_1_names_the_recipes_that_name_its_errors |
4.2 squared hinge | L2-SVM output | losses.squared_hinge | test_losses.py::test_squared_hinge_is_the_mean_over_batch_and_classes | 02
4.2 dropout | inverted scaling, of input and hidden units | layers.Dropout | test_dropout.py::test_forward_and_backward_multiply_by_one_mask_of_zero_and_the_inverse_share |
4.2 convolution | 3x3 with zero padding | layers.Conv2D | test_conv.py::test_forward_is_the_definition | 06
4.2 max pool | max pooling before batch norm | layers.MaxPool2D | test_pooling.py::test_pools_are_their_definition_forward_and_backward | 06
4.2 best epoch | chosen by validation, the latest of ties | training.keep_best | test_training.py::test_of_equally_good_epochs_the_later_one_is_kept_with_its_own_arrays |
4.2 MNIST | both recipes | experiments.mnist_theano.MNIST_THEANO | test_experiments.py::test_mnist_theano_is_the_papers | 03
4.2 CIFAR-10 | both recipes | experiments.cifar10.CIFAR10_THEANO | test_experiments.py::test_convolutional_theano_recipes_are_the_papers | 06
4.2 SVHN | both recipes | experiments.svhn.SVHN_THEANO | test_experiments.py::test_convolutional_theano_recipes_are_the_papers |
4.2 GCN | global contrast normalization | datasets.preprocessing.global_contrast_normalize | test_datasets_preprocessing.py::test_gcn_is_its_formula |
4.2 ZCA | whitening | datasets.preprocessing.zca_fit | test_datasets_preprocessing.py::test_whitened_images_have_the_identity_as_covariance |
4.2 LCN | local contrast normalization | datasets.preprocessing.local_contrast_normalize | test_datasets_preprocessing.py::test_lcn_is_its_definition |
4.3 AlexNet | layers | experiments.alexnet.alexnet | test_experiments.py::test_alexnet_has_the_layers_of_the_authors_code |
4.3 GoogLeNet | ten inception blocks | experiments.googlenet.googlenet | test_experiments.py::test_googlenet_has_the_blocks_of_bn_inception |
4.3 inception block | parallel paths, joined along the channels | layers.Branches | test_branches.py::test_gradients_of_the_paths_add |
4.3 auxiliary losses | classifiers in the middle of the network | layers.Auxiliary | test_branches.py::test_the_heads_gradient_is_added_with_its_weight |
4.3 softmax | cross-entropy, negative log-likelihood | losses.softmax_cross_entropy | test_losses.py::test_cross_entropy_is_the_mean_of_minus_log_p |
4.3 relaxed boundary | a wider mask | network.Sequential.relax_boundaries | test_quantizers.py::test_a_wider_bound_lets_more_gradient_through |
4.4 RNN | one step: ReLU or tanh | layers.rnn.rnn_step | test_rnn.py::test_forward_and_backward_are_those_of_loops_over_numbers | 09
4.4 LSTM | one step: gates and cell | layers.lstm.lstm_step | test_lstm.py::test_forward_and_backward_are_those_of_loops_over_numbers | 09
4.4 LSTM, backward | one step back | layers.lstm.lstm_step_backward | test_lstm.py::test_the_step_back_is_the_slope_of_the_step | 09
4.4 embedding | rows of a table, quantized | layers.Embedding.forward | test_embedding.py::test_it_is_the_product_of_one_hot_vectors_with_the_table | 09
4.4 Table 4 | language models, recipes | experiments.language_models.PTB_CHARACTERS | test_text_runs.py::test_the_models_of_table_4 | 09
4.4 bits and perplexity | summed over all tokens, divided once | likelihood.text_nats | test_language.py::test_every_token_counts_once_whatever_the_windows | 09
4.4 PPW | perplexity per word | likelihood.perplexity | test_language.py::test_a_network_without_an_idea_needs_the_logarithm_of_its_symbols | 09
4.4 training | along a text, truncated backpropagation (our choice) | language.train_text | test_language.py::test_each_window_begins_with_the_state_of_the_one_before | 09
4.4 packed cell | products on bits, real gates, equal in each step | packed.recurrent_stages.GridRecurrent.run_steps | test_packed_sequence.py::test_scores_and_states_are_those_of_the_trained_network_bit_for_bit | 09

5 energy, operations | picojoules of a multiplication or an addition: Horowitz's table | cost.picojoules | test_cost_network.py::test_energy_is_operations_times_prices | 11
5 energy, memory | picojoules of an access of 64 bits, by the size of the memory | cost.level_of | test_cost_network.py::test_an_array_lies_in_the_smallest_memory_that_holds_it | 11
5 energy, networks | operations and accesses of a forward pass | cost.inference_cost | test_cost_network.py::test_a_binary_network_by_hand | 11
5 energy, training | the same of a training step | cost.training_cost | test_cost_network.py::test_a_training_step_by_hand | 11
5.1 memory | memory factor: 32 times less, one bit a weight | cost.memory_of | test_cost_network.py::test_pairs_are_the_recipes_own_count | 11
5.1 memory, packed | one bit a weight in a file | packed.PackedNetwork.nbytes | test_packed_file.py::test_file_holds_one_bit_a_weight | 04
5.2 XNOR-count | what a product of few bits consists of | cost.operations.product | test_cost_network.py::test_k_bits_are_k_l_binary_products | 11
5.2 slices | of an FPGA: 200 for a float multiplier, 1 for an XNOR | cost.energy.slices | test_cost_network.py::test_a_binary_network_by_hand | 11
5.3 repeated filters | unique 3x3 filters | cost.unique_filters | test_cost.py::test_shares_by_hand | 06
5.3 repeated filters, operations | XNORs and counts that are left | cost.filter_operations | test_cost.py::test_operations_with_each_filter_once | 11
5.3 repeated filters, kernel | each 2-D filter once a map | bits.repeated_conv | test_repeated_filters.py::test_it_is_its_twin_and_the_plain_convolution | 11
5.3 figure | binary filters | plots.filters_figure | test_plots_convolutions.py::test_filters_fill_the_grid_with_their_labels | 06

6 eq. 8 | XNOR and popcount | bits.xnor_matmul | test_gemm.py::test_product_is_its_twin_and_the_integer_product | 04
6 packing | signs into words | bits.pack | test_words.py::test_pack_is_its_twin_and_the_convention | 04
6 convolution on bits | XNOR and popcount, packed windows | bits.xnor_conv | test_bits_conv.py::test_convolution_is_its_twin_and_the_plain_one | 06
6 baseline kernel | product of floats, loop by loop | bits.ladder.float_loops | test_ladder.py::test_every_rung_is_the_twin | 10
6 XNOR kernel | from three loops to vectors | bits.ladder.vector_tiles | test_ladder.py::test_every_rung_is_the_twin | 10
6 kernels on CUDA | XNOR kernel and baseline in tiles, for a graphics processor | bits.cuda.cuda_xnor_matmul | test_cuda.py::test_the_simulator_gives_the_twins_bits |
6 backward product | signs times reals without multiplications | bits.signs_matmul | test_lookup.py::test_is_its_twin_and_the_product | 10
6 Algorithm 1 on bits | the three products of training | products.BitProducts | test_products.py::test_bits_give_the_three_products_of_signs | 10
"""  # noqa: E501


def _entries(table: str) -> tuple[Equation, ...]:
    rows = [line.split("|") for line in table.splitlines() if line]
    return tuple(Equation(*(cell.strip() for cell in row)) for row in rows)


EQUATIONS = _entries(TABLE)


# Search


def words_of(text: str) -> list[str]:
    """Words and numbers of a text or a name, in lower case: "ShiftBatchNorm" is three words."""
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)
    found = re.findall(r"\d+(?:\.\d+)*|[a-z]+", parted.lower())
    return ["eq" if re.fullmatch("eqs|eqn|equations?", word) else word for word in found]


def search(text: str, entries: tuple[Equation, ...] = EQUATIONS) -> list[Equation]:
    """Entries that contain these words, one after the other; where there are none, in any order.

    Parameters
    ----------
    text : str
        Words of an entry's id, title or function, or their beginnings; or a section's number.
    entries : tuple of Equation, optional

    Returns
    -------
    list of Equation
        In the order of the paper; all of them if there is no word.
    """
    wanted = [word for word in words_of(text) if word not in ("section", "sec")]
    if len(wanted) == 1 and wanted[0][0].isdigit():
        number = wanted[0]
        of_section = [e for e in entries if f"{e.id.split()[0]}.".startswith(f"{number}.")]
        if of_section:
            return of_section
    known = {e: words_of(f"{e.id} {e.title} | {e.function}") for e in entries}
    return [e for e in entries if _stand_together(wanted, known[e])] or [
        e for e in entries if all(any(_meant(w, k) for k in known[e]) for w in wanted)
    ]


def _stand_together(wanted: list[str], known: list[str]) -> bool:
    """Whether the words stand somewhere side by side."""
    return any(
        all(map(_meant, wanted, known[start:]))
        for start in range(max(1, len(known) - len(wanted) + 1))
    )


def _meant(wanted: str, known: str) -> bool:
    """Whether it is the same word, or its beginning: "quant" for "quantizers"."""
    return known == wanted or (len(wanted) > 2 and wanted.isalpha() and known.startswith(wanted))


# Places in the source


class Place(NamedTuple):
    """Where something is defined.

    Parameters
    ----------
    file : pathlib.Path
    line : int
        Of the `def`, the `class` or the assignment, counted from 1.
    """

    file: Path
    line: int


def locate(dotted: str) -> Place:
    """Find the definition that a dotted name of the package means, by reading the sources.

    Parameters
    ----------
    dotted : str
        Without the package's own name, for instance "shifts.ap2".

    Returns
    -------
    Place

    Raises
    ------
    LookupError
        If there is no such module, or no such name in it.
    """
    try:
        file, names = _module("qnn_ref", dotted.split("."))
        found = _definition(file, names[0])
        for name in names[1:]:
            found = _member(*found, name)
    except LookupError as error:
        raise LookupError(f"{dotted}: {error.args[0]}") from None
    return Place(found[0], found[1].lineno)


Definition = tuple[Path, ast.stmt]


def _module(package: str, parts: list[str]) -> tuple[Path, list[str]]:
    """The file of the longest module that the parts begin with, and the parts that are left."""
    path, left = PACKAGE.joinpath(*package.split(".")[1:]), list(parts)
    while left and ((path / left[0]).is_dir() or (path / f"{left[0]}.py").is_file()):
        path /= left.pop(0)
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if not left:
        raise LookupError("a module, expected a name in it")
    return file, left


@lru_cache
def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def _definition(file: Path, name: str) -> Definition:
    """Where a name of a module is defined: there, or in the module that it comes from."""
    for node in _tree(file).body:
        if name in _names(node):
            return file, node
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if name == (alias.asname or alias.name):
                    package = ".".join(["qnn_ref", *file.relative_to(PACKAGE).parts[:-1]])
                    source = f"{package}." if node.level else ""
                    parts = f"{source}{node.module or ''}.{alias.name}".split(".")
                    return _definition(*_only(_module("qnn_ref", parts[1:])))
    raise LookupError(f"{file.name} has no {name}")


def _only(found: tuple[Path, list[str]]) -> tuple[Path, str]:
    file, (name, *_) = found
    return file, name


def _member(file: Path, node: ast.stmt, name: str) -> Definition:
    """Where a name of a class is defined: in it, or in a class that it inherits from."""
    if isinstance(node, ast.ClassDef):
        for inner in node.body:
            if name in _names(inner):
                return file, inner
        for base in node.bases:
            try:
                return _member(*_definition(file, ast.unparse(base)), name)
            except LookupError:
                continue
    raise LookupError(f"no {name} in {file.name}")


def _names(node: ast.stmt) -> list[str]:
    """The names that a statement defines."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return [target.id for target in targets if isinstance(target, ast.Name)]
