"""What a text names as a reward: a model, a function, a server, a judge or a verifier."""

from pathlib import Path
from typing import Literal

from rlhf.data.rows.sources import split_weight
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


def public_name(source: str) -> str:
    """What to call a source in files for others: a hub id, or the last part of a path.

    Folders, addresses of servers and options would tell of this machine.
    """
    _, source = split_weight(source)
    kind = kind_of(source)
    if kind == "server":
        return "a server"
    if kind in ("judge", "verifier"):
        prefix, _, named = source.partition("?")[0].partition(":")
        return f"{prefix}:{_without_folders(named)}"
    # A function is never on the hub, and no file has its name: `file.py:function`.
    return Path(source).name if kind == "function" else _without_folders(source)


def runs_code(source: str) -> bool:
    """Whether the source is `verifier:code`, with options or without."""
    return source.partition("?")[0] == VERIFIER + CODE


def _without_folders(path: str) -> str:
    may_be_id = path.count("/") == 1 and not path.startswith((".", "~", "/"))
    return path if may_be_id and not Path(path).exists() else Path(path).resolve().name
