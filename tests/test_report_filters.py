"""Binary filters of a trained network: stored with its run, counted and drawn by the report."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from qnn_ref import Sequential, datasets
from qnn_ref.cost import expected_unique_share, filter_operations, unique_filters
from qnn_ref.experiments import RECIPES
from qnn_ref.experiments.adding import add_run
from qnn_ref.experiments.finished import (
    FILTERS,
    RESULTS,
    kept_filters,
    read_finished,
)
from qnn_ref.experiments.kept_filters import KIND, VERSION, read_filters, save_filters
from qnn_ref.experiments.runs import load_run, train_recipe
from qnn_ref.files import FileError, save_arrays
from qnn_ref.layers import Conv2D, Flatten
from qnn_ref.quantizers import LinearQuant
from qnn_ref.report.energy import repeated_filters
from qnn_ref.report.figures import frequent_filters

CONVOLUTIONAL = replace(
    RECIPES["digits"], name="digits-conv", convolutions=((5, 1), (6, 2)), hidden=(8,), epochs=1
)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A folder of results with one convolutional run, and its network."""
    folder = tmp_path_factory.mktemp("filters")
    train_recipe(CONVOLUTIONAL, datasets.load("digits"), folder / "run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(RECIPES, CONVOLUTIONAL.name, CONVOLUTIONAL)
        add_run(folder / "run", folder / "results")
    return folder / "results", load_run(folder / "run")[1].best_network()


@pytest.mark.slow_without_jit
def test_a_run_is_stored_with_its_filters(stored):
    folder, network = stored
    (run,) = read_finished(folder)
    (layers,) = kept_filters(folder, [run]).values()
    convolutions = [layer for layer in network.layers if isinstance(layer, Conv2D)]
    for kept, layer in zip(layers, convolutions, strict=True):
        np.testing.assert_array_equal(kept.codes, layer.weight.codes)


@pytest.mark.slow_without_jit
def test_the_table_counts_them_by_the_three_definitions(stored):
    folder, network = stored
    rows = repeated_filters(kept_filters(folder, read_finished(folder))).rows
    trained = [row for row in rows if "trained" in row.data]
    assert [row.data for row in trained] == ["digits-conv (digits), trained"] * 8
    codes = [la.weight.codes for la in network.layers if isinstance(la, Conv2D)]
    for n, kernel in enumerate(codes):
        shares = [f"{100 * share:.0f} %" for share in unique_filters(kernel)]
        saving = f"{filter_operations(kernel).saving:.1f}"
        assert [row.ours for row in trained[4 * n : 4 * n + 4]] == [*shares, saving]
        C, N = kernel.shape[2:]
        chance = [(C * N, 512), (N, 512), (N, 256)]  # of 3 x 3 taps; 256 up to the sign
        random = [f"{100 * expected_unique_share(*pair):.0f} %" for pair in chance]
        for row, share in zip(trained[4 * n : 4 * n + 3], random, strict=True):
            assert row.sentence == f"random signs would give {share}"


@pytest.mark.slow_without_jit
def test_the_most_frequent_ones_are_drawn(stored):
    folder, _ = stored
    (layers,) = kept_filters(folder, read_finished(folder)).values()
    counts = np.unique(layers[1].forms, return_counts=True)[1]
    figure = frequent_filters(layers[1])
    labels = [axes.get_title() or axes.get_xlabel() for axes in figure.axes]
    assert labels[0] == f"{counts.max()} of 30"


def test_a_network_without_binary_filters_keeps_none(tmp_path):
    network = Sequential(
        [Conv2D(2, 3, weight_quantizer=LinearQuant(4, -1, 1)), Flatten()],
        (5, 5, 1),
        np.random.default_rng(0),
    )
    assert not save_filters(tmp_path / "none.npz", network)
    assert not list(tmp_path.iterdir())


FORMS = np.arange(6, dtype=np.uint16).reshape(2, 3)


@pytest.mark.parametrize(
    ("arrays", "kernels"),
    [
        ({}, {}),
        ({"0": FORMS}, {}),
        ({"0": FORMS}, None),
        ({"0": FORMS}, {"1": [3, 3]}),
        ({"0": FORMS}, {"0": [3]}),
        ({"0": FORMS}, {"0": 3}),
        ({"0": FORMS}, {"0": [1, 2]}),  # form 5 has three taps
        ({"0": FORMS}, {"0": [0, 9]}),
        ({"0": FORMS}, {"0": [3.0, 3]}),
        ({"0": FORMS.astype(float)}, {"0": [3, 3]}),
        ({"0": FORMS[0]}, {"0": [3, 3]}),
        ({"0": FORMS[:0]}, {"0": [3, 3]}),
    ],
    ids=str,
)
def test_damaged_filters_are_named(tmp_path, arrays, kernels):
    path = tmp_path / "run.npz"
    save_arrays(path, arrays, {"kind": KIND, "version": VERSION, "kernels": kernels})
    with pytest.raises(FileError, match=r"run\.npz: "):
        read_filters(path)


def test_every_stored_file_of_filters_belongs_to_a_run(tmp_path):
    folder = shutil.copytree(RESULTS, tmp_path / "results", ignore=shutil.ignore_patterns("*.png"))
    known = {run.filters for run in read_finished(folder)}
    for path in sorted((folder / FILTERS).glob("*")):
        assert path.name in known
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(FileError, match=path.name):
            kept_filters(folder, read_finished(folder))
        path.write_bytes(whole)
