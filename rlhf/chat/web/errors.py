"""What is wrong with a request, as OpenAI's clients read it: message, type, param, code."""

import contextlib
import difflib
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from rlhf.chat.web.schema import INSTEAD, KNOWN, NEUTRAL, NEUTRAL_IN_TURNS
from rlhf.errors import DataError

TOO_LONG = "context_length_exceeded"  # clients that shorten a conversation look for it
_NO_UNICODE = "string_unicode"  # pydantic's name for half of a surrogate pair
_LONGEST_SHOWN = 60  # characters of a value that is repeated to its sender
_WRONG_TYPE = re.compile(r"Input should be (?:an?|the) (?:valid )?(\w+).*")
_OPENING = re.compile(r"^(Input|String|List|Dictionary|Value) should ")

Path = tuple[str | int, ...]


class Unfit(DataError):
    """A request that cannot be answered, the field that is to blame, and OpenAI's code for it."""

    def __init__(
        self, message: str, *, param: str | None = None, openai_code: str | None = None
    ) -> None:
        super().__init__(message, code="bad-value")
        self.param, self.openai_code = param, openai_code


@contextlib.contextmanager
def about(param: str) -> Iterator[None]:
    """Blame `param` for what is wrong, where no other field is named."""
    try:
        yield
    except DataError as error:
        named = error if isinstance(error, Unfit) else Unfit(str(error))
        raise Unfit(
            str(error), param=named.param or param, openai_code=named.openai_code
        ) from error


def error_body(
    status: int, message: str, param: str | None = None, code: str | None = None
) -> dict[str, object]:
    """An error as OpenAI's clients read it."""
    kind = {401: "authentication_error", 429: "rate_limit_error"}.get(status)
    kind = kind or ("server_error" if status >= 500 else "invalid_request_error")
    error = {"message": message, "type": kind, "param": param, "code": code}
    # A request may name half of a surrogate pair, which no UTF-8 can carry back.
    safe = {k: v and v.encode(errors="backslashreplace").decode() for k, v in error.items()}
    return {"error": safe}


def unread(errors: Sequence[Any], content_type: str | None) -> tuple[int, str] | None:
    """Status and message of a body that is no JSON object; None where it is one."""
    [first, *_] = errors
    if first["type"] == "json_invalid":
        reason = first["ctx"]["error"]
        return 400, f"the body is not JSON: {reason} at character {first['loc'][-1]}"
    if tuple(first["loc"]) != ("body",) or first["type"] == _NO_UNICODE:
        return None
    given = first["input"]
    if isinstance(given, bytes):
        return 415, (
            f"the body comes as Content-Type {content_type!r}; send JSON, with the header "
            "Content-Type: application/json"
        )
    if first["type"] == "missing":
        return 400, "the body is empty; send a JSON object"
    return 400, f"the body is {_shown(given)}; send a JSON object"


def invalid(errors: Sequence[Any], body: Any) -> dict[str, object]:
    """The error of a JSON object that is not what the route takes.

    Of the members of a union the one that got furthest into the value is believed.
    """
    paths = [_path(error["loc"][1:], body) for error in errors]
    deepest = max(map(len, paths))
    at = next(index for index, path in enumerate(paths) if len(path) == deepest)
    same = [error for error, path in zip(errors, paths, strict=True) if path == paths[at]]
    place = _written(paths[at])
    message, code = _reason(same, place)
    return error_body(400, message, place or None, code)


def _reason(errors: Sequence[Any], place: str) -> tuple[str, str]:
    """What is wrong at a place, and OpenAI's code for it."""
    if errors[0]["type"] == _NO_UNICODE:  # the name of a field, or a text
        where = place or "the body"
        return f"{where} holds {_shown(errors[0]['input'])}, which is not Unicode", "invalid_value"
    other = [error for error in errors if not _WRONG_TYPE.fullmatch(error["msg"])]
    if not other:
        kinds = [_WRONG_TYPE.sub(r"\1", error["msg"]) for error in errors]
        kinds = ["object" if kind == "dictionary" else kind for kind in kinds]
        named = " or ".join(dict.fromkeys(kinds))
        return (
            f"{place}: got {_shown(errors[0]['input'])}; should be of type {named}",
            "invalid_type",
        )
    error = other[0]
    if error["type"] == "missing":
        return f"{place} is missing", "missing_required_parameter"
    if error["type"] == "extra_forbidden":
        return _extra(place, str(error["loc"][-1]), _shown(error["input"]))
    said = _OPENING.sub("should ", error["msg"]).partition(" after validation")[0]
    return f"{place}: got {_shown(error['input'])}; {said}", "invalid_value"


def _extra(place: str, name: str, value: str) -> tuple[str, str]:
    """Of a field that is known and not supported, or not known at all."""
    advice = INSTEAD.get(name, "leave it out")
    if name in NEUTRAL or name in NEUTRAL_IN_TURNS or name in INSTEAD:
        return f"{place} is not supported (got {value}); {advice}", "unsupported_parameter"
    near = difflib.get_close_matches(name, sorted(KNOWN), n=1)
    advice = f"did you mean {near[0]}?" if near else advice
    return f"{place} is not known here (got {value}); {advice}", "unknown_parameter"


def _path(place: Sequence[str | int], body: Any) -> Path:
    """The place in the body, without what pydantic calls the members of a union."""
    found: list[str | int] = []
    for key in place:
        missing = isinstance(body, dict) and key == place[-1]
        if key in (body if isinstance(body, dict) else _indices(body)):
            body = body[key]
        elif not missing:
            continue
        found.append(key)
    return tuple(found)


def _indices(value: Any) -> range:
    return range(len(value) if isinstance(value, list) else 0)


def _written(path: Path) -> str:
    """`messages[2].content`"""
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in path]
    return "".join(parts).removeprefix(".")


def _shown(value: Any) -> str:
    """A short value as JSON; of a long one what it is."""
    text = json.dumps(value, default=str, ensure_ascii=False)
    if len(text) <= _LONGEST_SHOWN:
        return text
    if isinstance(value, list | dict):
        return f"{'a list' if isinstance(value, list) else 'an object'} of {len(value)} entries"
    return f"a text of {len(text) - 2} characters"
