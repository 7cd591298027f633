"""Code of a fenced block -> HTML in which the tokens have classes, which the pages colour."""

import re
from functools import lru_cache

from markdown_it.common.utils import escapeHtml
from pygments.lexer import Lexer
from pygments.lexers import get_lexer_by_name
from pygments.token import Comment, Generic, Keyword, Name, Number, Operator, String
from pygments.util import ClassNotFound

MAX_CODE = 20_000  # characters; longer code is shown in one colour
_LANGUAGE = re.compile(r"[\w+#.-]{1,30}")
# Kind of token -> class; the first that contains a token decides.
_CLASSES = (
    (Comment, "code-comment"),
    (Keyword, "code-keyword"),
    (Operator.Word, "code-keyword"),
    (String, "code-string"),
    (Number, "code-number"),
    (Name.Function, "code-name"),
    (Name.Class, "code-name"),
    (Name.Builtin, "code-name"),
    (Name.Tag, "code-name"),
    (Name.Attribute, "code-name"),
    (Generic.Inserted, "code-inserted"),
    (Generic.Deleted, "code-deleted"),
)
CODE_CLASSES = frozenset(name for _, name in _CLASSES)


@lru_cache(maxsize=512)  # a page renders a response again and again while it is streamed
def colored_code(code: str, language: str) -> str:
    """The code as escaped HTML; "" if the language is unknown, or the code too long."""
    lexer = _lexer(language.lower()) if _LANGUAGE.fullmatch(language) else None
    if lexer is None or len(code) > MAX_CODE:
        return ""
    return "".join(_span(kind, text) for kind, text in lexer.get_tokens(code))


@lru_cache(maxsize=256)  # an unknown name makes Pygments look for plugins
def _lexer(language: str) -> Lexer | None:
    try:
        return get_lexer_by_name(language, stripnl=False, ensurenl=False)
    except ClassNotFound:
        return None


def _span(kind: object, text: str) -> str:
    name = next((name for parent, name in _CLASSES if kind in parent), None)
    escaped = escapeHtml(text)
    return f'<span class="{name}">{escaped}</span>' if name else escaped
