"""Index of the paper: where each equation, algorithm and table is computed, tested and taught.

Names of functions are dotted strings, since many of them stand on higher floors; `resolve` follows
them. Numbers of equations from 6 on, and of the tables, differ between versions of the paper; what
is not certain has a name instead of a number.
"""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple


class Equation(NamedTuple):
    """An entry of the index.

    Parameters
    ----------
    id : str
        Section and number, or name.
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


def _section(prefix: str, rows: str) -> list[Equation]:
    """Entries from a table: id | title | function | test | notebook."""
    entries = []
    for row in rows.strip().splitlines():
        cells = [cell.strip() for cell in row.split("|")]
        identity, title, function, test, notebook = cells
        entries.append(Equation(f"{prefix} {identity}", title, function, test, notebook))
    return entries


EQUATIONS: tuple[Equation, ...] = (
    *_section(
        "2.1",
        """
eq. 1 | Sign | quantizers.Sign.encode | test_quantizers.py::test_sign_is_plus_one_from_zero_upwards | 01
eq. 2 | stochastic sign | quantizers.StochasticSign.encode | test_quantizers.py::test_stochastic_sign_is_plus_one_where_the_noise_is_below_the_probability | 01
eq. 3 | hard sigmoid | quantizers.hard_sigmoid | test_quantizers.py::test_hard_sigmoid_is_half_of_one_plus_x_between_zero_and_one | 01
""",  # noqa: E501
    ),
    *_section(
        "2.2",
        """
latent weights | accumulated in real numbers | layers.Parameter | test_optimizers.py::test_the_gradient_of_the_binary_weight_moves_the_latent_one | 01
""",  # noqa: E501
    ),
    *_section(
        "2.3",
        """
eq. 4 | straight-through gradient | quantizers.hard_tanh_backward | test_quantizers.py::test_gradient_passes_where_the_input_is_within_the_bound | 01
eq. 5 | hard tanh | quantizers.hard_tanh | test_quantizers.py::test_hard_tanh_is_the_clipped_identity | 01
clipping | latent weights stay in [-1, 1] | optimizers.Optimizer.step | test_optimizers.py::test_latent_weights_stay_within_their_bound_and_reach_it | 01
Algorithm 1 | a training step | training.train_epoch | test_algorithm1.py::test_five_training_steps_agree_with_the_oracle | 02
Algorithm 1, line 2 | forward product | products.PlainProducts.forward | test_dense.py::test_forward_is_the_input_times_the_quantized_weights | 02
Algorithm 1, line 8 | gradient of the input | products.PlainProducts.input_gradient | test_dense.py::test_backward_is_the_gradient_with_respect_to_the_quantized_weights | 02
Algorithm 1, line 9 | gradient of the weights | products.PlainProducts.weight_gradient | test_dense.py::test_backward_is_the_gradient_with_respect_to_the_quantized_weights | 02
gamma_k | learning-rate scale | layers.glorot_scale | test_experiments.py::test_mnist_theano_learning_rate_scales_and_order_of_layers | 02
""",  # noqa: E501
    ),
    *_section(
        "2.4",
        """
batch norm | forward | layers.BatchNorm.forward | test_normalization.py::test_training_normalizes_with_the_batch_and_then_scales_and_shifts | 02
batch norm, backward | exact gradient | layers.BatchNorm.backward | test_normalization.py::test_backward_is_the_exact_gradient | 02
AP2 | approximate power of two | shifts.ap2 | test_shifts.py::test_ap2_is_right_in_rational_arithmetic | 05
shift | product with a power of two | shifts.shift_multiply_fixed | test_shifts.py::test_shifts_of_integers_equal_the_product_of_floats | 05
Algorithm 2 | shift-based batch norm | layers.ShiftBatchNorm.forward | test_shift_normalization.py::test_training_is_algorithm_2 | 05
Algorithm 2, backward | forms S, R, T | layers.ShiftBatchNorm.backward | test_shift_normalization.py::test_s_and_r_are_the_gradients_of_their_surrogates | 05
""",  # noqa: E501
    ),
    *_section(
        "2.5",
        """
ADAM | rule of the Theano recipes | optimizers.Adam | test_optimizers.py::test_adam_follows_its_formula | 02
AdaMax | infinity norm | optimizers.AdaMax | test_optimizers.py::test_adamax_follows_its_formula | 05
Algorithm 4 | shift-based AdaMax | optimizers.ShiftAdaMax | test_shift_adamax.py::test_ten_steps_are_the_oracles | 05
""",  # noqa: E501
    ),
    *_section(
        "2.6",
        """
eq. 6 | fixed-point input | layers.Pixels.forward | test_dense.py::test_the_product_of_codes_is_an_exact_integer_before_the_scale | 04
eq. 7 | bit planes of the input | bits.planes_matmul | test_planes.py::test_pixels_are_equation_7_with_both_operands_plus_or_minus_one | 04
Algorithm 5 | running on bits | packed.PackedNetwork.scores | test_packed_network.py::test_scores_equal_the_trained_network_bit_for_bit | 04
threshold | Sign(BN) of an integer | packed.fold.find_thresholds | test_packed_fold.py::test_threshold_is_the_float_code_for_every_sum | 04
zero padding | exact by a correction | bits.outside_sums | test_bits_conv.py::test_zero_padding_counts_nothing_and_one_padding_plus_one | 06
""",  # noqa: E501
    ),
    *_section(
        "3",
        """
LinearQuant | readings L1, L3, L5 | quantizers.LinearQuant.encode | test_linear_quant.py::test_l3_l1_and_l5_are_their_formulas_in_rational_arithmetic | 07
LogQuant | finite exponents and a zero | quantizers.LogQuant.encode | test_log_quant.py::test_codes_are_zero_and_powers_of_two | 07
LogQuant, stochastic | unbiased | quantizers.logarithmic.stochastic_log_codes | test_log_quant.py::test_stochastic_form_is_unbiased | 08
straight-through | clip(x, minV, maxV) | quantizers.linear.clip_backward | test_linear_quant.py::test_backward_is_the_gradient_of_the_surrogate | 07
products, L3 | k l runs of XNOR | bits.levels_matmul | test_levels.py::test_levels_matmul_is_the_integer_product_for_all_bits | 07
products, L1 | AND, two's complement | bits.fixed_matmul | test_levels.py::test_fixed_matmul_is_the_integer_product_for_all_bits | 07
k-bit networks | codes between layers | packed.levels.Levels | test_packed_levels.py::test_scores_of_dense_networks_of_k_bits_are_equal_bit_for_bit | 07
gradients | quantized before both products | layers.weighted.Weighted.quantized_gradient | test_gradient_quantizers.py::test_both_products_of_a_dense_layer_see_the_quantized_gradient | 08
gradients, shifts | products of powers of two | products.ShiftProducts | test_powers.py::test_a_network_with_six_bit_gradients_gets_the_same_gradients_by_shifts | 08
gradients, DoReFa | for comparison | quantizers.DoReFaGradient | test_gradient_quantizers.py::test_dorefa_is_its_formula_with_a_range_for_each_example | 08
recurrent networks | quantized RNN and LSTM | | |
""",  # noqa: E501
    ),
    *_section(
        "4",
        """
4.2 squared hinge | L2-SVM output | losses.squared_hinge | test_losses.py::test_squared_hinge_is_the_mean_over_batch_and_classes | 02
4.2 convolution | 3x3 with zero padding | layers.Conv2D | test_conv.py::test_forward_is_the_definition | 06
4.2 max pool | before batch norm | layers.MaxPool2D | test_pooling.py::test_pools_are_their_definition_forward_and_backward | 06
4.2 MNIST | both recipes | experiments.mnist_theano.MNIST_THEANO | test_experiments.py::test_mnist_theano_is_the_papers | 03
4.2 CIFAR-10 | both recipes | experiments.cifar10.CIFAR10_THEANO | test_experiments.py::test_convolutional_theano_recipes_are_the_papers | 06
4.2 SVHN | both recipes | experiments.svhn.SVHN_THEANO | test_experiments.py::test_convolutional_theano_recipes_are_the_papers |
4.3 AlexNet | layers | experiments.alexnet.alexnet | test_experiments.py::test_alexnet_has_the_layers_of_the_authors_code |
4.3 GoogLeNet | ten inception blocks | experiments.googlenet.googlenet | test_experiments.py::test_googlenet_has_the_blocks_of_bn_inception |
4.3 softmax | negative log-likelihood | losses.softmax_cross_entropy | test_losses.py::test_cross_entropy_is_the_mean_of_minus_log_p |
4.3 relaxed boundary | a wider mask | network.Sequential.relax_boundaries | test_quantizers.py::test_a_wider_bound_lets_more_gradient_through |
4.4 Table 4 | language models | | |
""",  # noqa: E501
    ),
    *_section(
        "5",
        """
energy | of operations and memory accesses | | |
5.3 repeated filters | unique 3x3 filters | cost.unique_filters | test_cost.py::test_shares_by_hand | 06
""",  # noqa: E501
    ),
    *_section(
        "6",
        """
eq. 8 | XNOR and popcount | bits.xnor_matmul | test_gemm.py::test_product_is_its_twin_and_the_integer_product | 04
packing | signs into words | bits.pack | test_words.py::test_pack_is_its_twin_and_the_convention | 04
baseline kernel | product of floats, loop by loop | bits.ladder.float_loops | test_ladder.py::test_every_rung_is_the_twin | 10
XNOR kernel | from three loops to vectors | bits.ladder.vector_tiles | test_ladder.py::test_every_rung_is_the_twin | 10
backward product | signs times reals without multiplications | bits.signs_matmul | test_lookup.py::test_is_its_twin_and_the_product | 10
Algorithm 1 on bits | the three products of training | products.BitProducts | test_products.py::test_bits_give_the_three_products_of_signs | 10
""",  # noqa: E501
    ),
)


def resolve(dotted: str) -> Any:
    """Import what a dotted name of the package means.

    Parameters
    ----------
    dotted : str
        Without the package's own name, for instance "shifts.ap2".

    Returns
    -------
    object

    Raises
    ------
    AttributeError, ImportError
        If there is no such thing.
    """
    parts = dotted.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(["qnn_ref", *parts[:cut]]))
        except ModuleNotFoundError:
            continue
        for name in parts[cut:]:
            found = getattr(found, name)
        return found
    raise ImportError(f"no module of the package begins {dotted!r}")
