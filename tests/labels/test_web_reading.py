"""How the label page shows texts: long ones, differences, formulas, tables, right-to-left text."""

import struct
import zlib

import pytest

from rlhf.labels.records import Candidate
from rlhf.labels.web.config import WebConfig
from tests.browsing import press, wait_until
from tests.labels.page import PHONE
from tests.labels.web_server import serving

pytestmark = [pytest.mark.slow, pytest.mark.browser]


def long_text(name: str, paragraphs: int = 20) -> str:
    """Paragraphs of 40 words each."""
    return "\n\n".join(f"{name}{number} " + "word " * 39 for number in range(paragraphs))


@pytest.mark.parametrize("options", [{}, PHONE], ids=["desktop", "phone"])
def test_long_responses_scroll_in_panes_with_their_letters_in_sight(tmp_path, open_page, options):
    item = Candidate(prompt="Which?", responses=[long_text(name) for name in "pqrs"])
    with serving(tmp_path, [item]) as site:
        page = open_page(site, "ann", **options)
        height = page.viewport_size["height"]
        assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]
        assert page.evaluate("document.documentElement.scrollHeight") < 6 * height
        assert page.locator(".words").all_inner_texts() == ["800 words"] * 4
        pane = page.locator(".pane").first
        assert pane.bounding_box()["height"] < height
        press(page, "PageDown")
        wait_until(lambda: pane.evaluate("pane => pane.scrollTop") > 100)
        page.locator(".pane").first.evaluate("pane => pane.scrollTop = pane.scrollHeight")
        letter = page.locator(".card .letter").first.bounding_box()
        assert 0 <= letter["y"] < height
        page.click("#toggle-full")
        assert page.locator(".pane").first.bounding_box()["height"] > height
        page.evaluate("scrollTo(0, document.querySelector('.pane').offsetHeight / 2)")
        letter = page.locator(".card .letter").first.bounding_box()
        bar = page.locator(".bar").bounding_box()
        assert bar["y"] + bar["height"] <= letter["y"] + 1 < height / 2


def test_middle_of_long_responses_is_folded_on_request(tmp_path, open_page):
    """Of 20 paragraphs of 40 words, 3 (120 words) before and 2 (80 words) after it stay."""
    item = Candidate(prompt="Which?", responses=[long_text("p"), long_text("q"), "short"])
    with serving(tmp_path, [item]) as site:
        page = open_page(site, "ann")
        assert page.locator(".unfold").count() == 0
        press(page, "1", "h")
        assert page.locator(".unfold").all_inner_texts() == ["… 600 words in the middle: show"] * 2
        assert page.locator(".card .pane p:visible").count() == 2 * 5 + 1
        page.locator(".unfold").first.click()
        assert page.locator(".card .pane p:visible").count() == 20 + 5 + 1
        assert page.locator(".slot[data-tier='1'] .chip").count() == 1  # the form stays
        page.reload()
        page.wait_for_selector("body[data-ready]")
        assert page.locator(".unfold").count() == 2


def test_differences_between_responses_are_marked(tmp_path, open_page):
    """Words outside every run of three words that the other response has too."""
    responses = ["The **cat** sat on the red mat today.", "The **cat** sat on the blue mat today."]
    with serving(tmp_path, [Candidate(prompt="Which?", responses=responses)]) as site:
        page = open_page(site, "ann")
        assert page.evaluate("CSS.highlights.size") == 0
        press(page, "d")
        marked = page.evaluate(
            """() => [...CSS.highlights.get("difference")].map(
                (range) => range.startContainer.data.slice(range.startOffset, range.endOffset))"""
        )
        assert sorted(marked) == ["blue", "red"]
        assert page.locator(".words").all_inner_texts() == ["8 words · 11% differs"] * 2
        press(page, "d")
        assert page.evaluate("CSS.highlights.size") == 0


def test_texts_of_all_kinds_fit_and_can_be_read(tmp_path, open_page):
    rows = "| animal | sound | number |\n|---|:-:|--:|\n| " + "supercalifragilistic " * 2
    texts = [
        r"So \[ \frac{1}{2} + x^2 \] and $y$, \(\cancel{a} \boxed{42}\).",
        "שלום, API (2020) הוא ממשק.\n\n- אחת\n- שתיים",
        rows + "| meow | 123456789 |",
        "def f(x):\n    return x",
    ]
    with serving(tmp_path, [Candidate(prompt=r"\(x\)", responses=texts)]) as site:
        page = open_page(site, "ann", **PHONE)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert page.locator("#conversation math").count() == 1
        assert page.locator(".card mfrac").bounding_box()["height"] > 15
        drawn = "(node, name) => getComputedStyle(node)[name]"
        assert page.locator(".card .box").evaluate(drawn, "borderTopWidth") == "1px"
        strike = page.locator(".card .updiagonalstrike").evaluate(drawn, "backgroundImage")
        assert "linear-gradient" in strike
        directions = "nodes => nodes.map((node) => getComputedStyle(node).direction)"
        hebrew = page.locator(".card", has_text="ממשק").locator(".text > *")
        assert hebrew.evaluate_all(directions) == ["rtl", "rtl"]
        table = page.locator(".card table")
        assert table.evaluate("table => table.scrollWidth > table.clientWidth")
        number = page.locator(".card td", has_text="123456789")
        assert number.bounding_box()["height"] < 80
        assert number.evaluate("cell => getComputedStyle(cell).textAlign").endswith("right")
        indent = page.locator(".card .indent").bounding_box()
        assert indent["width"] > 10
        page.locator("#toggle-raw").tap()
        raw = page.locator("pre.raw", has_text="return x")
        assert raw.inner_text() == texts[3]
        for box in ("#comment", "#rewrite"):
            assert page.locator(box).get_attribute("dir") == "auto"


def test_code_has_colours_in_both_themes(tmp_path, open_page):
    code = "```python\ndef f(x):\n    return 1  # one\n```"
    with serving(tmp_path, [Candidate(prompt="p", responses=[code, "no"])]) as site:
        page = open_page(site, "ann")
        colours = set()
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            colours.add(
                page.locator(".code-keyword").first.evaluate("node => getComputedStyle(node).color")
            )
        assert len(colours) == 2


def png(width: int, height: int) -> bytes:
    """A grey picture of this size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress((b"\0" + b"\x80" * width) * height)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("options", [{}, PHONE], ids=["desktop", "phone"])
def test_pictures_of_the_prompt_load_and_fit(tmp_path, open_page, options):
    """The policy of the page allows them; a wide one shrinks; `r` shows the name."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "wide.png").write_bytes(png(2400, 1600))
    item = Candidate(prompt="What is it?\n\npicture:wide.png", responses=("a", "b"))
    with serving(tmp_path, [item], web=WebConfig(pictures=folder)) as site:
        page = open_page(site, "ann", **options)
        picture = page.locator("#conversation img")
        wait_until(lambda: picture.evaluate("img => img.naturalWidth") == 2400)
        box, width = picture.bounding_box(), page.viewport_size["width"]
        assert box["width"] <= width
        assert box["width"] / box["height"] == pytest.approx(1.5, rel=0.02)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        press(page, "r")
        page.locator("#conversation pre", has_text="picture:wide.png").wait_for()
