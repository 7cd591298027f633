r"""Formulas in Markdown: `\( … \)`, `\[ … \]`, `$ … $`, `$$ … $$` and `\begin{align}` -> MathML.

Browsers lay out MathML themselves, so a page needs no script and no fonts for it.
"""

import re
from collections.abc import Sequence
from functools import lru_cache

from latex2mathml.converter import convert
from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml
from markdown_it.renderer import RendererHTML
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict

MAX_FORMULA = 2000  # characters; a longer formula is shown as its source
_CLOSING = {r"\(": r"\)", r"\[": r"\]", "$$": "$$", "$": "$"}
_ENVIRONMENT = re.compile(r"\\begin\{((?:equation|align|gather|multline)\*?)\}")
# The converter knows `align*`, also within a formula, but not `aligned`.
_ALIGNED = re.compile(r"\\(begin|end)\{aligned\}(?:\[[tcb]\])?")
# Browsers differ in whether they draw an enclosure; text.css draws all of them.
_ENCLOSURE = re.compile(r'<menclose notation="([a-z ]+)">|</menclose>')
_PUNCTUATION = ("", ".", ",", ";", ":")  # what may follow a formula on its last line
# As in pandoc: a price is no formula. `$5 and $6`: the second $ follows a space; `$5-$6`: a digit
# follows it; `US$5`: a letter precedes the first.
_DOLLARS = re.compile(r"\$(?![\s$])((?:[^$\\\n]|\\.|\n(?!\n))*?)(?<![\s\\])\$(?![\d$])")


def add_formulas(markdown: MarkdownIt) -> None:
    """Let a parser read formulas and render them as MathML."""
    markdown.inline.ruler.before("escape", "formula", _inline_formula)
    interrupted = ["paragraph", "reference", "blockquote", "list"]
    markdown.block.ruler.before("fence", "formula_block", _block_formula, {"alt": interrupted})
    markdown.add_render_rule("formula", _render_formula)


@lru_cache(maxsize=4096)  # a page renders a response again and again while it is streamed
def mathml(formula: str, *, display: bool) -> str | None:
    """The formula as MathML; None if it is too long, or not LaTeX that the converter knows."""
    if len(formula) > MAX_FORMULA:
        return None
    try:
        known = _ALIGNED.sub(r"\\\1{align*}", formula)
        converted = convert(known, display="block" if display else "inline")
    except Exception:  # models write anything, and the converter raises many kinds of errors
        return None
    return _ENCLOSURE.sub(_enclosing_row, converted)


def _enclosing_row(tag: re.Match[str]) -> str:
    return f'<mrow class="{tag[1]}">' if tag[1] else "</mrow>"


def _inline_formula(state: StateInline, silent: bool) -> bool:
    """A formula within a paragraph."""
    opening = next((mark for mark in _CLOSING if state.src.startswith(mark, state.pos)), None)
    if opening is None:
        return False
    if opening == "$":
        match = _DOLLARS.match(state.src, state.pos, state.posMax)
        if match is None or state.src[max(0, state.pos - 1) : state.pos].isalnum():
            return False
        content, end = match[1], match.end()
    else:
        start = state.pos + len(opening)
        close = state.src.find(_CLOSING[opening], start, state.posMax)
        content, end = state.src[start:close], close + len(_CLOSING[opening])
        if close < 0 or not content.strip():
            return False
    if not silent:
        token = state.push("formula", "math", 0)
        token.content, token.markup = content, opening
    state.pos = end
    return True


def _block_formula(state: StateBlock, first: int, last: int, silent: bool) -> bool:
    """A formula with lines of its own, whose lines are no headings, lists or quotes."""
    if state.is_code_block(first):
        return False
    start = state.bMarks[first] + state.tShift[first]
    environment = _ENVIRONMENT.match(state.src, start)
    if environment:
        opening, closing = environment[0], f"\\end{{{environment[1]}}}"
    elif state.src.startswith((r"\[", "$$"), start):
        opening = state.src[start : start + 2]
        closing = _CLOSING[opening]
    else:
        return False
    line = _closing_line(state, first, last, start + len(opening), closing)
    if line is None:
        return False
    text = state.getLines(first, line + 1, state.blkIndent, False).strip()
    end = text.index(closing, len(opening))
    if not text[len(opening) : end].strip():
        return False
    if silent:
        return True
    token = state.push("formula", "math", 0)
    token.block, token.map = True, [first, line + 1]
    token.info = text[end + len(closing) :].strip()
    if environment:
        token.content = text[: end + len(closing)]
    else:
        token.content, token.markup = text[len(opening) : end], opening
    state.line = line + 1
    return True


def _closing_line(state: StateBlock, first: int, last: int, start: int, closing: str) -> int | None:
    """The line with the first `closing`, if it ends there and no empty line precedes it."""
    for line in range(first, last):
        if line > first and (state.isEmpty(line) or state.sCount[line] < state.blkIndent):
            return None
        begin = start if line == first else state.bMarks[line]
        close = state.src.find(closing, begin, state.eMarks[line])
        if close >= 0:
            rest = state.src[close + len(closing) : state.eMarks[line]]
            return line if rest.strip() in _PUNCTUATION else None
    return None


def _render_formula(
    renderer: RendererHTML,
    tokens: Sequence[Token],
    index: int,
    options: OptionsDict,
    env: EnvType,
) -> str:
    token = tokens[index]
    source = f"{token.markup}{token.content}{_CLOSING.get(token.markup, '')}"
    display = token.block or token.markup in (r"\[", "$$")
    converted = mathml(token.content.strip(), display=display)
    if converted is None:
        converted = f"<code>{escapeHtml(source)}</code>"
    return f"<p>{converted}{escapeHtml(token.info)}</p>\n" if token.block else converted
