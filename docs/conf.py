"""How Sphinx builds the site: `make docs`.

The sources are the repository itself, so that a link from a guide to a notebook, a table of results
or a file leads to the same place here and in the repository. Nothing is run and nothing is fetched:
notebooks show their stored outputs, mathematics is drawn by a script that travels with the site.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

DOCS = Path(__file__).resolve().parent
sys.path[:0] = [str(DOCS), str(DOCS.parent)]

import made  # noqa: E402

import qnn_ref  # noqa: E402

project = "qnn_ref"
author = "qnn_ref contributors"
copyright = "BSD-3-Clause"
version = release = qnn_ref.__version__

root_doc = "docs/index"
include_patterns = [
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "docs/**.md",
    "notebooks/**.md",
    "notebooks/**.ipynb",
    "data/**.md",
    "qnn_ref/experiments/results/README.md",
    "tests/mutation/*.md",
]
exclude_patterns = [
    ".*",
    "docs/_build",
    "runs",
    "build",
    "dist",
    "figures",
    "**/.ipynb_checkpoints",
]

extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
    "sphinx-mathjax-offline",
]
nitpicky = True  # a name that is said to be one of ours must be

nb_execution_mode = "off"
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 4
suppress_warnings = [
    "myst.header",  # a notebook may go from its title to a part of a section
    "mystnb.unknown_mime_type",
]

default_role = "py:obj"  # a name in a docstring is a link where the site knows it
nitpick_ignore_regex = [("py:obj", ".*"), ("py:class", ".*")]
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the sections of numpydoc say them, with shapes
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

html_theme = "furo"
html_title = f"qnn_ref {version}"
html_extra_path = ["extra"]
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}


LINKS = {
    "notebooks/README": {"](solutions/)": "](../docs/solutions.md)"},
}
"""Links to folders, which a repository shows and a site does not."""


class Made(SphinxDirective):
    """A part of a page that the package knows: ```` ```{made} paper_map ````."""

    required_arguments = 1
    optional_arguments = 1

    def run(self) -> list[Any]:
        """Parse the Markdown that the function of this name in `made.py` gives."""
        part, *names = self.arguments
        text = made.PARTS[part](*names)
        return list(self.parse_text_to_nodes(text, allow_section_headings=True))


def plain_bars(app: Sphinx, what: str, name: str, *rest: Any) -> None:
    """Let |x| be |x|: bars, and stars of `*args`, mean something else in reStructuredText."""
    lines: list[str] = rest[-1]
    for i, line in enumerate(lines):
        parts = re.split(r"(``.+?``|:math:`.+?`|`[^`]+`)", line)
        parts[::2] = [re.sub(r"(?<!\\)([|]|\*(?=\w))", r"\\\1", part) for part in parts[::2]]
        lines[i] = "".join(parts)


def lead_on(app: Sphinx, name: str, source: list[str]) -> None:
    """Give links to folders a page."""
    for link, page in LINKS.get(name, {}).items():
        source[0] = source[0].replace(link, page)


def right_ways_back(app: Sphinx, page: str, template: str, context: dict[str, Any], _: Any) -> None:
    """Let the page of a source lead back to the names that the reference has.

    Sphinx takes one room for all that a module holds; what the paper's map names in it besides
    stands under the module's own name.
    """
    if not page.startswith("_modules/qnn_ref/"):
        return
    module = page.removeprefix("_modules/").replace("/", ".")
    known = app.env.domains["py"].objects

    def repaired(match: re.Match[str]) -> str:
        parts = match[1].split(".")
        own = [f"{module}.{'.'.join(parts[i:])}" for i in range(1, len(parts))]
        return "#" + next((name for name in [match[1], *own] if name in known), match[1]) + '"'

    context["body"] = re.sub(r'#(qnn_ref\.[\w.]+)"', repaired, context["body"])


def setup(app: Sphinx) -> None:
    """Add the directive, and the repair of docstrings."""
    app.add_directive("made", Made)
    app.connect("source-read", lead_on)
    app.connect("html-page-context", right_ways_back)
    app.connect("autodoc-process-docstring", plain_bars, priority=100)  # before numpydoc's 500
