"""HTTP requests to an LLM judge: retries, and the reason of a failure."""

import http.client
import json
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass

from rlhf.errors import ConfigError
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
        request = urllib.request.Request(f"{address.rstrip('/')}/models", headers=_headers())
        urllib.request.urlopen(request, timeout=20).close()
    except urllib.error.HTTPError:
        return
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise ConfigError(
            f"llm_judge {address} does not reply: {reason}; start it, or use its address, "
            "http://HOST:PORT/v1.",
            code="judge-failed",
        ) from error


def send(address: str, body: Mapping[str, object]) -> tuple[JSON, Failure | None]:
    """The reply to a chat request, or the failure.

    The request is repeated after status 429, server errors and connection errors.
    """
    url = f"{address.rstrip('/')}/chat/completions"
    request = urllib.request.Request(url, json.dumps(body).encode(), _headers())
    for attempt in range(_ATTEMPTS):
        wait = 2.0**attempt
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT) as reply:
                return json.load(reply), None
        except urllib.error.HTTPError as error:
            failure = _failure_of(error)
            if error.code < 500 and error.code != 429:
                break
            wait = _seconds(error.headers.get("Retry-After"), wait)
        except (OSError, ValueError, http.client.HTTPException) as error:
            failure = Failure(status=0, message=str(getattr(error, "reason", error)))
        if attempt + 1 < _ATTEMPTS:
            time.sleep(wait)
    return None, failure


def _failure_of(error: urllib.error.HTTPError) -> Failure:
    """The content of an error reply, in OpenAI's format or any other."""
    text = error.read(4000).decode("utf-8", "replace").strip()
    try:
        content = json.loads(text)["error"]
        parts = {name: str(content.get(name) or "") for name in ("message", "param", "code")}
    except (ValueError, KeyError, TypeError, AttributeError):
        parts = {"message": text, "param": "", "code": ""}
    message = f"{error.code} {error.reason} {parts['message'][:300]}".strip()
    return Failure(status=error.code, message=message, field=parts["param"], code=parts["code"])


def _seconds(retry_after: str | None, default: float) -> float:
    """The seconds of a Retry-After header; the default if it is a date, which is not parsed."""
    try:
        return min(max(float(retry_after or default), 0.0), _LONGEST_WAIT)
    except ValueError:
        return default


def _headers() -> dict[str, str]:
    key = os.environ.get(KEY)
    return {"Content-Type": "application/json"} | (
        {"Authorization": f"Bearer {key}"} if key else {}
    )
