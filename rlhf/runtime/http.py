"""JSON requests over HTTP. What a failure means is up to the caller."""

import http.client
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

READ, SHOWN = 4000, 300  # characters of an error's answer: that are read; in a message


class Rejected(Exception):
    """The server answered with an error status.

    Args:
        status: of HTTP.
        reason: its name.
        body: the beginning of the answer.
        retry_after: seconds of the header of this name; None where it is missing or a date.
    """

    def __init__(self, status: int, reason: str, body: str, retry_after: float | None) -> None:
        super().__init__(f"{status} {reason}: {' '.join(body.split())[:SHOWN]}")
        self.status, self.reason, self.body = status, reason, body
        self.retry_after = retry_after


class Unreachable(Exception):
    """There is no connection, or it was lost.

    Args:
        reason: for a message.
        timed_out: whether the server gave no answer in time.
    """

    def __init__(self, reason: str, *, timed_out: bool) -> None:
        super().__init__(reason)
        self.timed_out = timed_out


def request_json(
    address: str, content: object = None, *, timeout: float | None, token: str | None = None
) -> Any:
    """The JSON that a server answers with; None for an empty answer.

    Args:
        address: the whole address.
        content: of a POST request; None makes a GET request.
        timeout: seconds to wait for the next bytes; None waits for ever.
        token: for the Authorization header.

    Raises:
        Rejected: an error status.
        Unreachable: no connection, or one that was lost.
        ValueError: an answer that is not JSON, or an address that is none.
    """
    with _answer(address, content, timeout, token) as answer:
        text = answer.read()
    return json.loads(text) if text.strip() else None


def stream_json(
    address: str, content: object, *, timeout: float | None, token: str | None = None
) -> Generator[Any]:
    """The JSON of each server-sent event of the answer to a POST request, up to `[DONE]`.

    Closing the generator closes the connection, at which servers stop to generate. Arguments as in
    `request_json`.

    Raises:
        Rejected: an error status.
        Unreachable: no connection, or one that was lost before the end.
        ValueError: an event that is not JSON, or an address that is none.
    """
    with _answer(address, content, timeout, token) as answer:
        for line in answer:
            if not line.startswith(b"data:"):
                continue  # empty lines between events, and comments that keep a connection open
            data = line.removeprefix(b"data:").strip()
            if data == b"[DONE]":
                return
            yield json.loads(data)
    raise Unreachable("the answer broke off", timed_out=False)


@contextmanager
def _answer(
    address: str, content: object, timeout: float | None, token: str | None
) -> Iterator[Any]:
    """The answer to read; errors that occur while it is read too are those of `request_json`."""
    data = None if content is None else json.dumps(content).encode()
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    request = urllib.request.Request(address, data=data, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            yield answer
    except urllib.error.HTTPError as error:
        raise _rejected(error) from error
    except (OSError, http.client.HTTPException) as error:
        timed_out = isinstance(error, TimeoutError)
        raise Unreachable(_reason(error), timed_out=timed_out) from error


def _reason(error: Exception) -> str:
    """Why there is no connection; urllib wraps what the socket raised."""
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, ssl.SSLError) and not isinstance(reason, ssl.SSLCertVerificationError):
        return f"it does not answer as an https server; try http:// ({reason})"
    return str(reason) or type(reason).__name__


def _rejected(error: urllib.error.HTTPError) -> Rejected:
    body = error.read(READ).decode(errors="replace")
    retry_after = error.headers.get("Retry-After")
    return Rejected(error.code, error.reason, body, _seconds(retry_after))


def _seconds(retry_after: str | None) -> float | None:
    try:
        return None if retry_after is None else max(float(retry_after), 0.0)
    except ValueError:
        return None
