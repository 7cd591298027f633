"""What a text names as a reward: a model, a function, a server, a judge or a verifier."""

from typing import Literal

from rlhf.rewards.function import is_function

SourceKind = Literal["model", "function", "server", "judge", "verifier"]
JUDGE, VERIFIER = "judge:", "verifier:"
CODE = "code"  # the verifier that runs programs


def kind_of(source: str) -> SourceKind:
    """The kind of a source that is named by text, without its weight."""
    if source.startswith(("http://", "https://")):
        return "server"
    if source.startswith(JUDGE):
        return "judge"
    if source.startswith(VERIFIER):
        return "verifier"
    return "function" if is_function(source) else "model"


def runs_code(source: str) -> bool:
    """Whether the source is `verifier:code`, with options or without."""
    return source.partition("?")[0] == VERIFIER + CODE
