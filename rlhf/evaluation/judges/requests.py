"""Requests to a judge behind an address: sent, tried again, and why one was refused."""

import http.client
import json
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rlhf.errors import ConfigError

KEY = "OPENAI_API_KEY"
_RETRIES = 4
_LONGEST_WAIT = 60.0  # seconds between two tries, whatever Retry-After says
_TIMEOUT = 600.0  # seconds; a model that reasons takes minutes
_UNSUPPORTED_CODES = ("unsupported_parameter", "unsupported_value")
_UNSUPPORTED = re.compile(r"unsupported|not support|deprecated|not permitted", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Why an address gives no reply to a question."""

    status: int  # 0 where there was no connection
    said: str
    param: str = ""  # the field that it names
    code: str = ""

    def unsupported(self, name: str) -> bool:
        """Whether the field `name`, or the value it has, is not supported."""
        if self.param:
            return self.param == name and self.code in (
                "unsupported_parameter",
                "unsupported_value",
            )
        return name in self.said and _UNSUPPORTED.search(self.said) is not None


def check_address(address: str) -> None:
    """Refuse an address at which nothing answers, before models are asked for hours.

    Any reply to GET …/models will do, a refusal too: what the judge can, a question shows.

    Raises:
        ConfigError: no connection, or what answers does not speak HTTP.
    """
    try:
        request = urllib.request.Request(f"{address.rstrip('/')}/models", headers=_headers())
        urllib.request.urlopen(request, timeout=20).close()
    except urllib.error.HTTPError:
        return
    except (OSError, ValueError, http.client.HTTPException) as error:
        fault = getattr(error, "reason", error)
        raise ConfigError(
            f"llm_judge {address} does not answer: {fault}; start it, or give its address as "
            "http://HOST:PORT/v1."
        ) from error


def ask(address: str, body: Mapping[str, Any]) -> tuple[Any, Refusal | None]:
    """The reply, or why there is none.

    Tried again after too many requests, a server's fault or no connection.
    """
    url = f"{address.rstrip('/')}/chat/completions"
    request = urllib.request.Request(url, json.dumps(body).encode(), _headers())
    for attempt in range(_RETRIES):
        wait = 2.0**attempt
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT) as reply:
                return json.load(reply), None
        except urllib.error.HTTPError as error:
            refusal = _refusal_of(error)
            if error.code < 500 and error.code != 429:
                break
            wait = _seconds(error.headers.get("Retry-After"), wait)
        except (OSError, ValueError, http.client.HTTPException) as error:
            refusal = Refusal(status=0, said=str(getattr(error, "reason", error)))
        if attempt + 1 < _RETRIES:
            time.sleep(wait)
    return None, refusal


def _refusal_of(error: urllib.error.HTTPError) -> Refusal:
    """What an error reply says, in OpenAI's shape or any other."""
    said = error.read(4000).decode("utf-8", "replace").strip()
    try:
        fault = json.loads(said)["error"]
        given = {name: str(fault.get(name) or "") for name in ("message", "param", "code")}
    except (ValueError, KeyError, TypeError, AttributeError):
        given = {"message": said, "param": "", "code": ""}
    sentence = f"{error.code} {error.reason} {given['message'][:300]}".strip()
    return Refusal(status=error.code, said=sentence, param=given["param"], code=given["code"])


def _seconds(retry_after: str | None, default: float) -> float:
    """How long a server wants to be left alone; it may also say a date, which is not read."""
    try:
        return min(max(float(retry_after or default), 0.0), _LONGEST_WAIT)
    except ValueError:
        return default


def _headers() -> dict[str, str]:
    key = os.environ.get(KEY)
    return {"Content-Type": "application/json"} | (
        {"Authorization": f"Bearer {key}"} if key else {}
    )
