"""House rules that no linter knows, as small programs over the syntax trees.

A rule takes a file's name and its text and returns findings, "file:line: what is wrong". The second
half of this file shows each rule a broken snippet: a rule that cannot fail is no rule.
"""

import ast
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests.kernel_calls import unchecked_calls

ROOT = Path(__file__).resolve().parents[1]

Function = ast.FunctionDef | ast.AsyncFunctionDef


def is_keyword(node: ast.AST, name: str) -> bool:
    """Whether a call passes `name=` something else than a plain False."""
    return (
        isinstance(node, ast.keyword)
        and node.arg == name
        and not (isinstance(node.value, ast.Constant) and node.value.value is False)
    )


def no_print(name: str, text: str) -> list[str]:
    """Only the command line prints; a library returns."""
    if name.startswith("qnn_ref/cli/"):
        return []
    return [
        f"{name}:{node.lineno}: print"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "pprint.pprint")
    ]


def no_pickle(name: str, text: str) -> list[str]:
    """A file that is read must not be able to run code."""
    unsafe = {"pickle", "cPickle", "dill", "shelve", "marshal", "joblib"}
    findings = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names]
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else names
            found = unsafe & {n.split(".")[0] for n in names}
            findings += [f"{name}:{node.lineno}: import of {n}" for n in found]
        elif is_keyword(node, "allow_pickle"):
            findings.append(f"{name}:{node.value.lineno}: allow_pickle is not False")
    return findings


def no_fastmath(name: str, text: str) -> list[str]:
    """Reordered float operations would break every statement of the form 'bit for bit'.

    One kernel has them by name: the baseline that the ladder is measured against.
    """
    tree = ast.parse(text)
    baseline = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, Function) and node.name == "_fast_float_loops"
        for decorator in node.decorator_list
        for inner in ast.walk(decorator)
    }
    return [
        f"{name}:{node.value.lineno}: fastmath"
        for node in ast.walk(tree)
        if is_keyword(node, "fastmath") and node not in baseline
    ]


def json_is_json(name: str, text: str) -> list[str]:
    """JSON has no NaN and no infinity, but Python writes them unless it is told not to."""
    return [
        f"{name}:{node.lineno}: {ast.unparse(node.func)} without allow_nan=False"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call)
        and re.fullmatch(r"(\w+\.)?(dumps?|JSONEncoder)", ast.unparse(node.func))
        and not any(ast.unparse(k) == "allow_nan=False" for k in node.keywords)
    ]


def no_bare_except(name: str, text: str) -> list[str]:
    """Errors are caught by name; nothing is swallowed unseen."""
    return [
        f"{name}:{node.lineno}: except without a name, or one that swallows everything"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ExceptHandler)
        and (
            node.type is None
            or (
                ast.unparse(node.type) in ("Exception", "BaseException")
                and isinstance(node.body[0], ast.Pass)
            )
        )
    ]


ASKS_ITSELF = re.compile(r"qnn_ref/(course|bench|plots|cli|checking/(?!points)|interop|checks)")


def arrays_come_through_the_checks(name: str, text: str) -> list[str]:
    """Ragged lists are refused by the name of the argument, and no mask is dropped unseen."""
    if ASKS_ITSELF.match(name):
        return []
    return [
        f"{name}:{node.lineno}: {ast.unparse(node)[:60]} instead of checks.as_array"
        for function in ast.walk(ast.parse(text))
        if isinstance(function, Function)
        for node in ast.walk(function)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("np.asarray", "np.array", "np.shape", "np.ndim")
        and node.args
        and ast.unparse(node.args[0]) in {argument.arg for argument in function.args.args}
    ]


WRITERS = {"write_text", "write_bytes", "touch", "mkdir", "makedirs", "rename", "renames", "tofile"}
WRITERS |= {"savefig", "symlink_to", "hardlink_to", "savez", "savez_compressed", "savetxt"}
WRITERS |= {"copyfile", "copy2", "copytree", "memmap", "open_memmap", "mkstemp", "mkdtemp"}


def no_writing_elsewhere(name: str, text: str) -> list[str]:
    """What is written goes through `files.py`: links, devices and full disks are thought of there.

    A picture is written into the file that `atomic_write` lends.
    """
    if name == "qnn_ref/files.py":
        return []
    tree = ast.parse(text)
    lent = {
        node.optional_vars.id
        for node in ast.walk(tree)
        if isinstance(node, ast.withitem)
        and ast.unparse(node.context_expr).startswith(("atomic_write(", "files.atomic_write("))
        and isinstance(node.optional_vars, ast.Name)
    }
    return [
        f"{name}:{node.lineno}: writes: {ast.unparse(node)[:60]}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and writes(node, lent)
    ]


def writes(call: ast.Call, lent: set[str]) -> bool:
    """Whether a call writes, renames or makes a file or folder, other than the `lent` ones."""
    owner, _, method = ast.unparse(call.func).rpartition(".")
    given = [*call.args, *(k.value for k in call.keywords if k.arg in ("file", "fname", "mode"))]
    if given and isinstance(given[0], ast.Name) and given[0].id in lent:
        return False
    if method == "open":
        if any(k.arg == "closefd" for k in call.keywords):
            return False  # a descriptor that is open already
        modes = [a.value for a in given if isinstance(a, ast.Constant) and isinstance(a.value, str)]
        return any(set(mode) <= set("rwxabt+") and set(mode) & set("wxa+") for mode in modes)
    if method == "memmap":
        return not any(isinstance(a, ast.Constant) and a.value == "r" for a in given)
    if method in ("replace", "remove", "rmdir"):
        return owner == "os"
    if method in ("save", "move"):
        return owner in ("np", "numpy", "shutil")
    return method in WRITERS


SHARED = {"prange", "popcount", "load", "store", "spread", "narrow", "lanes_of", "sign_bits"} | {
    *("nan_bits", "LANES", "PANEL", "stream", "fence", "turn"),
    *("load_row", "store_row", "stream_row", "repeat"),
    *("spread_from", "store_some", "BLOCK", "leave_signs"),
}


DECORATORS = {"parallel_kernel", "serial_kernel"}  # of qnn_ref/compiled.py


def only_one_file_compiles(name: str, text: str) -> list[str]:
    """What every kernel needs (cache, bounds, forks) is decided in one place."""
    if name in ("qnn_ref/compiled.py", "qnn_ref/kernel_cache.py"):
        return []
    compilers = {"njit", "jit", "vectorize", "guvectorize", "cfunc", "stencil"}
    tree = ast.parse(text)
    numba = {
        alias.asname or "numba"
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.name.split(".")[0] == "numba"
    } | {
        alias.asname or "numba"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.name == "numba"
    }
    findings = []
    for node in ast.walk(tree):
        found: set[str] = set()
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "numba":
            found = {alias.name for alias in node.names} & compilers
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) in numba:
            found = {node.attr} & compilers
        findings += [f"{name}:{node.lineno}: {f} instead of qnn_ref.compiled" for f in found]
    return findings


IMPORT_NUMBA = {"qnn_ref/kernel_cache.py", "qnn_ref/bits/vectors.py"}


def numba_is_imported_by_the_first_kernel(name: str, text: str) -> list[str]:
    """It takes longer than the whole package; most commands, and help, call no kernel.

    The names are to be had from `qnn_ref.compiled` and `qnn_ref.bits.lanes`. Imports inside
    functions are free.
    """
    if name in IMPORT_NUMBA:
        return []
    homes = {f.removesuffix(".py").replace("/", ".") for f in IMPORT_NUMBA}
    findings, todo = [], [*ast.parse(text).body]
    while todo:
        node = todo.pop()
        if isinstance(node, Function | ast.Lambda):
            continue
        todo += ast.iter_child_nodes(node)
        asked = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            asked = [node.module, *(f"{node.module}.{a.name}" for a in node.names)]
        found = [a for a in asked if a.partition(".")[0] in ("numba", "llvmlite") or a in homes]
        findings += [f"{name}:{node.lineno}: imports {f} before a kernel is called" for f in found]
    return findings


def cached_kernels_stand_alone(name: str, text: str) -> list[str]:
    """A compiled function uses nothing from other files of the package.

    Then it is read in one place. Numba's disk cache looks at the kernel's own file only, and what
    `qnn_ref/kernel_cache.py` adds to it finds names, not attributes of modules. The intrinsics of
    popcount and of vectors are the exception, and two sizes.
    """
    tree = ast.parse(text)
    imported = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and (node.level or "qnn_ref" in (node.module or ""))
        for alias in node.names
    } - SHARED
    decorators = DECORATORS | {  # fast = serial_kernel(fastmath=True), used as @fast
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign) and names_in(ast.unparse(node.value)) & DECORATORS
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    decorators |= {  # from qnn_ref.compiled import serial_kernel as fast
        alias.asname
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname and alias.name in DECORATORS
    }
    findings = []
    for node in ast.walk(tree):
        if isinstance(node, Function) and any(
            names_in(ast.unparse(d)) & decorators for d in node.decorator_list
        ):
            inside = [n for statement in node.body for n in ast.walk(statement)]
            own = {n.id for n in inside if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
            own |= {n.arg for n in ast.walk(node.args) if isinstance(n, ast.arg)}
            used = {n.id for n in inside if isinstance(n, ast.Name)} & imported - own
            findings += [f"{name}:{node.lineno}: cached {node.name} uses {u}" for u in sorted(used)]
    return findings


def types_have_one_home(name: str, text: str) -> list[str]:
    """What an array or a shape is called stands in `_typing.py`, not in every file again."""
    if name == "qnn_ref/_typing.py":
        return []
    return [
        f"{name}:{number}: take Array, Shape and Pair from qnn_ref._typing"
        for number, line in enumerate(text.splitlines(), 1)
        if re.search(r"NDArray\[Any\]|^\w+ = tuple\[int, (int|\.\.\.)\]$", line)
    ]


def no_machine_paths(name: str, text: str) -> list[str]:
    """No file names a folder of the machine where it was written."""
    folder = re.compile(r"(?<![\w.~/])/(home|Users|root|tmp|work|mnt)/\w|\b[A-Z]:\\\\?Users\b")
    return [
        f"{name}:{number}: path of one machine: {line.strip()[:60]}"
        for number, line in enumerate(text.splitlines(), 1)
        if folder.search(line)
    ]


def no_unfinished_work(name: str, text: str) -> list[str]:
    """What is not done is an issue, not a comment."""
    mark = re.compile(r"\b(TO[D]O|FIX[M]E|XX[X]|raise NotImplemented[E]rror)\b")
    if re.fullmatch(r"notebooks/[^/]+\.ipynb", name):  # the student edition: a stub is an exercise
        mark = re.compile(r"\b(TO[D]O|FIX[M]E|XX[X])\b")
    return [
        f"{name}:{number}: {line.strip()[:60]}"
        for number, line in enumerate(text.splitlines(), 1)
        if mark.search(line)
    ]


def long_files_say_why(name: str, text: str) -> list[str]:
    """A file of more than 400 lines has the reason in its docstring."""
    why = re.compile(r"one (long )?file|Over 400 lines: \w+", re.I)
    length = len(text.splitlines())
    if length <= 400 or why.search(" ".join((ast.get_docstring(ast.parse(text)) or "").split())):
        return []
    return [f"{name}:1: {length} lines, and its docstring does not say why"]


def names_in(text: str) -> set[str]:
    """Every identifier that a Python file uses (comments and strings do not count)."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Name):
            names.add(node.id)
        elif isinstance(node, ast.Attribute):
            names.add(node.attr)
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.name for alias in node.names}
    return names


def defaults_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> dict[str, str | None]:
    """The code of each argument's default, by name; None where there is none."""
    given = function.args
    names = [argument.arg for argument in (*given.posonlyargs, *given.args)]
    missing: list[ast.expr | None] = [None] * (len(names) - len(given.defaults))
    pairs = [*zip(names, [*missing, *given.defaults], strict=True)]
    pairs += zip((argument.arg for argument in given.kwonlyargs), given.kw_defaults, strict=True)
    return {name: default and ast.unparse(default) for name, default in pairs}


def twins_are_tested(sources: dict[str, str], tests: dict[str, str]) -> list[str]:
    """Every `f_reference` stands above its fast form `f`, with its defaults, and one test file
    uses both."""
    used = {name: names_in(text) for name, text in tests.items()}
    findings = []
    for name, text in sources.items():
        functions = [node for node in ast.parse(text).body if isinstance(node, Function)]
        for node in functions:
            if not node.name.endswith("_reference"):
                continue
            fast = node.name.removesuffix("_reference")
            where = f"{name}:{node.lineno}: {node.name}"
            forms = [f for f in functions if f.name == fast and f.lineno > node.lineno]
            if not forms:
                findings.append(f"{where} has no fast form {fast} under it")
            for form in forms:
                theirs = defaults_of(form)
                other = [n for n, d in defaults_of(node).items() if theirs.get(n, d) != d]
                findings += [f"{where}: another default of {n} than in {fast}" for n in other]
            if not any({node.name, fast} <= names for names in used.values()):
                findings.append(f"{where}: no test file uses both it and {fast}")
    return findings


# The rules, and the files that they hold for.

PACKAGE_RULES = [
    no_print,
    no_pickle,
    no_fastmath,
    no_bare_except,
    no_writing_elsewhere,
    arrays_come_through_the_checks,
    json_is_json,
    only_one_file_compiles,
    numba_is_imported_by_the_first_kernel,
    cached_kernels_stand_alone,
    long_files_say_why,
    types_have_one_home,
]
TEXT_RULES = [no_machine_paths, no_unfinished_work]
TEXT_FILES = {".py", ".md", ".toml", ".cff", ".yaml", ".ipynb", ".csv", ".txt", ""}
SKIPPED = re.compile(r"(\..*|.*_cache|__pycache__|_?build|dist|runs)")


STORED_PICTURE = re.compile(r'"image/[a-z]+": "[^"]*"')  # in a notebook; letters by chance


def read(files: Iterable[Path]) -> dict[str, str]:
    texts = {f.relative_to(ROOT).as_posix(): f.read_text(encoding="utf-8") for f in sorted(files)}
    return {name: STORED_PICTURE.sub("", text) for name, text in texts.items()}


def text_files() -> Iterator[Path]:
    """The texts of the repository: its files, without caches and virtual environments."""
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [name for name in folders if not SKIPPED.fullmatch(name)]
        files = [name for name in files if name != ".git"]  # a file in a second working tree
        yield from (Path(folder, name) for name in files if Path(name).suffix in TEXT_FILES)


@pytest.mark.parametrize("rule", PACKAGE_RULES, ids=lambda rule: rule.__name__)
def test_the_package_keeps(rule):
    sources = read((ROOT / "qnn_ref").rglob("*.py"))
    findings = [finding for name, text in sources.items() for finding in rule(name, text)]
    assert not findings, "\n" + "\n".join(findings)


@pytest.mark.parametrize("rule", TEXT_RULES, ids=lambda rule: rule.__name__)
def test_all_texts_keep(rule):
    findings = [
        finding for name, text in read(text_files()).items() for finding in rule(name, text)
    ]
    assert not findings, "\n" + "\n".join(findings)


def test_no_kernel_is_called_without_a_face_that_compares():
    findings = unchecked_calls(read((ROOT / "qnn_ref").rglob("*.py")))
    assert not findings, "\n" + "\n".join(findings)


def test_every_twin_is_tested():
    sources = read((ROOT / "qnn_ref").rglob("*.py"))
    findings = twins_are_tested(sources, read((ROOT / "tests").rglob("test_*.py")))
    assert not findings, "\n" + "\n".join(findings)


# Each rule finds its fault and leaves sound code alone.

GOOD = '''
"""A file."""


def read(file, name):
    """The array of that name."""
    try:
        return np.load(file, allow_pickle=False)[name]
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: {error}") from error


@serial_kernel(fastmath=False)
def total(x):
    """The sum."""
    return x.sum()


def write(header):
    """One line."""
    return json.dumps(header, allow_nan=False)
'''


@pytest.mark.parametrize("rule", PACKAGE_RULES + TEXT_RULES, ids=lambda rule: rule.__name__)
def test_sound_code_has_no_finding(rule):
    assert rule("qnn_ref/a.py", GOOD) == []


@pytest.mark.parametrize(
    ("rule", "old", "new", "words"),
    [
        (no_print, "x.sum()", "print(x)", "a.py:16: print"),
        (no_pickle, '"""A file."""', "import pickle", "import of pickle"),
        (no_pickle, '"""A file."""', "from joblib import load", "import of joblib"),
        (no_pickle, "allow_pickle=False", "allow_pickle=True", "allow_pickle"),
        (no_pickle, "allow_pickle=False", "allow_pickle=flag", "allow_pickle"),
        (no_fastmath, "fastmath=False", "fastmath=True", "fastmath"),
        (no_fastmath, "fastmath=False", "fastmath={'nnan'}", "fastmath"),
        (no_bare_except, " (OSError, ValueError) as error", "", "except without a name"),
        (no_bare_except, "@serial", "try: f()\nexcept Exception: pass\n@serial", "swallows"),
        (json_is_json, ", allow_nan=False", "", "a.py:21: json.dumps without"),
        (json_is_json, "allow_nan=False", "allow_nan=True", "json.dumps without"),
        (json_is_json, "json.dumps(header, allow_nan=False)", "dump(header, f)", "dump without"),
        (only_one_file_compiles, '"""A file."""', "from numba import njit", "a.py:2: njit instead"),
        (only_one_file_compiles, '"""A file."""', "from numba import jit as fast", "jit instead"),
        (
            only_one_file_compiles,
            "@serial",
            "import numba as nb\n@nb.njit\n@serial",
            "njit instead",
        ),
        (only_one_file_compiles, "x.sum()", "numba.njit(x)\nimport numba", "njit instead"),
        (only_one_file_compiles, '"""A file."""', "from numba import vectorize", "vectorize"),
        (
            only_one_file_compiles,
            "@serial",
            "from qnn_ref.compiled import numba\n@numba.njit\n@serial",
            "njit instead",
        ),
        *(
            (numba_is_imported_by_the_first_kernel, '"""A file."""', line, "a.py:2: imports ")
            for line in (
                "import numba",
                "import numba.core as core",
                "from numba import prange",
                "from llvmlite import binding",
                "try: from numba import types\nexcept ImportError: pass",
                "from qnn_ref.bits.vectors import load",
                "from qnn_ref.bits import vectors",
                "import qnn_ref.kernel_cache",
            )
        ),
        *(
            (no_writing_elsewhere, '"""A file."""', line, "a.py:2: writes: ")
            for line in (
                "open(path, 'w')",
                "open(path, mode='ab')",
                "path.open('x')",
                "Path(path).write_text(words)",
                "(folder / 'a').write_bytes(b'')",
                "figure.savefig(path)",
                "figure.savefig(fname=path)",
                "with atomic_write(path) as file: figure.savefig(path)",
                "with open(path) as file: figure.savefig(file)",
                "os.replace(a, b)",
                "path.rename(other)",
                "shutil.move(a, b)",
                "np.save(path, x)",
                "np.savez(path, x=x)",
                "np.memmap(path, 'u1', 'r+')",
                "x.tofile(path)",
                "folder.mkdir(parents=True)",
                "os.makedirs(folder)",
                "tempfile.mkstemp()",
            )
        ),
        *(
            (arrays_come_through_the_checks, "json.dumps(header", call, "a.py:21: np.")
            for call in ("np.asarray(header", "np.array(header", "np.shape(header")
        ),
        (types_have_one_home, '"""A file."""', "Array = NDArray[Any]", "a.py:2: take Array"),
        (types_have_one_home, '"""A file."""', "Where = tuple[int, int]", "a.py:2: take Array"),
        (types_have_one_home, "name):", "name) -> NDArray[Any]:", "a.py:5: take Array"),
        (long_files_say_why, "return x.sum()", "return x.sum()\n" * 400, "a.py:1: 4"),
        (no_machine_paths, "The sum", "See /" + "home/ada/notes", "path of one machine"),
        (no_machine_paths, "The sum", "See C:\\" + "Users\\ada", "path of one machine"),
        (no_unfinished_work, "The sum", "TO" + "DO: the sum", "a.py:15"),
        (no_unfinished_work, "return x.sum()", "raise NotImplemented" + "Error", "a.py:16"),
    ],
)
def test_broken_code_is_found(rule, old, new, words):
    assert old in GOOD
    assert words in "\n".join(rule("qnn_ref/a.py", GOOD.replace(old, new)))


@pytest.mark.parametrize(
    "line",
    [
        "open(path)",
        "open(path, 'rb')",
        "open(path, newline='', encoding='utf-8')",
        "open(descriptor, 'w', closefd=False)",
        "text.replace('a', 'b')",
        "network.save(path)",
        "np.memmap(path, 'u1', 'r')",
        "with atomic_write(path) as file: figure.savefig(file, format='png')",
        "with files.atomic_write(path) as out: np.save(out, x)",
    ],
)
def test_reading_and_lent_files_are_no_writing(line):
    assert no_writing_elsewhere("qnn_ref/a.py", line) == []
    assert no_writing_elsewhere("qnn_ref/files.py", "open(path, 'wb')") == []


def test_notebooks_are_written_like_all_else():
    name = "notebooks/render.py"
    assert no_writing_elsewhere(name, (ROOT / name).read_text(encoding="utf-8")) == []


def test_the_command_line_may_print():
    assert no_print("qnn_ref/cli/demo.py", "print(1)") == []


@pytest.mark.parametrize(
    "decorator",
    [
        *("serial_kernel", "parallel_kernel", "serial_kernel(fastmath=True)"),
        *("compiled.parallel_kernel", "fast", "faster"),
    ],
)
def test_a_cached_kernel_must_not_use_another_file(decorator):
    text = (
        "from .words import tail\nfrom qnn_ref.compiled import serial_kernel as faster\n"
        f"fast = serial_kernel(fastmath=True)\n@{decorator}\ndef f(x): return tail(x)"
    )
    assert "cached f uses tail" in "\n".join(cached_kernels_stand_alone("a.py", text))
    assert cached_kernels_stand_alone("a.py", text.replace(f"@{decorator}\n", "")) == []
    assert cached_kernels_stand_alone("a.py", text.replace("tail", "popcount")) == []


def test_cached_kernels_are_found_inside_functions_that_make_them():
    text = "from .words import tail\ndef make():\n @serial_kernel\n def f(x): return tail(x)"
    assert "cached f uses tail" in "\n".join(cached_kernels_stand_alone("a.py", text))


TWIN = "def add_reference(a): ...\ndef add(a): ..."


@pytest.mark.parametrize(
    ("source", "test", "words"),
    [
        (TWIN, "assert add(1) == add_reference(1)", ""),
        (TWIN, "from m import add, add_reference", ""),
        (TWIN, "assert m.add(1) == m.add_reference(1)", ""),
        (TWIN, "assert add(1) == 2", "no test file uses both"),
        (TWIN, "assert add_reference(1) == 2", "no test file uses both"),
        (TWIN, "# add_reference\nassert add(1) == 2", "no test file uses both"),
        (TWIN.replace("def add(", "def sum("), "add(add_reference(1))", "no fast form add"),
        (TWIN.replace("(a)", "(a=0)"), "add(add_reference(1))", ""),
        (TWIN.replace("(a)", "(a=0)", 1), "add(add_reference(1))", "another default of a than in"),
        (TWIN.replace("(a)", "(*, a=0)", 1), "add(add_reference(1))", "another default of a"),
        (TWIN.replace("(a)", "(a, out=None)", 1), "add(add_reference(1))", ""),
        ("def add(a): ...\ndef add_reference(a): ...", "add(add_reference(1))", "no fast form add"),
    ],
)
def test_twins_stand_above_their_fast_form_and_are_compared(source, test, words):
    findings = twins_are_tested({"qnn_ref/m.py": source}, {"tests/test_m.py": test})
    assert (words in findings[0]) if words else findings == []


CHECKS = """
def check_sizes(name, array, size):
    if array.size != size:
        raise ValueError(name)

def say(name, array, size):
    if array.size != size:
        warn(name)
"""

KERNEL = """
from qnn_ref.checks import check_sizes
from qnn_ref.compiled import parallel_kernel, serial_kernel

@serial_kernel
def _one(x, i):
    return x[i]

@parallel_kernel
def _add(x, y, n, out):
    for i in prange(n):
        out[i] = _one(x, i) + y[i]

def add(x, y, n, out=None, z=0):
    flat = x.reshape(-1)
    check_sizes("x", flat, n)
    if y.size != n or n < 0:
        raise ValueError("y")
    if out is None:
        out = np.empty(n)
    elif out.shape != (n,):
        raise ValueError("out")
    with threads_for(n):
        _add(flat, np.ascontiguousarray(y), n, out)
    return out

def double(x, n):
    check_sizes("x", x, n)
    return _doubled(x, n)

def _doubled(values, n):
    out = np.empty(n)
    _add(values, values, n, out)
    return out
"""

TABLE = """
from qnn_ref.compiled import serial_kernel

def _make(kind):
    @serial_kernel
    def kernel(x, out):
        out[0] = kind(x[0])
    return kernel

_TABLE = {kind: _make(kind) for kind in (int, float)}

def first(x, out):
    if x.size < 1 or out.size != 1:
        raise ValueError("x")
    word, kernel = "", _TABLE[x.dtype]
    kernel(x, out)
"""


def kernel_findings(text, other=""):
    sources = {"qnn_ref/checks.py": CHECKS, "qnn_ref/a.py": text, "qnn_ref/b.py": other}
    return "\n".join(unchecked_calls(sources))


def test_faces_that_compare_have_no_finding():
    assert kernel_findings(KERNEL, "from qnn_ref.a import add\ndef f(x): return add(x, x, 2)") == ""
    assert kernel_findings(TABLE) == ""


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('    check_sizes("x", flat, n)\n', "", "add hands x to compiled code"),
        ("y.size != n or n < 0", "n < 0", "add hands y to"),
        ('    elif out.shape != (n,):\n        raise ValueError("out")\n', "", "add hands out to"),
        ('raise ValueError("out")', "out = out.copy()", "add hands out to"),
        ('    check_sizes("x", x, n)\n    return', "    return", "double hands x to"),
        ("import check_sizes", "import say as check_sizes", "add hands x to"),
        ("    with threads", "    y = y + z\n    with threads", "add hands z to"),
        ("def _add(", "def add_raw(", "add_raw is compiled: make it private"),
        ("def double", "def later(x):\n    return _one(x, 0)\n\ndef double", "later hands x to"),
        ("def double", "def later(x):\n    return map(_one, x)\n\ndef double", "_one is passed on"),
        ("def double", "TABLE = {1: _one}\n\ndef double", "_one is passed on"),
        (
            "def double",
            "def f(x):\n    def g(y):\n        _one(y, 0)\n\ndef double",
            "f hands y to",
        ),
        ("def double", "class A:\n    def f(self, x): _one(x, 0)\n\ndef double", "f hands x to"),
    ],
)
def test_a_face_that_forgets_is_found(old, new, words):
    assert old in KERNEL
    assert words in kernel_findings(KERNEL.replace(old, new))


@pytest.mark.parametrize(
    "other",
    [
        "from qnn_ref.a import _add",
        "from qnn_ref import a\ndef f(x): a._add(x, x, 1, x)",
        "import qnn_ref.a as m\ndef f(x): m._add(x, x, 1, x)",
        "from qnn_ref.a import _doubled",
    ],
)
def test_a_kernel_is_called_in_its_own_file_only(other):
    assert "of qnn_ref/a.py has a face; use it" in kernel_findings(KERNEL, other)


def test_who_looks_at_each_one_has_looked_at_all():
    """As `pair` does, in a generator; one that leaves some out has not."""
    alone = 'check_sizes("x", flat, n)'
    each = KERNEL.replace(alone, 'tuple(check_sizes("x", one, n) for one in [flat])')
    assert kernel_findings(each) == ""
    assert "hands x to" in kernel_findings(each.replace("[flat]", "[flat] if n"))
    assert "hands x to" in kernel_findings(each.replace("[flat]", "[n]"))


def test_a_kernel_that_is_launched_is_called_too():
    """A grid in brackets before the arguments, as Numba's CUDA has it."""
    launched = KERNEL.replace("parallel_kernel", "cuda_kernel").replace("_add(", "_add[1, 32](")
    launched = launched.replace("def _add[1, 32](", "def _add(")
    assert kernel_findings(launched) == ""
    assert "hands y to" in kernel_findings(launched.replace("y.size != n or n < 0", "n < 0"))
    passed = launched.replace("def double", "TABLE = [_add]\n\ndef double")
    assert "_add is passed on" in kernel_findings(passed)


def test_a_kernel_in_a_table_has_a_face_too():
    assert "hands x to" in kernel_findings(TABLE.replace("x.size < 1 or ", ""))
    assert "hands out to" in kernel_findings(TABLE.replace("or out.size != 1", ""))
    direct = TABLE.replace('    word, kernel = "", _TABLE[x.dtype]\n    kernel(', "    _TABLE[1](")
    assert "hands out to" in kernel_findings(direct.replace("or out.size != 1", ""))
    assert "TABLE is compiled" in kernel_findings(TABLE.replace("_TABLE", "TABLE"))
