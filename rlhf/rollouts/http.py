"""JSON requests to a server, with errors that name it."""

import http.client
import json
import urllib.error
import urllib.request
from typing import Any

from rlhf.errors import TrainingError

SHOWN = 300  # characters of a server's answer in a message


class ServerError(Exception):
    """The server answered with an error status.

    Args:
        status: of HTTP.
        text: the beginning of its answer.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"status {status}: {text}")
        self.status = status


def request(
    address: str,
    path: str,
    content: object = None,
    *,
    timeout: float | None,
    key: str | None = None,
) -> Any:
    """The JSON that the server answers with; None for an empty answer.

    Args:
        address: http://HOST:PORT.
        path: with its leading slash.
        content: of a POST request; None makes a GET request.
        timeout: seconds to wait for the next bytes; None waits for ever.
        key: of the API, if it needs one.

    Raises:
        ServerError: an error status.
        TrainingError: no connection, or one that was lost.
    """
    data = None if content is None else json.dumps(content).encode()
    headers = {"Content-Type": "application/json"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    asked = urllib.request.Request(address.rstrip("/") + path, data=data, headers=headers)
    try:
        with urllib.request.urlopen(asked, timeout=timeout) as answer:
            text = answer.read()
    except urllib.error.HTTPError as error:
        raise ServerError(error.code, error.read(SHOWN).decode(errors="replace")) from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise TrainingError(
            f"the server {address} cannot be reached ({reason or type(error).__name__}); "
            "see its log, start it again, and resume from the last checkpoint.",
            code="engine-lost",
        ) from error
    return json.loads(text) if text.strip() else None
