"""The README's example prints exactly what it says, and what it names is there."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_example_prints_what_it_says():
    example = re.search(r"```python\n(.*?)```", README, re.DOTALL).group(1)
    test = doctest.DocTestParser().get_doctest(example, {}, "README", "README.md", 0)
    assert len(test.examples) >= 7
    results = doctest.DocTestRunner().run(test)
    assert results.failed == 0


def test_links_and_files_exist():
    links = re.findall(r"\]\(([^)#]+)\)", README)
    for link in links:
        if not link.startswith("http"):
            assert (ROOT / link).exists(), link
    for name in re.findall(r"`((?:qnn_ref|layers)/[\w/.]+)`", README):
        path = name if name.startswith("qnn_ref") else f"qnn_ref/{name}"
        assert (ROOT / path).exists(), name
