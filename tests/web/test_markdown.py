"""Markdown of models and users as sanitized HTML."""

from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlhf.web.markdown import render
from rlhf.web.sanitizer import ATTRIBUTES, TAGS, VALUES, sanitized


def elements(html: str) -> list[tuple[str, dict[str, str | None]]]:
    """Tags and attributes of the HTML, in order."""
    found: list[tuple[str, dict[str, str | None]]] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: found.append((tag, dict(attributes)))
    parser.feed(html)
    return found


@pytest.mark.parametrize("text", ["15.", "7)", "-", "The sum:\n\n15.\n\nDone."])
def test_mark_of_a_list_without_an_item_is_text(text):
    """A response such as "15." is a number, and not an empty item of a list."""
    html = render(text)
    assert "<li" not in html
    assert all(line in html for line in text.split())


def test_lists_with_items_stay_lists():
    assert render("15. a").count("<li") == 1
    assert render("1.\n2. b").count("<li") == 2
    assert render("- a\n-\n- c").count("<li") == 3
    assert render("- 15.\n- 16.").count("<li") == 2
    assert render("- 1.\n  2. b").count("<li") == 3


def test_text_after_a_mark_alone_stays_outside_of_its_item():
    """As in CommonMark: "15." begins an empty item, and "foo" is not indented to be in it."""
    paragraph = '<p dir="auto">foo</p>\n'
    assert render("15.\nfoo") == f'<ol start="15" dir="auto">\n<li></li>\n</ol>\n{paragraph}'
    assert render("- 15.\nfoo").endswith(f"</ul>\n{paragraph}")
    assert render("> 15.\nfoo").endswith(f"</blockquote>\n{paragraph}")
    assert render("- 15.\n# foo").startswith('<ul dir="auto">\n<li>15.</li>\n</ul>')


def test_markdown_keeps_structure_and_drops_active_content():
    assert render("**b** `c`") == '<p dir="auto"><strong>b</strong> <code>c</code></p>\n'
    assert "<script" not in render("<script>alert(1)</script>")
    assert "<img" not in render("![x](http://tracker.example/x.png)")
    assert "href" not in render("[x](javascript:alert(1))")
    link = render("[x](https://example.org)")
    assert 'rel="noopener noreferrer nofollow"' in link


def test_only_listed_tags_and_attributes_remain_of_hostile_texts(root):
    """Each payload as text, in a formula, and in coloured code; and as HTML for the sanitizer."""
    payloads = (root / "tests" / "labels" / "xss.txt").read_text().splitlines()
    assert len(payloads) >= 50
    for payload in payloads:
        texts = [
            payload,
            f"\\[ {payload} \\]",
            f"$\\text{{{payload}}}$",
            f"```html\n{payload}\n```",
        ]
        for html in [*map(render, texts), sanitized(payload)]:
            for tag, attributes in elements(html):
                assert tag in TAGS
                for name, value in attributes.items():
                    listed = name in ATTRIBUTES.get(tag, set()) | ({"rel"} if tag == "a" else set())
                    assert listed or value in VALUES[tag][name], (tag, name, value)
                    assert not (value or "").strip().lower().startswith(("javascript", "data:"))


PIECES = [
    "\\(",
    "\\)",
    "\\[",
    "\\]",
    "$",
    "$$",
    "`",
    "```python\n",
    "\n",
    "  ",
    "> ",
    "- ",
    "|",
    "x",
    "{",
    "}",
]


@settings(max_examples=60, deadline=None, database=None)
@given(
    st.lists(st.sampled_from([*PIECES, "\\begin{align}", "<b>", "א", "^", "_", "*"]), max_size=40)
)
def test_any_text_is_rendered(pieces):
    for tag, attributes in elements(render("".join(pieces))):
        assert tag in TAGS
        assert not {"style", "onclick", "id"} & attributes.keys()


def test_each_block_takes_the_direction_of_its_text():
    """A browser looks for the direction of a list in its items, so these have none of their own."""
    html = render("שלום\n\n- אחת\n- two\n\n> quote")
    directions = [(tag, attributes.get("dir")) for tag, attributes in elements(html)]
    assert directions == [
        ("p", "auto"), ("ul", "auto"), ("li", None), ("li", None), ("blockquote", "auto"),
        ("p", None),
    ]  # fmt: skip


def test_cells_keep_their_alignment_without_a_style():
    html = render("| a | b | c |\n|:--|--:|:-:|\n| 1 | 2 | 3 |")
    cells = [attributes for tag, attributes in elements(html) if tag in ("th", "td")]
    assert cells == [{"align": "left"}, {"align": "right"}, {"align": "center"}] * 2


def test_unfenced_code_keeps_its_lines_and_indentation():
    html = render("def f(x):\n    if x:\n\t    return 1")
    assert html == (
        '<p dir="auto">def f(x):<br>\n<span class="indent">    </span>if x:<br>\n'
        '<span class="indent">\t    </span>return 1</p>\n'
    )
    assert "indent" not in render("one\n two")  # a single space is no indentation
    assert "indent" not in render("- one\n  two")  # the list's own


@pytest.mark.parametrize("language", ["python", "PYTHON", "js", "rust", "diff", "html"])
def test_fenced_code_of_a_known_language_is_coloured(language):
    assert 'class="code-' in render(f"```{language}\n- return 'x' < 1 # no\n```")


def test_colours_keep_the_text_of_the_code():
    code = "\n\ndef f(x):\n    return x < 1 and '<b>'\n\n"
    html = render(f"```python\n{code}```")
    texts = []
    parser = HTMLParser()
    parser.handle_data = texts.append
    parser.feed(html)
    assert "".join(texts).removesuffix("\n") == code


@pytest.mark.parametrize("language", ["no-such-language", "", "../x", "a" * 1000])
def test_fenced_code_of_another_language_is_plain(language):
    html = render(f"```{language}\nreturn 1\n```")
    assert html == "<pre><code>return 1\n</code></pre>\n"


def test_text_cannot_take_a_class_of_the_page():
    assert "class" not in sanitized('<span class="card chosen">x</span>')
