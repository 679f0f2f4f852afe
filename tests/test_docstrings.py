"""Docstrings are contracts: parameters equal the signature, arrays have shapes, equations a source.

A rule takes a file's name and its text and returns findings, "file:line: what is wrong". The second
half of this file shows each rule a broken snippet: a rule that cannot fail is no rule.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Where the paper's equations live: each public function says its shapes and its source.
EQUATIONS = re.compile(
    r"qnn_ref/(shifts|parameter|losses|packed/thresholds|(quantizers|products|optimizers|layers|cost)/\w+)\.py"
)
ARRAY = re.compile(r"ndarray|NDArray|ArrayLike|\bArray\b")  # in an annotation
SHAPE = re.compile(r"\([^()]*\)|\b(shape|scalar)s?\b")  # in a docstring: "(batch, features)"
SOURCE = re.compile(
    r"\b(eqs?\.|equation|algorithm|section|table|figure|appendix|not in the paper)", re.I
)
THIRD_PERSON = re.compile(
    "This|(Return|Give|Make|Set|Compute|Get|Take|Refuse|Read|Write|Add|Say|Hear|Convert|Check|Build"
    "|Create|Calculate|Load|Save|Run|Pack|Multipl|Appl|Provide|Perform|Represent)(s|ies)"
)
HINT = "(an equation, algorithm or section; or: Not in the paper, and why)"

Function = ast.FunctionDef | ast.AsyncFunctionDef


def is_public(node: ast.AST) -> bool:
    return isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_")


def sections_of(docstring: str) -> dict[str, list[str]]:
    """The numpydoc sections of a cleaned docstring: title -> lines."""
    lines = docstring.splitlines() or [""]
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for line, below in zip(lines, [*lines[1:], ""], strict=True):
        if line.strip() and re.fullmatch(r"\s*-{3,}\s*", below):
            current = found.setdefault(line.strip(), [])
        elif not re.fullmatch(r"\s*-{3,}\s*", line):
            current.append(line)
    return found


def entries_of(lines: list[str]) -> dict[str, str]:
    """The entries of a Parameters section: name -> its type and description."""
    found: dict[str, str] = {}
    names: list[str] = []
    for line in lines:
        if line[:1].strip():
            names = [name.strip(" *`") for name in line.split(" : ")[0].split(",")]
        for name in names:
            found[name] = found.get(name, "") + line + "\n"
    return found


def arguments_of(node: Function, method: bool) -> dict[str, str]:
    """The arguments of a function: name -> annotation, without self."""
    a = node.args
    ordered = [*a.posonlyargs, *a.args, a.vararg, *a.kwonlyargs, a.kwarg]
    static = any(ast.unparse(d) == "staticmethod" for d in node.decorator_list)
    named = [argument for argument in ordered if argument is not None]
    return {
        argument.arg: ast.unparse(argument.annotation) if argument.annotation else ""
        for argument in (named[1:] if method and not static else named)
    }


def fields_of(node: ast.ClassDef, tree: ast.Module) -> dict[str, str] | None:
    """The arguments of a dataclass; None where a base class of another file may add some."""
    classes = {c.name: c for c in tree.body if isinstance(c, ast.ClassDef)}
    fields: dict[str, str] = {}
    for base in node.bases:
        inherited = (
            fields_of(classes[base.id], tree) if getattr(base, "id", "") in classes else None
        )
        if inherited is None:
            return None
        fields |= inherited
    if not any("dataclass" in ast.unparse(d) for d in node.decorator_list):
        return fields
    return fields | {
        field.target.id: ast.unparse(field.annotation)
        for field in node.body
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and "ClassVar" not in ast.unparse(field.annotation)
        and "init=False" not in ast.unparse(field)
    }


def documented(tree: ast.Module) -> Iterator[tuple[Function | ast.ClassDef, list[str], str]]:
    """Everything with a docstring that may list parameters: node, arguments, docstring.

    The docstring of a class documents its `__init__`, or its fields if it is a dataclass.
    """
    methods = {child for c in ast.walk(tree) if isinstance(c, ast.ClassDef) for child in c.body}
    for node in ast.walk(tree):
        if not isinstance(node, Function | ast.ClassDef) or not ast.get_docstring(node):
            continue
        arguments: dict[str, str] | None = None  # inherited: documented where it is defined
        if isinstance(node, Function):
            arguments = arguments_of(node, node in methods)
        elif any("dataclass" in ast.unparse(d) for d in node.decorator_list):
            arguments = fields_of(node, tree)
        for init in node.body:
            if isinstance(node, ast.ClassDef) and getattr(init, "name", "") == "__init__":
                arguments = arguments_of(init, method=True)
        if arguments is not None:
            yield node, list(arguments), ast.get_docstring(node) or ""


def described_by_twin(node: ast.AST, tree: ast.Module) -> bool:
    """Whether a twin, or its fast form, leaves the contract to the other one, and says so."""
    name = getattr(node, "name", "")
    other = name.removesuffix("_reference") if name.endswith("_reference") else f"{name}_reference"
    return f"`{other}`" in (ast.get_docstring(node) or "") and any(
        isinstance(beside, Function)
        and beside.name == other
        and "Parameters" in sections_of(ast.get_docstring(beside) or "")
        for beside in tree.body
    )


def is_helper(node: ast.AST) -> bool:
    """Whether a function neither takes nor gives an array: a check, a message, a loop."""
    return isinstance(node, Function) and not ARRAY.search(
        f"{ast.unparse(node.args)} {ast.unparse(node.returns or ast.Constant(None))}"
    )


def has_docstring(name: str, text: str) -> list[str]:
    """Every public function and class of the package says what it is."""
    return [
        f"{name}:{node.lineno}: {node.name} has no docstring"
        for node in ast.parse(text).body
        if is_public(node) and not ast.get_docstring(node) and not is_signature(node)
    ]


def is_signature(node: ast.AST) -> bool:
    """Whether it is one of the signatures of a function that has several, and has its docstring."""
    return any(ast.unparse(d) == "overload" for d in getattr(node, "decorator_list", ()))


def parameters_equal_signature(name: str, text: str) -> list[str]:
    """A Parameters section lists the arguments, all of them, in order."""
    findings = []
    for node, arguments, docstring in documented(ast.parse(text)):
        sections = sections_of(docstring)
        if "Parameters" in sections:
            listed = list(entries_of(sections["Parameters"]))
            if listed != arguments:
                findings.append(
                    f"{name}:{node.lineno}: {node.name} documents {listed}, takes {arguments}"
                )
    return findings


def has_shapes(name: str, text: str) -> list[str]:
    """A public function of an equation lists its parameters, and each array with its shape."""
    if not EQUATIONS.fullmatch(name):
        return []
    findings = []
    tree = ast.parse(text)
    for node in tree.body:
        if not isinstance(node, Function) or not is_public(node) or described_by_twin(node, tree):
            continue
        where = f"{name}:{node.lineno}: {node.name}"
        sections = sections_of(ast.get_docstring(node) or "")
        entries = entries_of(sections.get("Parameters", []))
        arguments = arguments_of(node, method=False)
        if arguments and not entries and not is_helper(node):
            findings.append(f"{where} has no Parameters section")
        for argument, annotation in arguments.items():
            if ARRAY.search(annotation) and not SHAPE.search(entries.get(argument, "(missing)")):
                findings.append(f"{where} does not say the shape of {argument}")
        returns = ast.unparse(node.returns) if node.returns else ""
        if ARRAY.search(returns) and not SHAPE.search(" ".join(sections.get("Returns", []))):
            findings.append(f"{where} does not say the shape that it returns")
    return findings


def has_source(name: str, text: str) -> list[str]:
    """A public function or class of an equation names it; methods stand under their class."""
    if not EQUATIONS.fullmatch(name):
        return []
    tree = ast.parse(text)
    findings = []
    for node in tree.body:
        if is_public(node) and not described_by_twin(node, tree) and not is_helper(node):
            source = sections_of(ast.get_docstring(node) or "").get("References", [])
            if not SOURCE.search(" ".join(source)):
                findings.append(f"{name}:{node.lineno}: {node.name} has no References {HINT}")
    return findings


def points_to(node: Function, other: Function) -> bool:
    """Whether a docstring leaves the contract to another one, and names what `other` lacks."""
    own = arguments_of(node, method=False).keys() - arguments_of(other, method=False).keys()
    found = re.search(
        rf"^Parameters, Returns: as `{other.name}`(, but .+)?\.$",
        ast.get_docstring(node) or "",
        re.M,
    )
    but = (found and found[1]) or ""
    return found is not None and set(re.findall(r"`(\w+)`", but)) == own


def one_contract_a_pair(name: str, text: str) -> list[str]:
    """Of a NumPy twin and its fast form one has the contract; the other points to it."""
    functions = {node.name: node for node in ast.parse(text).body if isinstance(node, Function)}
    findings = []
    for title, twin in functions.items():
        fast = functions.get(title.removesuffix("_reference"), twin)
        ends = (fast, twin), (twin, fast)
        if fast is not twin and not any(
            "Parameters" in sections_of(ast.get_docstring(one) or "")
            and "Parameters" not in sections_of(ast.get_docstring(other) or "")
            and points_to(other, one)
            for one, other in ends
        ):
            findings.append(
                f"{name}:{twin.lineno}: one of {fast.name} and {title} lists the parameters, the "
                'other says "Parameters, Returns: as ` `.", and ", but" where it takes more'
            )
    return findings


def speaks_in_one_voice(name: str, text: str) -> list[str]:
    """A docstring begins with an order or with the name of what there is, not with "Returns"."""
    return [
        f"{name}:{node.lineno}: {node.name}: begin with an order or a name, not with {word!r}"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, Function | ast.ClassDef)
        for word in (ast.get_docstring(node) or "-").split()[:1]
        if THIRD_PERSON.fullmatch(word)
    ]


SECTIONS = {
    *("Parameters", "Returns", "Yields", "Raises", "Warns", "See Also", "Notes", "References"),
    "Examples",
}


def sections_are_numpydocs(name: str, text: str) -> list[str]:
    """What numpydoc does not know it drops, with a warning."""
    return [
        f"{name}:{node.lineno}: {node.name}: numpydoc knows no section {section!r}"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, Function | ast.ClassDef)
        for section in sections_of(ast.get_docstring(node) or "")
        if section not in SECTIONS
    ]


def shapes_have_one_dialect(name: str, text: str) -> list[str]:
    """`array (batch, units) of uint8`: the shape at once, then the kind of numbers."""
    return [
        f"{name}:{node.lineno}: {node.name}: expected array (M, N) of uint8, got {line.strip()}"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, Function | ast.ClassDef)
        for title, lines in sections_of(ast.get_docstring(node) or "").items()
        if title in ("Parameters", "Returns", "Yields")
        for line in lines
        if line[:1].strip() and re.search(r"(?<!numpy\.)\bndarray|arrays?\b.*, shapes? \(", line)
    ]


RULES = [
    has_docstring,
    parameters_equal_signature,
    has_shapes,
    has_source,
    one_contract_a_pair,
    sections_are_numpydocs,
    shapes_have_one_dialect,
    speaks_in_one_voice,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_package_keeps(rule):
    files = sorted((ROOT / "qnn_ref").rglob("*.py"))
    findings = [
        finding
        for file in files
        for finding in rule(file.relative_to(ROOT).as_posix(), file.read_text(encoding="utf-8"))
    ]
    assert not findings, "\n" + "\n".join(findings)


# Each rule finds its fault and leaves sound code alone.

GOOD = '''
"""A file."""

class Loss:
    """A loss.

    Parameters
    ----------
    weight : float
        How much it counts.

    References
    ----------
    Section 4.2.
    """

    def __init__(self, weight: float = 1.0) -> None:
        self.weight = weight

    def forward(self, scores: Array) -> float:
        return 0.0


def hinge(scores: Array, margin: float, *rest: int, name: str = "x", **more: int) -> Array:
    """Hinge: max(0, 1 - s).

    Parameters
    ----------
    scores : array (batch, classes)
        What the network says.
    margin : float
    *rest : int
    name, **more : str and int
        Two in one line.

    Returns
    -------
    array, the shape of `scores`

    References
    ----------
    Eq. (7).
    """
    return scores


def _private(x): ...
'''


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_sound_code_has_no_finding(rule):
    assert rule("qnn_ref/losses.py", GOOD) == []


@pytest.mark.parametrize(
    ("rule", "old", "new", "words"),
    [
        (has_docstring, "def _private(x)", "def public(x)", "public has no docstring"),
        (parameters_equal_signature, "weight : float", "wait : float", "Loss documents ['wait']"),
        (parameters_equal_signature, "    margin : float\n", "", "takes ['scores', 'margin'"),
        (parameters_equal_signature, "margin: float, ", "", "hinge documents"),
        (parameters_equal_signature, "name, **more", "more, name", "hinge documents"),
        (has_shapes, "array (batch, classes)", "array", "shape of scores"),
        (has_shapes, "array, the shape of `scores`", "array", "shape that it returns"),
        (has_shapes, "    Parameters\n    ----------\n    scores", "    scores", "no Parameters"),
        (has_source, "Eq. (7).", "See above.", "hinge has no References"),
        (has_source, "Section 4.2.", "", "Loss has no References"),
        (sections_are_numpydocs, "References\n    ----------", "Source\n    ------", "'Source'"),
        (
            shapes_have_one_dialect,
            "array (batch, classes)",
            "array, shape (batch, classes)",
            "got sc",
        ),
        (shapes_have_one_dialect, "array (batch, classes)", "ndarray of uint8", "got scores"),
        (speaks_in_one_voice, "Hinge: max", "Returns the hinge: max", "not with 'Returns'"),
        (speaks_in_one_voice, "A loss.", "This is a loss.", "Loss: begin with an order"),
        (
            speaks_in_one_voice,
            "    def forward(self, scores: Array) -> float:\n",
            '    def forward(self, scores: Array) -> float:\n        """Computes it."""\n',
            "Computes",
        ),
    ],
)
def test_broken_code_is_found(rule, old, new, words):
    assert old in GOOD
    assert words in "\n".join(rule("qnn_ref/losses.py", GOOD.replace(old, new)))


PAIR = '''
def add_reference(a: Array, b: Array) -> Array:
    """Add in NumPy: the twin of `add`.

    Parameters, Returns: as `add`.
    """


def add(a: Array, b: Array, out: Array) -> Array:
    """Add.

    Parameters
    ----------
    a, b : array (n,)
    out : array (n,)

    Returns
    -------
    array (n,)
    """
'''


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("as `add`.", "as `add`"),
        ("as `add`.", "as `sum`."),
        ("Parameters, Returns: as `add`.", "As `add`."),
        ("Parameters, Returns: as `add`.", "Parameters\n    ----------\n    a, b : array (n,)"),
        ("    Parameters\n    ----------\n", ""),
        ("(a: Array, b: Array) ->", "(a: Array, c: Array) ->"),
        ("as `add`.", "as `add`, but `a` is read."),
    ],
)
def test_a_pair_has_one_contract_in_one_form(old, new):
    assert one_contract_a_pair("qnn_ref/bits/a.py", PAIR) == []
    assert old in PAIR
    assert "lists the parameters" in one_contract_a_pair("a.py", PAIR.replace(old, new, 1))[0]
    other = PAIR.replace("b: Array) ->", "c: Array) ->").replace("`add`.", "`add`, but `c` is b.")
    assert one_contract_a_pair("a.py", other) == []


def test_only_the_files_of_equations_need_a_source():
    text = GOOD.replace("Eq. (7).", "")
    assert has_source("qnn_ref/layers/dense.py", text)
    assert has_source("qnn_ref/packed/thresholds.py", text)
    assert has_source("qnn_ref/training.py", text) == []


def test_a_twin_leaves_its_contract_to_its_fast_form_or_the_other_way_round():
    short = 'def OTHER(scores: Array) -> Array:\n    """As `ONE`, in NumPy."""\n'
    for one, other in (("hinge", "hinge_reference"), ("hinge_reference", "hinge")):
        long, brief = GOOD.replace("def hinge(", f"def {one}("), short.replace("OTHER", other)
        for rule in (has_shapes, has_source):
            assert rule("qnn_ref/losses.py", long + brief.replace("ONE", one)) == []
            assert rule("qnn_ref/losses.py", long + brief.replace("ONE", "it"))
            assert rule("qnn_ref/losses.py", brief.replace("ONE", one))
            assert rule("qnn_ref/losses.py", brief.replace("ONE", one) + brief), "neither says it"


def test_a_helper_without_arrays_needs_no_source():
    helper = 'def check(name: str) -> str:\n    """Refuse a name."""\n'
    for rule in (has_shapes, has_source):
        assert rule("qnn_ref/losses.py", helper) == []
        assert rule("qnn_ref/losses.py", helper.replace("-> str", "-> Array"))


def test_a_dataclass_documents_its_fields():
    text = '''
@dataclass(frozen=True)
class Recipe:
    """A recipe.

    Parameters
    ----------
    epochs : int
    rate : float
    """

    known: ClassVar[int] = 3
    epochs: int
    rate: float = 0.1
    history: list = field(init=False)
'''
    assert parameters_equal_signature("qnn_ref/a.py", text) == []
    assert parameters_equal_signature("qnn_ref/a.py", text.replace("rate : float", "r : float"))
    assert parameters_equal_signature("qnn_ref/a.py", text.replace("    epochs : int\n", ""))

    child = (
        text
        + '''
@dataclass(frozen=True)
class Small(Recipe):
    """A small one.

    Parameters
    ----------
    epochs : int
    rate : float
    width : int
    """

    width: int = 16
'''
    )
    assert parameters_equal_signature("qnn_ref/a.py", child) == []
    assert parameters_equal_signature("qnn_ref/a.py", child.replace("    width : int\n", ""))
