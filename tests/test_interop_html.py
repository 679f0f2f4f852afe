"""The page that a packed network becomes: what it holds, and what it does in a real browser."""

from __future__ import annotations

import base64
import json
import re
from importlib.resources import files

import numpy as np
import pytest

from qnn_ref import PackedNetwork, Sequential, datasets, pack
from qnn_ref.cli import main
from qnn_ref.interop import export
from qnn_ref.layers import AveragePool2D, BatchNorm, Conv2D, Dense, Flatten, Pixels, Quantize
from qnn_ref.quantizers import LinearQuant
from tests import browser
from tests.test_interop_c import with_ties
from tests.test_packed_network import random_network

CODE = files("qnn_ref.interop").joinpath("page", "page.js").read_text()
needs_browser = pytest.mark.skipif(browser.found() is None, reason="needs Chromium")


def of(name):
    return PackedNetwork.load(datasets.find_model(name))


def network_of(page: bytes) -> dict:
    return json.loads(re.search(rb'application/json">(.*?)</script>', page)[1])


# The file


def test_the_code_is_short_enough_to_be_read_and_names_the_lines_of_the_algorithm():
    lines = CODE.splitlines()
    code = [line for line in lines if line.strip() and not line.strip().startswith("//")]
    assert len(code) <= 300
    assert max(map(len, lines)) <= 100
    for words in ("Algorithm 5, line 1", "lines 2 and 3", "line 3: BN(a_L)"):
        assert words in CODE


def test_the_page_holds_the_bits_and_asks_for_nothing_else():
    packed = of("digits")
    page = export(packed, "html")
    assert export(packed, "html") == page
    assert CODE.encode().rstrip() in page
    assert b"{{" not in page
    assert b"default-src 'none'" in page
    text = re.sub(r'<a\s+href="https://arxiv.org/abs/1609.07061">', "", page.decode())
    assert not re.findall(r'https?://|\bsrc="(?!data:)|@import|url\(|fetch\(|import\(', text)
    found = network_of(page)
    words = np.frombuffer(base64.b64decode(found["layers"][0]["words"]), "<u8")
    np.testing.assert_array_equal(words, packed.stages[0].words.ravel())
    assert [(layer["inputs"], layer["units"]) for layer in found["layers"]] == [
        *((64, 256), (256, 256), (256, 10))
    ]
    assert np.float32(found["scores"]["mean"]).tobytes() == packed.stages[-1].mean.tobytes()


CONV = [Conv2D(3), BatchNorm(), Quantize(), Flatten(), Dense(3)]
POOL = [Conv2D(3), BatchNorm(), Quantize(), AveragePool2D(2), Flatten(), Dense(3)]
REFUSED = {
    r"step 0 \(PixelsConv\): has no form on a page": CONV,
    r"step 0 \(GridDense\): has no form": [Flatten(), Dense(3, LinearQuant(2))],
    r"step 1 \(Levels\): has no form": [
        *(Flatten(), Dense(5), BatchNorm(), Quantize(LinearQuant(2)), Dense(3)),
    ],
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_has_no_form_on_a_page_is_refused_by_name(words):
    packed = pack(Sequential([Pixels(), *REFUSED[words]], (6, 6, 1), np.random.default_rng(0)))
    with pytest.raises(ValueError, match=f"^export: {words}"):
        export(packed, "html")


@pytest.mark.parametrize("shape", [(6, 6, 3), (3, 6, 1), (6, 65, 1), (36,)])
def test_images_that_nobody_can_draw_are_refused(shape):
    packed = pack(random_network(np.random.default_rng(0), shape, (5,)))
    with pytest.raises(ValueError, match=r"^export: expected grey images with sides from 4 to 64"):
        export(packed, "html")


def test_the_command_leaves_no_file_where_there_is_no_page(tmp_path, capsys):
    target = tmp_path / "page.html"
    network = Sequential([Pixels(), *CONV], (6, 6, 1), np.random.default_rng(0))
    pack(network).save(tmp_path / "conv.qnn")
    assert main(["export", str(tmp_path / "conv.qnn"), "-o", str(target)]) == 2
    assert "PixelsConv" in capsys.readouterr().err
    assert not target.exists()
    assert main(["export", "digits", "-o", str(target)]) == 0
    assert target.read_bytes() == export(of("digits"), "html")


# In a browser

SCORES = """(texts => texts.map(text => {
  const f = run(bytes(text));
  const all = network.real === "float32" ? new Float32Array(f.scores) : new Float64Array(f.scores);
  return [btoa(String.fromCharCode(...new Uint8Array(all.buffer))), answerOf(f.scores)];
}))(%s)"""


def scores_in(page: browser.Page, images: np.ndarray, dtype: str) -> tuple[np.ndarray, list[int]]:
    texts = [base64.b64encode(image.tobytes()).decode() for image in images]
    found = page.ask(SCORES % json.dumps(texts))
    rows = [np.frombuffer(base64.b64decode(text), dtype) for text, _ in found]
    return np.stack(rows), [answer for _, answer in found]


def show(page: browser.Page, network: PackedNetwork, folder, wide: int = 1200) -> None:
    file = folder / "page.html"
    file.write_bytes(export(network, "html"))
    size = {"width": wide, "height": 900, "deviceScaleFactor": 1, "mobile": wide < 500}
    page.send("Emulation.setDeviceMetricsOverride", **size)
    page.send("Page.navigate", url="about:blank")
    page.send("Page.navigate", url=file.as_uri())
    browser.wait_for("the page", lambda: page.ask("typeof answerOf === 'function' && !!result"))


def check_scores(page: browser.Page, packed: PackedNetwork, images: np.ndarray) -> None:
    scores, answers = scores_in(page, images, packed.stages[-1].dtype)
    expected = packed.scores(images)
    words = f"u{expected.itemsize}"
    np.testing.assert_array_equal(scores.view(words), expected.view(words))
    np.testing.assert_array_equal(answers, packed.predict(images))


def drag(page: browser.Page, points: list[tuple[float, float]]) -> None:
    """Draw a stroke with the mouse, points from 0 to 1 of the pad."""
    box = page.ask("(b => [b.x, b.y, b.width])($('pad').getBoundingClientRect())")
    places = [(box[0] + x * box[2], box[1] + y * box[2]) for x, y in points]
    kinds = ["mousePressed", *["mouseMoved"] * (len(points) - 1), "mouseReleased"]
    for kind, (x, y) in zip(kinds, [*places, places[-1]], strict=True):
        page.send(
            "Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1
        )


def touch(page: browser.Page, points: list[tuple[float, float]]) -> None:
    """Draw a stroke with a finger."""
    page.send("Emulation.setTouchEmulationEnabled", enabled=True)
    box = page.ask("(b => [b.x, b.y, b.width])($('pad').getBoundingClientRect())")
    for number, (x, y) in enumerate(points):
        place = {"x": box[0] + x * box[2], "y": box[1] + y * box[2]}
        kind = "touchMove" if number else "touchStart"
        page.send("Input.dispatchTouchEvent", type=kind, touchPoints=[place])
    page.send("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])


@needs_browser
@pytest.mark.browser
@pytest.mark.slow_without_jit
def test_the_page_runs_the_network_and_shows_what_a_person_does(tmp_path):
    mnist, digits = datasets.load("mnist").test_images, datasets.load("digits").test_images
    with browser.opened("about:blank", tmp_path) as page:
        page.send("Page.addScriptToEvaluateOnNewDocument", source=MESSAGES)
        show(page, with_ties(of("digits"), digits[:40]), tmp_path)
        check_scores(page, with_ties(of("digits"), digits[:40]), digits[:40])
        double = random_network(np.random.default_rng(1), (5, 7, 1), (65,), 10, bias=True,
                                dtype=np.float64)  # fmt: skip
        show(page, pack(double), tmp_path)
        noise = np.random.default_rng(2).integers(0, 256, (20, 5, 7, 1), np.uint8)
        check_scores(page, pack(double), noise)

        show(page, of("mnist"), tmp_path)
        check_scores(page, of("mnist"), mnist[:200])
        answers = "answerOf(result.scores)"
        examples = (
            f"[...document.querySelectorAll('[data-strokes]')].map(b => (b.click(), {answers}))"
        )
        assert page.ask(examples) == list(range(10))
        assert page.ask(SMALL) == list(range(10))

        page.ask("$('clear').click()")
        assert page.ask("result.pixels.every(p => p === 0)")
        drag(page, [(0.5, 0.1 + 0.08 * k) for k in range(11)])
        assert page.ask(answers) == 1
        assert page.ask("$('digit').textContent") == "1"
        drag(page, [(0.5 - 0.04 * k, 0.12) for k in range(8)])  # a bar to the left: no 1 any more
        assert page.ask(answers) != 1
        page.ask("$('undo').click()")
        assert page.ask(answers) == 1

        page.ask("$('clear').click(); $('pad').focus()")
        for key, code in [*[("ArrowUp", 38)] * 10, (" ", 32), *[("ArrowDown", 40)] * 20]:
            page.press(key, code)
        assert page.ask(answers) == 1
        page.press("Delete", 46)
        assert page.ask("state.strokes.length") == 0

        page.ask("$('class3').click()")
        before = page.ask("[result.layers.at(-1).sums[3], layers.at(-1).words.join()]")
        page.ask("$('weights').focus()")
        page.press("ArrowRight", 39)
        page.press("Enter", 13)
        after = page.ask("result.layers.at(-1).sums[3]")
        assert abs(after - before[0]) == 2
        assert "The sum changed by" in page.ask("$('changed').textContent")
        page.ask("$('restore').click()")
        assert page.ask("[result.layers.at(-1).sums[3], layers.at(-1).words.join()]") == before

        for wide in (390, 320):
            show(page, of("mnist"), tmp_path, wide)
            assert page.ask("document.documentElement.scrollWidth") <= wide
            assert not page.ask(OUTSIDE)
        page.ask("$('clear').click()")
        touch(page, [(0.5, 0.1 + 0.08 * k) for k in range(11)])
        assert page.ask("[state.strokes.length, scrollY]") == [1, 0]
        assert page.ask(answers) == 1
        assert page.ask(UNNAMED) == []
        assert page.ask("messages") == []


SMALL = """[...document.querySelectorAll("[data-strokes]")].map((button) => { // in a corner, aslant
  const strokes = JSON.parse(button.dataset.strokes);
  const small = strokes.map((s) => s.map(([x, y]) => [0.1 + 0.3 * x - 0.1 * y, 0.5 + 0.4 * y]));
  return answerOf(run(imageOf(small)).scores);
})"""
MESSAGES = """
window.messages = [];
for (const kind of ["log", "info", "warn", "error"])
  console[kind] = (...all) => messages.push(all.join(" "));
for (const kind of ["error", "unhandledrejection", "securitypolicyviolation"])
  addEventListener(kind, (event) => messages.push(kind), true);
"""
OUTSIDE = """[...document.querySelectorAll("main *")].some(
  (e) => e.getBoundingClientRect().right > innerWidth + 1)"""
UNNAMED = """[...document.querySelectorAll("canvas, button")].filter(
  (e) => !e.ariaLabel && !e.textContent.trim()).map((e) => e.outerHTML)"""
