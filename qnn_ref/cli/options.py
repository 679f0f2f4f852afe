"""What every command takes. Imports nothing heavy: help and wrong use answer at once.

Over 400 lines: all commands in one place, so that help needs one import.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import NamedTuple

from qnn_ref.cli.parser import Parser, WrongUse, address, one_of, path, real, sizes, whole
from qnn_ref.cli.streams import to_json
from qnn_ref.interop import FORMATS

BENCHES = (
    *("ladder", "product", "packing", "lookup", "training"),
    *(
        "cifar10",
        "convolution",
        "inference",
        "export",
        "memory",
        "checks",
        "overhead",
        "waiting",
        "recurrent",
        "scaling",
        "cuda",
    ),
)
"""Names of `qnn_ref.bench.NAMES`, which is slow to import."""
MODES = ("full", "probe", "order")
"""Names of the checker's modes."""


COURSE_ACTIONS = ("list", "check", "hint", "grade", "statistics")


def demo(parser: Parser) -> None:
    """Options of the main job."""
    parser.add_argument(
        "--dataset",
        type=one_of("--dataset", ("mnist", "digits")),
        metavar="NAME",
        help="mnist or digits (default: mnist where its files are, else digits)",
    )
    parser.add_argument("--epochs", type=whole("--epochs", 1), metavar="N", help=EPOCHS)
    seed(parser, "of weights and order", default=0)
    parser.add_argument(
        "--out",
        type=path("--out"),
        metavar="FILE",
        default="demo.png",
        help="picture to write (default demo.png)",
    )
    data_folder(parser)


def recipes(parser: Parser) -> None:
    """Options of the list."""
    parser.add_argument(
        "--measure",
        action="store_true",
        help="time a few training steps of each on this machine, for an estimate in hours; it is "
        "kept, and the list shows it from then on",
    )


def train(parser: Parser) -> None:
    """Options of a run or a sweep."""
    parser.add_argument(
        "recipe", metavar="RECIPE", help="a name that `qnn-ref recipes` lists, or a sweep"
    )
    parser.add_argument(
        "--out",
        type=path("--out"),
        metavar="DIR",
        required=True,
        help="folder of the run; it is made if it is not there",
    )
    parser.add_argument("--epochs", type=whole("--epochs", 1), metavar="N", help=EPOCHS)
    seed(parser, "of weights and order, instead of the recipe's")
    parser.add_argument(
        "--limit",
        type=whole("--limit", 1),
        metavar="N",
        help="train on the first N images only, and choose by N validation images",
    )
    parser.add_argument(
        "--plain-products",
        action="store_true",
        help="form products with NumPy's @, not on bits: slower, rounded in another order",
    )
    parser.add_argument("--resume", action="store_true", help="go on with a stopped run")
    parser.add_argument(
        "--workers",
        type=whole("--workers", 1),
        metavar="N",
        help="carry out the runs of a sweep in N processes, a core each",
    )
    parser.add_argument(
        "--scheduler",
        type=address("--scheduler"),
        metavar="ADDRESS",
        help="carry them out on the workers of a Dask scheduler, such as tcp://10.0.0.1:8786",
    )
    data_folder(parser)


def evaluate(parser: Parser) -> None:
    """Options of the errors of a run."""
    run_folder(parser)
    data_folder(parser)


def pack(parser: Parser) -> None:
    """Options of packing."""
    run_folder(parser)
    parser.add_argument(
        "-o",
        "--output",
        type=path("--output"),
        metavar="FILE",
        required=True,
        help="file to write",
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="read the file back and compare its scores with the run's on all test images",
    )
    data_folder(parser)


def predict(parser: Parser) -> None:
    """Options of classifying."""
    packed_file(parser)
    parser.add_argument(
        "images",
        type=path("IMAGES"),
        metavar="IMAGES",
        nargs="+",
        help="idx (also gzipped), npy or png files",
    )


def export(parser: Parser) -> None:
    """Options of files for others."""
    packed_file(parser)
    parser.add_argument(
        "-o",
        "--output",
        type=path("--output"),
        metavar="FILE",
        required=True,
        help="file to write",
    )
    forms = ", ".join(
        f"{name} ({form.suffix}, for {form.reader})" for name, form in FORMATS.items()
    )
    parser.add_argument(
        "--format",
        type=one_of("--format", FORMATS),
        metavar="NAME",
        help=f"default: by the ending of the output; {forms}",
    )


def generate(parser: Parser) -> None:
    """Options of writing text."""
    parser.add_argument(
        "file",
        type=path("FILE"),
        metavar="FILE",
        help="file that `qnn-ref pack` wrote, of a recurrent network, or characters, which came "
        "along",
    )
    parser.add_argument(
        "--length",
        type=whole("--length", 1),
        default=500,
        metavar="N",
        help="characters or words to draw (default 500)",
    )
    parser.add_argument(
        "--temperature",
        type=real("--temperature", 0),
        default=1.0,
        metavar="T",
        help="1 draws by the network's own probabilities, less makes likely symbols likelier, 0 "
        "takes the likeliest each time (default 1)",
    )
    parser.add_argument(
        "--start", metavar="TEXT", help="text to go on with (default: the end of a line)"
    )
    seed(parser, "of the draws", default=0)


def check(parser: Parser) -> None:
    """Options of gradient checks."""
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="layers and losses (small shapes, every element), or recipes (the whole network, "
        "random directions), or module:Name, a layer, quantizer or function of your own (current "
        "folder or installed); default all layers and losses",
    )
    parser.add_argument(
        "--shape",
        type=sizes("--shape"),
        action="append",
        default=[],
        metavar="SIZES",
        help="shape of x for one of your own, with the batch, such as 4,5; once for each array of "
        "a function (default: its attribute example_shape)",
    )
    parser.add_argument(
        "--divide",
        type=whole("--divide", 1),
        metavar="N",
        help="divide the channels and units of a recipe's network by N (default 16)",
    )
    parser.add_argument(
        "--mode",
        type=one_of("--mode", MODES),
        metavar="MODE",
        help="full: every element; probe: some random directions a tensor; order: many steps, none "
        "trusted (default: full where arrays are small, probe for recipes)",
    )
    seed(parser, "of the points and directions", default=0)


def cost(parser: Parser) -> None:
    """Options of the counts of operations."""
    parser.add_argument(
        "subject",
        type=path("RECIPE|RUN|FILE"),
        metavar="RECIPE|RUN|FILE",
        help="a recipe or network that `qnn-ref recipes` lists, the folder of a run, or a packed "
        "network: a file, or the name of one that came along",
    )
    parser.add_argument(
        "--batch",
        type=whole("--batch", 1),
        default=1,
        metavar="N",
        help="images or texts of a forward pass: weights are read once for all (default 1); a "
        "training step takes the recipe's",
    )
    parser.add_argument(
        "--steps",
        type=whole("--steps", 1),
        default=1,
        metavar="N",
        help="symbols of a text in a forward pass (default 1); images have none",
    )
    parser.add_argument(
        "-o", "--output", type=path("--output"), metavar="FILE", help="picture to write (PNG)"
    )


def equations(parser: Parser) -> None:
    """Options of the index."""
    parser.add_argument(
        "words",
        nargs="*",
        metavar="WORD",
        help="only entries with these words in their number, title or function; a section's "
        "number gives the section",
    )


def bench(parser: Parser) -> None:
    """Options of the measurements."""
    parser.add_argument(
        "names",
        nargs="*",
        type=one_of("NAME", BENCHES),
        metavar="NAME",
        help=f"default all: {', '.join(BENCHES)}",
    )
    parser.add_argument("--list", action="store_true", help="list the names and stop")
    parser.add_argument(
        "--threads",
        type=whole("--threads", 1),
        metavar="N",
        help="for every row (default 1; networks 1 and 2)",
    )
    parser.add_argument(
        "--repeats",
        type=whole("--repeats", 1),
        metavar="N",
        help="rounds of a measurement (default 9, with --quick 5)",
    )
    parser.add_argument(
        "--quick", action="store_true", help="smaller sizes, under a minute, for a first look"
    )
    parser.add_argument(
        "--plot", type=path("--plot"), metavar="FILE", help="write a picture of the ladder (PNG)"
    )
    parser.add_argument(
        "--against",
        type=path("--against"),
        metavar="BUILD",
        help="measure this build beside an older one, a commit of this repository or a folder that "
        "holds a qnn_ref: both take turns in processes of their own",
    )


def data(parser: Parser) -> None:
    """Options of the data sets."""
    parser.add_argument(
        "action",
        type=one_of("ACTION", ("list", "fetch", "verify")),
        metavar="ACTION",
        help="list, fetch or verify",
    )
    parser.add_argument(
        "name", nargs="?", metavar="NAME", help="a data set that `list` names; not for list itself"
    )
    data_folder(parser)


def course(parser: Parser) -> None:
    """Options of the course."""
    parser.add_argument(
        "action",
        type=one_of("ACTION", COURSE_ACTIONS),
        metavar="ACTION",
        help=", ".join(COURSE_ACTIONS),
    )
    parser.add_argument(
        "target",
        nargs="?",
        metavar="TARGET",
        help="list, check: the number of a notebook, such as 01; hint: an exercise, such as 1.2; "
        "check, hint: a lab, such as lab1, or labs; grade, statistics: a folder with the notebooks "
        "of a class, a folder a student",
    )
    parser.add_argument("--all", action="store_true", help="check: every notebook")
    parser.add_argument(
        "--solutions", action="store_true", help="check: the solutions of a checkout"
    )
    parser.add_argument(
        "--wrong", action="store_true", help="check: hand in every known mistake; is it named?"
    )
    parser.add_argument(
        "--solution",
        type=path("--solution"),
        metavar="NOTEBOOK",
        help="check: a notebook (.ipynb), its source (.py) or a lab's program elsewhere; default: "
        "the one of that name in the current folder or its folder notebooks",
    )
    seed(parser, "of the drawn cases (default 0, for grade 1)")
    parser.add_argument(
        "--points",
        type=path("--points"),
        metavar="TABLE",
        help='grade: JSON such as {"1.2": 3}, instead of the course\'s points',
    )
    parser.add_argument(
        "--seconds",
        type=whole("--seconds", 1),
        metavar="N",
        help="grade: for an exercise, instead of its own (5)",
    )
    parser.add_argument(
        "--jobs", type=whole("--jobs", 1), metavar="N", help="grade: processes at a time"
    )
    parser.add_argument(
        "-o",
        "--output",
        type=path("--output"),
        metavar="FILE",
        help="grade: CSV to write, JSON beside it (default grades.csv in the folder)",
    )


def doctor(parser: Parser) -> None:
    """The doctor takes nothing but `--json`."""
    del parser


EPOCHS = "passes over the training images, instead of the recipe's; the decay of the rate fits"


def seed(parser: Parser, of: str, default: int | None = None) -> None:
    """Offer `--seed N`."""
    note = "" if default is None else f" (default {default})"
    parser.add_argument(
        "--seed", type=whole("--seed", 0), default=default, metavar="N", help=f"seed {of}{note}"
    )


def run_folder(parser: Parser) -> None:
    """Take RUN."""
    parser.add_argument(
        "run_folder", type=path("RUN"), metavar="RUN", help="folder that `qnn-ref train` wrote"
    )


def report(parser: Parser) -> None:
    """Options of the page of tables."""
    parser.add_argument(
        "-o",
        "--out",
        type=path("--out"),
        metavar="DIR",
        help="folder for report.md, report.html and the pictures",
    )
    parser.add_argument(
        "--add",
        type=path("--add"),
        metavar="RUN",
        help="measure a run that `qnn-ref train` made, and store its row and its curve",
    )
    parser.add_argument(
        "--results",
        type=path("--results"),
        metavar="DIR",
        help="folder of results to read, and to store in with --add, which begins it with those "
        "that came with the package (default: these)",
    )
    parser.add_argument(
        "--about-data",
        metavar="WORDS",
        default="",
        help="with --add: what is special about the copy of the data, such as 'JPEG copy'",
    )
    parser.add_argument(
        "--readme",
        type=path("--readme"),
        metavar="FILE",
        help="write the tables between their marks in this file anew",
    )
    data_folder(parser)


def packed_file(parser: Parser) -> None:
    """Take FILE, of a packed network for images."""
    parser.add_argument(
        "file",
        type=path("FILE"),
        metavar="FILE",
        help="file that `qnn-ref pack` wrote, or a network that came along: mnist, digits",
    )


def data_folder(parser: Parser) -> None:
    """Offer `--data DIR`."""
    parser.add_argument(
        "--data",
        type=path("--data"),
        metavar="DIR",
        help="folder to read the data set from (default: what came with the code, then what "
        "`qnn-ref data fetch` stored)",
    )


class Command(NamedTuple):
    """A command: its file in this folder bears its name and has a function `run`."""

    summary: str
    examples: str
    options: Callable[[Parser], None]


COMMANDS = {
    "demo": Command(
        "train on real digits, check the gradients, pack, compare, draw",
        "qnn-ref demo\nqnn-ref demo --dataset digits --out demo.png",
        demo,
    ),
    "recipes": Command(
        "list the experiments with their size and an estimate of their cost",
        "qnn-ref recipes\nqnn-ref recipes --measure",
        recipes,
    ),
    "train": Command(
        "train a recipe in a folder; a stopped run goes on with --resume",
        "qnn-ref train mnist-small --out runs/small\n"
        "qnn-ref train mnist-small --out runs/small --resume\n"
        "qnn-ref train digits --out runs/digits --epochs 5 --seed 1\n"
        "qnn-ref train ablation-shift --out runs/ablation\n"
        "qnn-ref train bits-sweep --out runs/bits --workers 4\n"
        "qnn-ref train bits-sweep --out runs/bits --scheduler tcp://10.0.0.1:8786",
        train,
    ),
    "evaluate": Command(
        "print the errors of a trained run, for the epoch that validation chose",
        "qnn-ref evaluate runs/small",
        evaluate,
    ),
    "pack": Command(
        "write the best epoch of a run as a packed network",
        "qnn-ref pack runs/small -o small.qnn\nqnn-ref pack runs/small -o small.qnn --verify",
        pack,
    ),
    "predict": Command(
        "classify the images of idx, npy or png files with a packed network",
        "qnn-ref predict small.qnn data/mnist/t10k-images-idx3-ubyte.gz\n"
        "qnn-ref predict mnist *.png\nqnn-ref predict small.qnn digit.png --json",
        predict,
    ),
    "export": Command(
        "write a packed network in a form that other programs read",
        "qnn-ref export small.qnn -o small.onnx\nqnn-ref export small.qnn -o small.onnx --json",
        export,
    ),
    "generate": Command(
        "write text with a packed recurrent network",
        "qnn-ref generate characters\n"
        "qnn-ref generate text.qnn --length 1000 --temperature 0.7 --seed 3 --start 'To be'",
        generate,
    ),
    "check": Command(
        "check hand-written gradients against central differences",
        "qnn-ref check\nqnn-ref check Dense BatchNorm\n"
        "qnn-ref check cifar10-theano --divide 16\nqnn-ref check --json\n"
        "qnn-ref check 'my_layers:ScaledDense(3)' --shape 4,5\n"
        "qnn-ref check my_functions:matmul --shape 4,3 --shape 3,2",
        check,
    ),
    "cost": Command(
        "count operations and memory accesses of a network, and price them by the paper's tables",
        "qnn-ref cost mnist-theano\nqnn-ref cost cifar10-theano -o cost.png\n"
        "qnn-ref cost runs/small --batch 100\nqnn-ref cost small.qnn --json",
        cost,
    ),
    "equations": Command(
        "find the paper's equations, algorithms and sections: file and line, test, notebook",
        "qnn-ref equations\nqnn-ref equations 2.4\nqnn-ref equations eq. 4\n"
        "qnn-ref equations batch norm\nqnn-ref equations Algorithm 1 --json",
        equations,
    ),
    "report": Command(
        "put the paper's tables and figures beside ours, on one page",
        "qnn-ref report\nqnn-ref report -o page\nqnn-ref report --json\n"
        "qnn-ref report --add runs/small --results mine\n"
        "qnn-ref report --results mine -o page",
        report,
    ),
    "bench": Command(
        "measure speed against NumPy, PyTorch and others, interleaved in one run",
        "qnn-ref bench --quick\nqnn-ref bench product --threads 2\n"
        "qnn-ref bench --json > bench.json\nqnn-ref bench ladder --plot ladder.png\n"
        "qnn-ref bench training inference --against HEAD~1",
        bench,
    ),
    "data": Command(
        "list, fetch or verify data sets",
        "qnn-ref data list\nqnn-ref data fetch cifar10\nqnn-ref data verify mnist --data my/folder",
        data,
    ),
    "course": Command(
        "list exercises, check a notebook, give hints; grade the notebooks of a class",
        "qnn-ref course list\nqnn-ref course check 01\nqnn-ref course hint 1.2\n"
        "qnn-ref course check --all --solutions --json\n"
        "qnn-ref course grade class -o grades.csv\nqnn-ref course statistics class",
        course,
    ),
    "doctor": Command(
        "look at versions, threads, data, and try a kernel", "qnn-ref doctor", doctor
    ),
}


def parser_of(command: str) -> Parser:
    """The parser of one command, with `--json` and examples in its help."""
    summary, examples, options = COMMANDS[command]
    lines = "\n".join(f"  {line}" for line in examples.splitlines())
    parser = Parser(
        prog=f"qnn-ref {command}",
        description=summary[0].upper() + summary[1:] + ".",
        epilog=f"examples:\n{lines}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    return parser


def front_parser(argv: list[str], version: str) -> Parser:
    """The parser of `qnn-ref` without a command: help and version."""
    parser = Parser(
        prog="qnn-ref",
        description="Quantized neural networks: train, check, pack, run as bits.",
        epilog="`qnn-ref COMMAND --help` shows examples. Exit codes: 0 fine, 1 the answer is no, "
        "2 wrong use or bad input.",
    )
    as_json = to_json({"version": version})
    parser.add_argument(
        "--version",
        action="version",
        version=as_json if "--json" in argv else f"qnn-ref {version}",
        help="print the version and stop",
    )
    parser.add_argument("--json", action="store_true", help="answers and errors in JSON")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, command in COMMANDS.items():
        subparsers.add_parser(name, help=command.summary)
    return parser


def read(argv: list[str], version: str) -> argparse.Namespace:
    """Parse a command line; `command` is the name of the command."""
    if argv and not argv[0].startswith("-"):
        name = one_of("COMMAND", COMMANDS)(argv[0])
        args = parser_of(name).parse(argv[1:])
        args.command = name
        return args
    parser = front_parser(argv, version)
    if not argv:
        raise WrongUse("COMMAND: expected one of these", parser.format_help())
    args = parser.parse(argv)
    if args.command is None:
        parser.error("a command is missing")
    return args
