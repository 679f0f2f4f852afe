"""Read the built site and say what is wrong with it: `python docs/read_pages.py FOLDER`.

Sphinx looks at the links that it makes; this looks at the pages as a browser without a network
would: each internal link has a file and a place in it, nothing is loaded from elsewhere, and what
docstrings say of their source in the paper stands where a reader finds it.
"""

from __future__ import annotations

import inspect
import re
import sys
from functools import cache
from html import unescape
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}
"""What a browser fetches by itself, and by which attribute."""


class Page(HTMLParser):
    """Links, loaded things and names of places of one page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.places: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what an element points at, and its name."""
        named = {key: value for key, value in attrs if value is not None}
        self.places |= {named[key] for key in ("id", "name") if key in named}
        if tag == "a" and "href" in named:
            self.links.append(named["href"])
        if LOADED.get(tag) in named:
            self.loaded.append(named[LOADED[tag]])


@cache
def read(file: Path) -> Page:
    """A page, read once."""
    return Page(file.read_text("utf-8"))


def faults_of_links(site: Path) -> list[str]:
    """Links without an end, and whatever would be loaded from a network."""
    faults = []
    for file in sorted(site.rglob("*.html")):
        page, name = read(file), file.relative_to(site).as_posix()
        outside = [url for url in page.loaded if re.match(r"(\w+:)?//", url)]
        faults += [f"{name}: loads {url}" for url in outside]
        inside = {url for url in page.links + page.loaded if not re.match(r"(\w+:|//)", url)}
        faults += [f"{name}: no {url}" for url in sorted(inside) if not leads(site, file, url)]
    return faults


def leads(site: Path, file: Path, url: str) -> bool:
    """Whether a link of a page leads to a file of the site, and to a place that it has."""
    parts = urlsplit(url)
    path = unquote(parts.path)
    target = (site / path[1:] if path.startswith("/") else file.parent / path) if path else file
    if not target.is_file():
        return False
    place = unquote(parts.fragment)
    return not place or target.suffix != ".html" or place in read(target).places


def words(text: str) -> str:
    """Text without marks, letter by letter comparable."""
    return re.sub(r"[^\w()]+", "", text)


def faults_of_references(site: Path) -> list[str]:
    """Public names whose References are not in the reference."""
    from qnn_ref import _ROOMS

    pages = [file.read_text("utf-8") for file in sorted((site / "docs/reference").glob("*.html"))]
    known = words(unescape(re.sub(r"<[^>]+>", "", " ".join(pages))))
    faults = []
    for room in _ROOMS:
        module = import_module(f"qnn_ref.{room}")
        for name in module.__all__:
            said = re.search(
                r"^References\n-+\n(.+?)[`\n]", inspect.getdoc(getattr(module, name)) or "", re.M
            )
            if said and words(said.group(1)) not in known:
                faults.append(f"reference: {room}.{name} does not show {said.group(1)!r}")
    return faults


def faults_of_map(site: Path) -> list[str]:
    """Functions of the paper's map that lead to no place in the reference."""
    from qnn_ref.equations import EQUATIONS

    text = (site / "docs/papers_map.html").read_text("utf-8")
    linked = set(re.findall(r'title="qnn_ref\.([\w.]+)"', text))
    return [f"map: {e.function} is no link" for e in EQUATIONS if e.function not in linked]


def main(folder: str) -> int:
    """Print every fault; 1 if there is one."""
    site = Path(folder)
    faults = faults_of_links(site) + faults_of_references(site) + faults_of_map(site)
    print(*faults, f"{len(list(site.rglob('*.html')))} pages, {len(faults)} faults", sep="\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
