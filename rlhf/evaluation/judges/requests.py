"""Requests to an LLM judge: retries, and the reason of a failure."""

import json
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass

from rlhf.errors import ConfigError
from rlhf.runtime.http import SHOWN, Rejected, Unreachable, request_json
from rlhf.types import JSON

KEY = "OPENAI_API_KEY"
_ATTEMPTS = 4
_LONGEST_WAIT = 60.0  # seconds between two attempts, even if Retry-After is longer
_TIMEOUT = 600.0  # seconds; a reasoning model takes minutes
_UNSUPPORTED_CODES = ("unsupported_parameter", "unsupported_value")
_UNSUPPORTED = re.compile(r"unsupported|not support|deprecated|not permitted", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a request got no reply."""

    status: int  # 0 without a connection
    message: str
    field: str = ""  # the field of the request that the error names
    code: str = ""

    def is_unsupported(self, name: str) -> bool:
        """Whether the server does not support the field `name` or its value."""
        if self.field:
            return self.field == name and self.code in _UNSUPPORTED_CODES
        return name in self.message and _UNSUPPORTED.search(self.message) is not None


def check_address(address: str) -> None:
    """Check that a server replies at the address, before hours of sampling.

    Any reply to GET …/models counts, errors too; the trial request tests the judge itself.

    Raises:
        ConfigError: there is no connection, or the server does not speak HTTP.
    """
    try:
        request_json(f"{address.rstrip('/')}/models", timeout=20, token=os.environ.get(KEY))
    except (Rejected, json.JSONDecodeError):
        return
    except (Unreachable, ValueError) as error:
        raise ConfigError(
            f"llm_judge {address} does not reply: {error}; start it, or use its address, "
            "http://HOST:PORT/v1.",
            code="judge-failed",
        ) from error


def send(address: str, body: Mapping[str, object]) -> tuple[JSON, Failure | None]:
    """The reply to a chat request, or the failure.

    The request is repeated after status 429, server errors and connection errors.
    """
    url = f"{address.rstrip('/')}/chat/completions"
    for attempt in range(_ATTEMPTS):
        wait = 2.0**attempt
        try:
            return request_json(url, body, timeout=_TIMEOUT, token=os.environ.get(KEY)), None
        except Rejected as error:
            failure = _failure_of(error)
            if error.status < 500 and error.status != 429:
                break
            wait = min(wait if error.retry_after is None else error.retry_after, _LONGEST_WAIT)
        except (Unreachable, ValueError) as error:
            failure = Failure(status=0, message=str(error))
        if attempt + 1 < _ATTEMPTS:
            time.sleep(wait)
    return None, failure


def _failure_of(error: Rejected) -> Failure:
    """The content of an error reply, in OpenAI's format or any other."""
    try:
        content = json.loads(error.body)["error"]
        parts = {name: str(content.get(name) or "") for name in ("message", "param", "code")}
    except (ValueError, KeyError, TypeError, AttributeError):
        parts = {"message": error.body.strip(), "param": "", "code": ""}
    message = f"{error.status} {error.reason} {parts['message'][:SHOWN]}".strip()
    return Failure(status=error.status, message=message, field=parts["param"], code=parts["code"])
