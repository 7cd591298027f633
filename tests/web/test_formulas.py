r"""Formulas in texts as MathML, and texts that only look like formulas."""

import pytest

from rlhf.web.formulas import MAX_FORMULA, mathml
from rlhf.web.markdown import render


@pytest.mark.parametrize(
    ("text", "formulas", "display"),
    [
        (r"so \(x^2\) is", 1, False),
        (r"so $x^2$ is, and $y$.", 2, False),
        (r"so \[x^2\] is", 1, True),
        (r"so $$x^2$$ is", 1, True),
        ("Then:\n\\[\nx^2\n= y\n- 1\n\\]\nand", 1, True),
        ("$$\nx^2\n$$", 1, True),
        ("\\begin{align}\nx &= 1 \\\\\ny &= 2\n\\end{align}", 1, True),
        ("- one\n  \\[ x^2 \\]\n- two", 1, True),
        ("> \\[\n> x^2\n> \\].", 1, True),
    ],
)
def test_delimiters_of_formulas(text, formulas, display):
    html = render(text)
    assert html.count("<math") == formulas
    assert ('display="block"' in html) == display
    for mark in ("\\", "$"):
        assert mark not in html


@pytest.mark.parametrize(
    "text",
    [
        "It costs $5 and $10.", "from $5-$6", "US$5, or US$6", "a $ b $ c", "$", "$$", "$$$$",
        "`$x$`", "```\n$x$\n```", "    $x$", "price: 5$ or 6$", "\\$x\\$", "$x",
    ],
)  # fmt: skip
def test_prices_and_code_are_no_formulas(text):
    assert "<math" not in render(text)


def test_open_delimiter_stays_text_while_a_response_is_streamed():
    assert "<math" not in render("\\[ x^2")
    assert "<p" in render("\\[\n\nx^2 \\]")


def test_value_of_a_formula():
    r"""\frac{a}{b} is a fraction of two identifiers; a<b is escaped once."""
    html = render(r"\(\frac{a}{b} < c\)")
    assert "<mfrac><mrow><mi>a</mi></mrow><mrow><mi>b</mi></mrow></mfrac>" in html
    assert "&lt;" in html
    assert "&amp;" not in html


@pytest.mark.parametrize(
    ("before", "place", "after"), [("", "", ""), (r"\left\{", "[t]", r"\right.")]
)
def test_aligned_lines_within_a_formula_are_a_table(before, place, after):
    """Two lines of two cells; the `&` between them is not shown."""
    lines = rf"\begin{{aligned}}{place} a &= b \\ c &= d \end{{aligned}}"
    html = mathml(before + lines + after, display=True)
    assert (html.count("<mtr>"), html.count("<mtd")) == (2, 4)
    assert "&<" not in html


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("boxed", "box"),
        ("cancel", "updiagonalstrike"),
        ("xcancel", "updiagonalstrike downdiagonalstrike"),
        ("sout", "horizontalstrike"),
    ],
)
def test_boxes_and_strikes_are_rows_with_a_class(command, name):
    """Firefox draws <menclose>, and Chromium does not: with CSS for it Firefox drew two boxes."""
    html = render(rf"\(\{command}{{42}}\)")
    assert f'<mrow class="{name}"><mrow><mn>42</mn></mrow></mrow>' in html


def test_text_after_a_formula_is_kept():
    assert render("\\[x\\].").rstrip().endswith("</math>.</p>")
    assert "and more" in render("\\[x\\] and more")


@pytest.mark.parametrize("formula", ["\\frac{", "\\left( x", "}", "x^", "{" * 500, "\\unknown{x}"])
def test_any_text_between_delimiters_is_shown(formula):
    """What is not LaTeX is shown as its source, or by its letters."""
    html = render(f"\\({formula}\\)")
    assert "<math" in html or f"<code>\\({formula}\\)</code>" in html


def test_long_formula_is_shown_as_its_source():
    assert mathml("x" * (MAX_FORMULA + 1), display=False) is None
    assert "<code>" in render("$" + "x" * (MAX_FORMULA + 1) + "$")


def test_formula_cannot_be_moved_over_the_page():
    """Negative spaces and sizes that could cover a letter of the page are removed."""
    for formula in (r"\hspace{-40em}x", r"\Huge{x}", r"\rule{40em}{40em}", r"\color{white}x"):
        html = render(f"\\({formula}\\)")
        for name in ("-40em", "mathsize", "mathcolor", "style=", "height="):
            assert name not in html
