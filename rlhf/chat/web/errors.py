"""Errors of requests in OpenAI's format: message, type, param, code."""

import contextlib
import difflib
import json
import re
from collections.abc import Iterator, Sequence

from pydantic_core import ErrorDetails

from rlhf.chat.web.schema import (
    INSTEAD,
    KNOWN,
    NEUTRAL,
    NEUTRAL_IN_MESSAGES,
    UNSUPPORTED_PART,
)
from rlhf.errors import DataError

TOO_LONG = "context_length_exceeded"  # clients shorten a conversation when they see it
_NO_UNICODE = "string_unicode"  # pydantic's name for half of a surrogate pair
_MAX_PREVIEW = 60  # characters of a value that the message repeats
_WRONG_TYPE = re.compile(r"Input should be (?:an?|the) (?:valid )?(\w+).*")
_OPENING = re.compile(r"^(Input|String|List|Dictionary|Value) should ")

JsonPath = tuple[str | int, ...]


class BadRequest(DataError):
    """A request that cannot be served, the field at fault, and OpenAI's code."""

    def __init__(
        self, message: str, *, param: str | None = None, openai_code: str | None = None
    ) -> None:
        super().__init__(message, code="bad-value")
        self.param, self.openai_code = param, openai_code


@contextlib.contextmanager
def error_param(param: str) -> Iterator[None]:
    """Attributes a DataError in the block to the field `param`, unless it names another one."""
    try:
        yield
    except DataError as error:
        request_error = error if isinstance(error, BadRequest) else BadRequest(str(error))
        raise BadRequest(
            str(error),
            param=request_error.param or param,
            openai_code=request_error.openai_code,
        ) from error


def error_body(
    status: int, message: str, param: str | None = None, code: str | None = None
) -> dict[str, object]:
    """The body of an error response, as OpenAI's clients read it."""
    kind = {401: "authentication_error", 429: "rate_limit_error"}.get(status)
    kind = kind or ("server_error" if status >= 500 else "invalid_request_error")
    error = {"message": message, "type": kind, "param": param, "code": code}
    # The request may contain half of a surrogate pair, which UTF-8 cannot encode.
    safe = {k: v and v.encode(errors="backslashreplace").decode() for k, v in error.items()}
    return {"error": safe}


def body_error(errors: Sequence[ErrorDetails], content_type: str | None) -> tuple[int, str] | None:
    """Status and message for a body that is not a JSON object; None if it is one."""
    [first, *_] = errors
    if first["type"] == "json_invalid":
        reason = first["ctx"]["error"]
        return 400, f"the body is not JSON: {reason} at character {first['loc'][-1]}"
    if tuple(first["loc"]) != ("body",) or first["type"] == _NO_UNICODE:
        return None
    value = first["input"]
    if isinstance(value, bytes):
        return 415, (
            f"unsupported Content-Type {content_type!r}; send JSON, with the header "
            "Content-Type: application/json"
        )
    if first["type"] == "missing":
        return 400, "the body is empty; send a JSON object"
    return 400, f"the body is {_preview(value)}; send a JSON object"


def validation_error(errors: Sequence[ErrorDetails], body: object) -> dict[str, object]:
    """The error body for a JSON object that does not fit the route's schema.

    Of the members of a union, the one that got furthest into the value is reported.
    """
    paths = [_body_path(error["loc"][1:], body) for error in errors]
    deepest = max(map(len, paths))
    index = next(index for index, path in enumerate(paths) if len(path) == deepest)
    same = [error for error, path in zip(errors, paths, strict=True) if path == paths[index]]
    place = _dotted(paths[index])
    message, code = _reason(same, place)
    return error_body(400, message, place or None, code)


def _reason(errors: Sequence[ErrorDetails], place: str) -> tuple[str, str]:
    """What is wrong at a place, and OpenAI's code for it."""
    first = errors[0]
    if first["type"] == _NO_UNICODE:  # the name of a field, or a text
        where = place or "the body"
        return f"{where} has {_preview(first['input'])}, which is not Unicode", "invalid_value"
    other = [error for error in errors if not _WRONG_TYPE.fullmatch(error["msg"])]
    if not other:
        kinds = [_WRONG_TYPE.sub(r"\1", error["msg"]) for error in errors]
        kinds = ["object" if kind == "dictionary" else kind for kind in kinds]
        expected = " or ".join(dict.fromkeys(kinds))
        message = f"{place}: got {_preview(first['input'])}; should be of type {expected}"
        return message, "invalid_type"
    error = other[0]
    if error["type"] == UNSUPPORTED_PART:
        return f"{place}: {error['msg']}", "unsupported_parameter"
    if error["type"] == "missing":
        return f"{place} is missing", "missing_required_parameter"
    if error["type"] == "extra_forbidden":
        return _extra_field(place, str(error["loc"][-1]), _preview(error["input"]))
    requirement = _OPENING.sub("should ", error["msg"]).partition(" after validation")[0]
    return f"{place}: got {_preview(error['input'])}; {requirement}", "invalid_value"


def _extra_field(place: str, name: str, value: str) -> tuple[str, str]:
    """Message and code for a field that is not supported, or not known at all."""
    advice = INSTEAD.get(name, "leave it out")
    if name in NEUTRAL or name in NEUTRAL_IN_MESSAGES or name in INSTEAD:
        return f"{place} is not supported (got {value}); {advice}", "unsupported_parameter"
    if name in KNOWN:
        return f"{place} is a field of other requests (got {value}); {advice}", "unknown_parameter"
    similar = difflib.get_close_matches(name, sorted(KNOWN), n=1)
    advice = f"did you mean {similar[0]}?" if similar else advice
    return f"{place} is an unknown field (got {value}); {advice}", "unknown_parameter"


def _body_path(location: Sequence[str | int], body: object) -> JsonPath:
    """The place in the body, without pydantic's names for the members of a union."""
    path: list[str | int] = []
    for key in location:
        if isinstance(body, dict):
            if key in body:
                body = body[key]
            elif key != location[-1]:
                continue
        elif isinstance(body, list) and isinstance(key, int) and key < len(body):
            body = body[key]
        else:
            continue
        path.append(key)
    return tuple(path)


def _dotted(path: JsonPath) -> str:
    """`messages[2].content`"""
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in path]
    return "".join(parts).removeprefix(".")


def _preview(value: object) -> str:
    """A short value as JSON; the type and size of a long one."""
    text = json.dumps(value, default=str, ensure_ascii=False)
    if len(text) <= _MAX_PREVIEW:
        return text
    if isinstance(value, list | dict):
        return f"{'a list' if isinstance(value, list) else 'an object'} of {len(value)} entries"
    return f"a text of {len(text) - 2} characters"
