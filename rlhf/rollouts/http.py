"""JSON requests to a server that samples, with errors that name it."""

from typing import Any

from rlhf.errors import TrainingError
from rlhf.runtime import http


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
        Rejected: an error status.
        TrainingError: no connection, one that was lost, or an answer that is not JSON.
    """
    try:
        return http.request_json(address.rstrip("/") + path, content, timeout=timeout, token=key)
    except http.Unreachable as error:
        raise TrainingError(
            f"the server {address} cannot be reached ({error}); see its log, start it again, and "
            "resume.",
            code="engine-lost",
        ) from error
    except ValueError as error:
        raise TrainingError(
            f"the server {address} answers no JSON ({error}); use the address of a vLLM server.",
            code="engine-mismatch",
        ) from error
