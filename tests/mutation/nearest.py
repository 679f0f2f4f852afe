"""Which tests are to find a fault of a file: those that import something of its room.

The nearest come first: a file of tests that names much of the mutated file, by itself or behind
the room's own names. The rest of the room's are run only for a fault that survives those.
"""

import ast
import functools
import re
from pathlib import Path

NEAREST = 3
NEAR = {
    "qnn_ref/quantizers/sign.py": ["test_sign_kernels", "test_quantizers"],
    "qnn_ref/optimizers/base.py": ["test_optimizer_contract", "test_optimizers"],
    "qnn_ref/optimizers/shift_adamax.py": ["test_shift_adamax", "test_optimizer_contract"],
    "qnn_ref/optimizers/sgd.py": ["test_optimizer_contract", "test_optimizers", "test_in_passing"],
    "qnn_ref/optimizers/adam.py": ["test_optimizers", "test_optimizer_contract", "test_in_passing"],
    "qnn_ref/optimizers/adamax.py": [
        "test_optimizer_contract",
        "test_optimizers",
        "test_in_passing",
    ],
    "qnn_ref/optimizers/schedules.py": ["test_optimizer_contract", "test_shift_adamax"],
    "qnn_ref/layers/base.py": ["test_layers_base", "test_layers_contract", "test_dense"],
    "qnn_ref/layers/rows.py": ["test_layers_base", "test_branches", "test_network"],
    "qnn_ref/layers/weighted.py": ["test_layers_base", "test_dense", "test_conv"],
    "qnn_ref/layers/activations.py": ["test_activations", "test_layers_base"],
    "qnn_ref/layers/normalization.py": ["test_normalization", "test_layers_base"],
    "qnn_ref/layers/dense.py": ["test_dense", "test_layers_base"],
    "qnn_ref/layers/dropout.py": ["test_dropout", "test_layers_base"],
    "qnn_ref/layers/pooling.py": ["test_pooling", "test_layers_contract", "test_faces"],
    "qnn_ref/layers/embedding.py": ["test_embedding", "test_recurrent", "test_layers_base"],
    "qnn_ref/layers/lstm.py": ["test_lstm", "test_recurrent"],
    "qnn_ref/layers/recurrent.py": ["test_recurrent", "test_rnn", "test_lstm"],
    "qnn_ref/layers/rnn.py": ["test_rnn", "test_recurrent"],
    "qnn_ref/packed/network.py": ["test_packed_network", "test_packed_file"],
    "qnn_ref/packed/packing.py": [f"test_packed_{s}" for s in ("packing", "network", "sequence")],
    "qnn_ref/packed/thresholds.py": ["test_packed_thresholds", "test_packed_levels"],
    "qnn_ref/packed/shape_stages.py": ["test_packed_shape_stages", "test_packed_levels"],
    "qnn_ref/packed/product_stages.py": ["test_packed_product_stages", "test_packed_shape_stages"],
    "qnn_ref/packed/file.py": ["test_packed_file", "test_packed_sequence"],
    "qnn_ref/packed/recurrent_stages.py": ["test_packed_sequence"],
    "qnn_ref/products/by_bits.py": ["test_products", "test_grids", "test_unformed"],
    "qnn_ref/packed/stages.py": ["test_packed_product_stages", "test_packed_file"],
    "qnn_ref/bits/ladder.py": ["test_ladder", "test_faces", "test_gemm"],
    "qnn_ref/bits/vectors.py": ["test_vectors", "test_in_passing", "test_compiled"],
    "qnn_ref/layers/branches.py": ["test_branches", "test_network", "test_layers_contract"],
}
"""What is known better than words can tell: these first."""
FOREVER = {"test_notebooks", "test_notebooks_students", "test_packaging"}
"""They run other programs for minutes, each with the package as it is installed."""


def module_of(file: str) -> str:
    """`qnn_ref.quantizers.sign` of `qnn_ref/quantizers/sign.py`."""
    return ".".join(Path(file).with_suffix("").parts).removesuffix(".__init__")


def room_of(module: str) -> str:
    """`qnn_ref.quantizers` of `qnn_ref.quantizers.sign`; a single file is a room too."""
    return ".".join(module.split(".")[:2])


def imported(source: str) -> set[str]:
    """Every module, and every name of a module, that a file imports anywhere."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def public_names(source: str) -> set[str]:
    """Functions and classes of a module; methods such as `encode` would fit every file."""
    tops = (n for n in ast.parse(source).body if isinstance(n, ast.FunctionDef | ast.ClassDef))
    return {node.name for node in tops if not node.name.startswith("_")}


def nearest_tests(root: Path, file: str) -> tuple[list[str], list[str]]:
    """The nearest files of tests, and the others of the room.

    Parameters
    ----------
    root : Path
        The repository.
    file : str
        What is mutated.

    Returns
    -------
    list of str, list of str
    """
    module = module_of(file)
    room, names = room_of(module), public_names((root / file).read_text(encoding="utf-8"))
    names |= {name for name in _reexported(root, module) if name}
    texts, imports = _test_files(root)
    scores: dict[str, float] = {}
    for stem, text in texts.items():
        uses = set(imports[stem])
        for name in imports[stem]:  # through a helper of the tests, one step
            uses |= imports.get(name.removeprefix("tests.").split(".")[0], set())
        if not stem.startswith("test_") or stem in FOREVER or not _meets(uses, room, names):
            continue
        words = re.findall(r"\w+", text)
        share = sum(word in names for word in words) / len(words)
        scores[f"tests/{stem}.py"] = share + (stem in _mirrors(module)) + (module in uses)
    known = [f"tests/{stem}.py" for stem in NEAR.get(file, ())]
    ranked = [name for name in known if (root / name).exists()]
    ranked += sorted(scores.keys() - set(ranked), key=lambda name: (-scores[name], name))
    return ranked[:NEAREST], ranked[NEAREST:]


@functools.cache
def callers(root: Path, file: str) -> set[str]:
    """Stems of modules and tests that import a file, or one that does; not of `__init__`."""
    uses = dict[str, set[str]]()
    for path in (*(root / "qnn_ref").rglob("*.py"), *(root / "tests").rglob("*.py")):
        if path.name != "__init__.py":
            text = path.read_text(encoding="utf-8")
            later = re.findall(r'"(qnn_ref\.[\w.]+)"', text)  # imported with the first call
            uses[module_of(path.relative_to(root).as_posix())] = imported(text) | {*later}
    found, news = set[str](), {module_of(file)}
    while news:
        news = {module for module, names in uses.items() if names & news} - found
        found |= news
    return {module.rpartition(".")[2] for module in found}


@functools.cache
def _test_files(root: Path) -> tuple[dict[str, str], dict[str, set[str]]]:
    files = sorted((root / "tests").glob("*.py"))
    texts = {path.stem: path.read_text(encoding="utf-8") for path in files}
    return texts, {stem: imported(text) for stem, text in texts.items()}


def _meets(uses: set[str], room: str, names: set[str]) -> bool:
    within = any(use == room or use.startswith(f"{room}.") for use in uses)
    return within or any(f"qnn_ref.{name}" in uses for name in names)


def _mirrors(module: str) -> set[str]:
    """How the tests of `packed/file.py` may be called."""
    parts = module.split(".")[1:]
    return {f"test_{'_'.join(parts)}", f"test_{parts[-1]}"}


def _reexported(root: Path, module: str) -> set[str]:
    """Names of the module that its room's `__init__` hands on."""
    package = root.joinpath(*module.split(".")[:-1], "__init__.py")
    tree = ast.parse(package.read_text(encoding="utf-8"))
    return {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == module
        for alias in node.names
    }
