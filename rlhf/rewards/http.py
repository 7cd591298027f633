"""JSON requests to servers that score: retries are the caller's, failures are `NoScore`."""

import http.client
import json
import os
import urllib.error
import urllib.request
from typing import Any

from rlhf.rewards.case import NoScore

SHOWN = 300  # characters of a server's answer in a message
NOT_THERE = (401, 403, 404, 405)  # statuses that no other content of the request would change
AGAIN = (408, 425, 429)  # in addition to those from 500 on


def request_json(address: str, content: object, *, timeout: float, key: str = "") -> Any:
    """The JSON that the server answers with.

    Args:
        address: the whole address.
        content: of a POST request; None makes a GET request.
        timeout: seconds to wait for the next bytes.
        key: environment variable with the token for the Authorization header, if it is set.

    Raises:
        NoScore: no connection, an error status, or an answer that is not JSON.
    """
    data = None if content is None else json.dumps(content).encode()
    headers = {"Content-Type": "application/json"}
    if key and (token := os.environ.get(key)):
        headers["Authorization"] = f"Bearer {token}"
    request = urllib.request.Request(address, data=data, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise _rejected(address, error) from error
    except TimeoutError as error:
        raise NoScore(
            f"{address} did not answer in {timeout:g} s", again=True, lost=True
        ) from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error) or type(error).__name__
        raise NoScore(f"{address} cannot be reached: {reason}", again=True, lost=True) from error
    except ValueError as error:  # the answer is no JSON, or the address no address
        raise NoScore(f"{address} answered no JSON: {error}") from error


def _rejected(address: str, error: urllib.error.HTTPError) -> NoScore:
    text = " ".join(error.read(SHOWN).decode(errors="replace").split())
    again = error.code >= 500 or error.code in AGAIN
    return NoScore(
        f"{address} answered {error.code} {error.reason}: {text}",
        again=again,
        wait=_seconds(error.headers.get("Retry-After")),
        lost=error.code in NOT_THERE or again,
    )


def _seconds(retry_after: str | None) -> float | None:
    """The seconds of a Retry-After header; None where it is a date or missing."""
    try:
        return None if retry_after is None else max(float(retry_after), 0.0)
    except ValueError:
        return None
