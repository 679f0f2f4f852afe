"""Sliders: each stands beside a static picture, and one is moved in a real browser.

The browser's test needs a Chromium on this machine and JupyterLab in this environment; it is
skipped, with a message, where one of them is missing.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import secrets
import socket
import sys
import urllib.error
import urllib.request
from pathlib import Path

import nbformat
import pytest

pytest.importorskip("jupytext", reason="the notebooks need jupytext (dependency group test)")

import render

from tests import browser

SLIDERS = ("01", "05", "06", "07", "08", "10")
FOLDER = Path(__file__).resolve().parents[1] / "notebooks"


def code_of(number: str) -> list[str]:
    """The code cells of a notebook's source."""
    (source,) = FOLDER.glob(f"{number}_*.py")
    return [c.source for c in render.read(source).cells if c.cell_type == "code"]


def slider_of(cells: list[str]) -> tuple[int, str]:
    """Place of the cell with the slider, and the name of the function that draws its picture."""
    (place,) = [i for i, text in enumerate(cells) if ".observe(" in text]
    calls = [n for n in ast.walk(ast.parse(cells[place])) if isinstance(n, ast.Call)]
    (update,) = [c for c in calls if ast.unparse(c.func) == "picture.update"]
    assert isinstance(update.args[0], ast.Call)
    return place, ast.unparse(update.args[0].func)


def is_call(text: str, name: str) -> bool:
    """Whether the last line of a cell shows what a function of this name returns."""
    lines = [line for line in text.splitlines() if not line.startswith("%")]
    last = (ast.parse("\n".join(lines)).body or [None])[-1]
    value = last.value if isinstance(last, ast.Expr) else None
    return isinstance(value, ast.Call) and ast.unparse(value.func) == name


@pytest.mark.parametrize("number", SLIDERS)
def test_a_slider_stands_beside_a_static_picture_of_the_same_function(number):
    cells = code_of(number)
    place, name = slider_of(cells)
    assert any(is_call(text, name) for text in cells[:place]), f"no picture of {name} before it"


def small_notebook(number: str, path: Path) -> None:
    """A notebook with what the slider of another needs: imports, the static picture, the slider."""
    cells = code_of(number)
    place, name = slider_of(cells)
    drawn = next(i for i, text in enumerate(cells[:place]) if is_call(text, name))
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": kernel})
    notebook.cells = [nbformat.v4.new_code_cell(cells[i]) for i in (0, drawn, place)]
    nbformat.write(notebook, path)


def free_port() -> int:
    with socket.socket() as some:
        some.bind(("127.0.0.1", 0))
        return some.getsockname()[1]


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


PICTURES = "[...document.querySelectorAll('.jp-OutputArea-output img')].map(i => i.src)"
PANEL = "[...jupyterapp.shell.widgets('main')][0]"
READY = f"window.jupyterapp && {PANEL}?.sessionContext?.session?.kernel?.status == 'idle'"
RUN = f"""(async () => {{
  jupyterapp.shell.activateById({PANEL}.id);
  return await jupyterapp.commands.execute('notebook:run-all-cells');
}})()"""
HANDLE = "document.querySelector('.jupyter-widgets .noUi-handle')"

no_browser = pytest.mark.skipif(
    browser.found() is None or importlib.util.find_spec("jupyterlab") is None,
    reason="needs Chromium (Debian: chromium) and JupyterLab (pip install jupyterlab)",
)


@no_browser
@pytest.mark.browser
@pytest.mark.slow_without_jit
def test_a_slider_changes_its_picture_and_no_other(tmp_path):
    small_notebook("10", tmp_path / "slider.ipynb")
    settings = tmp_path / "labconfig" / "default_setting_overrides.json"
    settings.parent.mkdir()
    quiet = {"fetchNews": "false", "checkForUpdates": False}
    settings.write_text(
        json.dumps(
            {
                "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},
                "@jupyterlab/apputils-extension:notification": quiet,
            }
        )
    )
    token, port = secrets.token_hex(16), free_port()
    home = f"http://127.0.0.1:{port}"
    own = dict.fromkeys(("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "HOME"), str(tmp_path))
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1"),
        *(f"--ServerApp.port={port}", f"--IdentityProvider.token={token}"),
        *("--ServerApp.port_retries=0", "--LabApp.expose_app_in_browser=True"),
        f"--ServerApp.root_dir={tmp_path}",
    ]
    with browser.running(command, tmp_path, PYTHONPATH=str(FOLDER.parent), **own):
        browser.wait_for("JupyterLab", lambda: answers(f"{home}/api?token={token}"))
        url = f"{home}/lab/tree/slider.ipynb?token={token}"
        with browser.opened(url, tmp_path) as page:
            browser.wait_for("the notebook", lambda: page.ask(READY))
            page.ask(RUN)
            browser.wait_for("two pictures", lambda: len(page.ask(PICTURES)) == 2)
            browser.wait_for("the slider", lambda: page.ask(f"{HANDLE} !== null"))
            static, moving = page.ask(PICTURES)

            page.ask(f"{HANDLE}.focus()")
            page.press("ArrowRight", 39)
            browser.wait_for("another picture", lambda: page.ask(PICTURES)[1] != moving)
            after = page.ask(PICTURES)
            assert len(after) == 2
            assert after[0] == static
            assert page.ask(f"{HANDLE}.getAttribute('aria-valuetext')") == "3"

            page.press("ArrowLeft", 37)
            browser.wait_for("the first picture", lambda: page.ask(PICTURES)[1] == moving)
