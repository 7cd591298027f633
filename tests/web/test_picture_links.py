"""Names of pictures in Markdown: where they begin and end, and what stays as it was."""

from pathlib import Path

import pytest

from rlhf.web.markdown import render
from rlhf.web.picture_links import picture_names
from rlhf.web.sanitizer import sanitized
from tests.web.test_markdown import elements

KNOWN = {"cat.png", "my_dog-1.v2.jpg", "Ü.png", "a b.png"}


def address_of(name: str) -> str | None:
    return f"/pictures/{len(name)}" if name in KNOWN else None


def images(text: str) -> list[str]:
    """Descriptions of the images in the rendered text."""
    found = elements(render(text, address_of))
    return [str(attributes["alt"]) for tag, attributes in found if tag == "img"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("picture:cat.png", ["cat.png"]),
        ("See picture:cat.png.", ["cat.png"]),
        ("(picture:my_dog-1.v2.jpg), picture:cat.png", ["my_dog-1.v2.jpg", "cat.png"]),
        ("picture:Ü.png", ["Ü.png"]),
        ("![a cat](cat.png)", ["a cat"]),
        ("![](cat.png)", ["cat.png"]),
        ("![*x* & <y>](cat.png)", ["*x* & <y>"]),
        ("![a](picture:cat.png)", ["a"]),
        ("![a](a%20b.png)", ["a"]),
        ("- picture:cat.png\n- x", ["cat.png"]),
        ("**picture:cat.png**", ["cat.png"]),
        ("mypicture:cat.png", []),
        ("picture: cat.png", []),
        ("`picture:cat.png`", []),
        ("```\npicture:cat.png\n```", []),
        ("picture:other.png", []),
        ("[picture:cat.png](https://example.org)", []),
        ("![x](https://example.org/cat.png)", []),
        ("![x](//example.org/cat.png)", []),
        ("![x](/cat.png)", []),
        ("![x](data:image/png;base64,AA)", []),
        ("<img src=cat.png>", []),
    ],
)
def test_pictures_of_a_text(text, expected):
    assert images(text) == expected


def test_text_around_a_picture_stays():
    html = render("one picture:cat.png two", address_of)
    image = '<img src="/pictures/7" alt="cat.png">'
    assert html.startswith('<p dir="auto">one <a href="/pictures/7"')
    assert f"{image}</a> two</p>" in html


def test_name_that_is_no_picture_is_shown_as_it_was_written():
    for text in ("picture:other.png", "![x](other.png)"):
        assert render(text, address_of) == f'<p dir="auto">{text}</p>\n'


@pytest.mark.parametrize("text", ["picture:cat.png", "![x](cat.png)", "![x](https://a.b/c.png)"])
def test_other_texts_have_no_pictures(text):
    assert "<img" not in render(text)
    assert "<img" not in sanitized('<img src="/pictures/cat.png">')


def test_images_from_elsewhere_lose_their_source():
    for source in (
        "https://example.org/x.png",
        "https://example.org/pictures/x.png",
        "//example.org/x.png",
        "//pictures/x.png",
        "//example.org/pictures/x.png",
        "/\\\\example.org/pictures/x.png",
        "x.png",
        "data:image/png,x",
    ):
        html = sanitized(f'<img src="{source}" alt="a" onerror="x">', with_pictures=True)
        assert html == '<img alt="a">'
    own = '<img src="/p/maths/pictures/x.png" alt="a">'
    assert sanitized(own, with_pictures=True) == own


def test_hostile_texts_make_no_image(root: Path):
    """Each payload as a text, as a description and as a name; only known names are images."""
    for payload in (root / "tests" / "labels" / "xss.txt").read_text().splitlines():
        for text in (payload, f"![{payload}](cat.png)", f"picture:{payload}", f"![x]({payload})"):
            for tag, attributes in elements(render(text, address_of)):
                assert tag != "script"
                assert not any(name.startswith("on") for name in attributes)
                if tag == "img":
                    assert attributes["src"] == "/pictures/7"


def test_names_in_a_text_are_found_without_rendering():
    text = "picture:a.png ![x](b%20c.png) ![y](https://example.org/d.png) picture:e"
    assert picture_names(text) == ["b c.png", "a.png"]
