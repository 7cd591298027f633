"""Text of models and users -> sanitized, static HTML."""

import re
from collections.abc import Sequence

from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml
from markdown_it.renderer import RendererHTML
from markdown_it.rules_block import StateBlock, list_block
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline, newline
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict

from rlhf.web.code_colors import colored_code
from rlhf.web.formulas import add_formulas
from rlhf.web.picture_links import ADDRESS_OF, AddressOf, add_pictures
from rlhf.web.sanitizer import INDENT, sanitized

MARK_ALONE = re.compile(r"(?:\d{1,9}[.)]|[-+*])\s*")  # of an item of a list


def render(text: str, address_of: AddressOf | None = None) -> str:
    """Markdown as sanitized HTML: no script, style, image, form or id.

    HTML in the text stays text. An image would be a request to another server, so it is a link.
    Other than in CommonMark, line breaks and the indentation of lines are kept, since models write
    code and verse without marking it.

    address_of: with it, `picture:NAME` and `![text](NAME)` are pictures at the address that it
        gives; a name without an address stays text.
    """
    if address_of is None:
        return sanitized(_MARKDOWN.render(text))
    return sanitized(_MARKDOWN.render(text, {ADDRESS_OF: address_of}), with_pictures=True)


def _parser() -> MarkdownIt:
    def highlight(code: str, language: str, attributes: str) -> str:
        return colored_code(code, language)

    options = {"html": False, "breaks": True, "highlight": highlight}
    parser = MarkdownIt("commonmark", options).enable(["table", "strikethrough"])
    parser.disable("image")
    add_formulas(parser)
    add_pictures(parser)
    parser.block.ruler.at("list", _list, {"alt": ["paragraph", "reference", "blockquote"]})
    parser.inline.ruler.at("newline", _keep_indentation)
    parser.add_render_rule(INDENT, _render_indentation)
    parser.core.ruler.push("directions", _set_directions)
    return parser


def _list(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """A list, unless it is one mark without text: "15." is the answer to a sum.

    If text follows directly, it is an empty item, as in CommonMark: "15.\\nfoo" is no paragraph.
    """
    line = state.src[state.bMarks[start] + state.tShift[start] : state.eMarks[start]]
    if MARK_ALONE.fullmatch(line) and _is_alone(state, start, end):
        return False
    return list_block(state, start, end, silent)


def _is_alone(state: StateBlock, start: int, end: int) -> bool:
    """Whether the block of this line ends with it, as a paragraph too."""
    following = start + 1
    if following >= end or state.isEmpty(following):
        return True
    if not state.sCount[following] < state.blkIndent <= state.sCount[start]:
        return False
    # Outside of the outer item. A paragraph would continue with it, unless it begins a block.
    parent, state.parentType = state.parentType, "paragraph"
    rules = state.md.block.ruler.getRules("paragraph")
    begins_block = any(rule(state, following, end, True) for rule in rules)
    state.parentType = parent
    return begins_block


def _keep_indentation(state: StateInline, silent: bool) -> bool:
    """The line break, then the spaces that begin the next line, which CommonMark drops."""
    start = state.pos + 1
    if not newline(state, silent):
        return False
    spaces = state.src[start : state.pos]
    if not silent and (len(spaces) > 1 or "\t" in spaces):
        state.push(INDENT, "span", 0).content = spaces
    return True


def _render_indentation(
    renderer: RendererHTML,
    tokens: Sequence[Token],
    index: int,
    options: OptionsDict,
    env: EnvType,
) -> str:
    return f'<span class="{INDENT}">{escapeHtml(tokens[index].content)}</span>'


def _set_directions(state: StateCore) -> None:
    """Let each block take its direction from its own text, and cells keep their alignment.

    Blocks within a block have no direction of their own: a browser would not look into them for
    that of the outer one. The style that markdown-it writes into cells is forbidden on our pages.
    """
    for token in state.tokens:
        if token.level == 0 and token.nesting == 1:
            token.attrSet("dir", "auto")
        style = token.attrs.pop("style", None)
        if style is not None:
            token.attrSet("align", str(style).removeprefix("text-align:"))


_MARKDOWN = _parser()
