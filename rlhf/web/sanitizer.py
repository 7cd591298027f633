"""The tags, attributes and values that rendered text may have; everything else is removed."""

import re

import nh3

from rlhf.web.code_colors import CODE_CLASSES

FORMULA_TAGS = {
    *("math", "mrow", "mi", "mo", "mn", "ms", "mtext", "mspace", "mstyle", "mpadded", "mphantom"),
    *("mfrac", "msqrt", "mroot", "msub", "msup", "msubsup", "munder", "mover", "munderover"),
    *("mtable", "mtr", "mtd", "mmultiscripts", "mprescripts", "none"),
}
TAGS = {
    *("p", "br", "hr", "strong", "em", "del", "s", "code", "pre", "blockquote", "ul", "ol", "li"),
    *("h1", "h2", "h3", "h4", "h5", "h6", "table", "thead", "tbody", "tr", "th", "td", "a"),
    "span",
    *FORMULA_TAGS,
}
ATTRIBUTES = {"a": {"href", "title", "target"}, "ol": {"start"}}
LINKS = {"http", "https", "mailto"}
INDENT = "indent"
PICTURES = "/pictures/"  # path of the pictures that a page serves itself
_PICTURE = re.compile(rf"(?:/[\w-]+)*{PICTURES}[^/]+")  # on this server, below any project

_AUTO = {"dir": {"auto"}}
_ALIGNED = {"align": {"left", "center", "right"}}
_BLOCKS = ("p", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "ul", "ol", "table")
_YES_NO = {"true", "false"}
_DIAGONALS = ("updiagonalstrike", "downdiagonalstrike")
# Only these values: with other sizes and colours a formula could cover what is next to it.
VALUES: dict[str, dict[str, set[str]]] = {
    **dict.fromkeys(_BLOCKS, _AUTO),
    "th": _ALIGNED,
    "td": _ALIGNED,
    "span": {"class": {INDENT, *CODE_CLASSES}},
    "math": {"display": {"block", "inline"}},
    "mo": {
        **dict.fromkeys(("stretchy", "fence", "separator", "accent", "movablelimits"), _YES_NO),
        "form": {"prefix", "infix", "postfix"},
        "minsize": {"1.2em", "1.623em", "1.8em", "2.047em", "2.4em", "2.470em", "3em"},
        "maxsize": {"1.2em", "1.623em", "1.8em", "2.047em", "2.4em", "2.470em", "3em"},
    },
    "mi": {"mathvariant": {"normal", "bold", "italic", "double-struck", "script", "fraktur"}},
    "mspace": {"width": {"0.167em", "0.222em", "0.278em", "0.5em", "1em", "2em"}},
    "mfrac": {"linethickness": {"0"}},
    "mover": {"accent": _YES_NO},
    "munder": {"accentunder": _YES_NO},
    "mtd": {"columnalign": {"left", "center", "right"}},
    "mtable": {"displaystyle": _YES_NO},
    "mstyle": {"displaystyle": _YES_NO, "scriptlevel": {"0", "1", "2"}},
    "mrow": {"class": {"box", "horizontalstrike", *_DIAGONALS, " ".join(_DIAGONALS)}},
}


def sanitized(html: str, *, with_pictures: bool = False) -> str:
    """The HTML without anything that is not listed above; links open in a new tab.

    with_pictures: keep images, if they are below `PICTURES` on this server.
    """
    return nh3.clean(
        html,
        tags=TAGS | {"img"} if with_pictures else TAGS,
        attributes=ATTRIBUTES | {"img": {"src", "alt"}} if with_pictures else ATTRIBUTES,
        attribute_filter=_kept,
        tag_attribute_values=VALUES,
        url_schemes=LINKS,
        link_rel="noopener noreferrer nofollow",
        set_tag_attribute_values={"a": {"target": "_blank"}},
    )


def _kept(tag: str, attribute: str, value: str) -> str | None:
    """The value of an attribute; None for an image from elsewhere."""
    is_foreign = (tag, attribute) == ("img", "src") and not _PICTURE.fullmatch(value)
    return None if is_foreign else value
