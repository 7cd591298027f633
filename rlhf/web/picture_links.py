"""Pictures in Markdown: `picture:NAME` and `![text](NAME)`, on a page that has pictures.

A picture is a file of a local folder that the page serves. Any other image would be a request to
another server, and stays a link.
"""

import re
from collections.abc import Callable, Sequence
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml
from markdown_it.renderer import RendererHTML
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict

AddressOf = Callable[[str], str | None]
"""Name of a picture -> its address on the page; None: there is no such picture."""

ADDRESS_OF = "picture_address"  # key of the parser's environment; without it there are no pictures
PREFIX = "picture"
_IMAGE = re.compile(r"!\[([^\[\]\n]{0,300})\]\(([^\s()<>\"]{1,300})\)")
_NAME = re.compile(r"\w[\w-]*(?:\.[\w-]+)+")
_MENTION = re.compile(rf"\b{PREFIX}:({_NAME.pattern})")
_ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:|[/\\#?]", re.IGNORECASE)


def add_pictures(markdown: MarkdownIt) -> None:
    """Let a parser read names of pictures, if its environment has `ADDRESS_OF`."""
    markdown.inline.ruler.before("link", "picture_image", _image)
    markdown.inline.ruler.before("link", "picture_name", _mention)
    markdown.add_render_rule(PREFIX, _render)


def picture_names(text: str) -> list[str]:
    """Names of pictures in a text."""
    targets = [_name_of(match[2]) for match in _IMAGE.finditer(text)]
    return [*(name for name in targets if name), *_MENTION.findall(text)]


def _name_of(target: str) -> str:
    """The name in the target of an image; "" if it is an address."""
    target = target.removeprefix(f"{PREFIX}:")
    return "" if _ELSEWHERE.match(target) else unquote(target)


def _image(state: StateInline, silent: bool) -> bool:
    """`![text](NAME)`. If there is no such picture, it stays text."""
    if ADDRESS_OF not in state.env or state.src[state.pos] != "!":
        return False
    match = _IMAGE.match(state.src, state.pos, state.posMax)
    name = _name_of(match[2]) if match else ""
    if match is None or not name:
        return False
    address = state.env[ADDRESS_OF](name)
    if not silent and (address is None or state.linkLevel):
        state.push("text", "", 0).content = match[0]
    elif not silent:
        _push(state, address, match[1] or name)
    state.pos = match.end()
    return True


def _mention(state: StateInline, silent: bool) -> bool:
    """`picture:NAME`, found at its colon, since letters do not interrupt a text."""
    start = state.pos - len(PREFIX)
    if ADDRESS_OF not in state.env or state.linkLevel or start < 0:
        return False
    match = _MENTION.match(state.src, start, state.posMax)
    if match is None or not state.pending.endswith(PREFIX):
        return False
    address = state.env[ADDRESS_OF](match[1])
    if address is None:
        return False
    if not silent:
        state.pending = state.pending.removesuffix(PREFIX)
        _push(state, address, match[1])
    state.pos = match.end()
    return True


def _push(state: StateInline, address: str, description: str) -> None:
    token = state.push(PREFIX, "img", 0)
    token.attrs = {"src": address}
    token.content = description


def _render(
    renderer: RendererHTML,
    tokens: Sequence[Token],
    index: int,
    options: OptionsDict,
    env: EnvType,
) -> str:
    address = escapeHtml(str(tokens[index].attrs["src"]))
    description = escapeHtml(tokens[index].content)
    return f'<a href="{address}"><img src="{address}" alt="{description}"></a>'
