"""JSON requests to a server that samples, with errors that name it."""

from collections.abc import Mapping, Sequence
from typing import Any

from rlhf.errors import TrainingError
from rlhf.runtime import http

SECONDS_TO_LIST = 60.0


class NoModels(Exception):
    """A server gives no list of models.

    Args:
        reason: for a message.
        status: of HTTP, if the server answered with an error.
    """

    def __init__(self, reason: str, *, status: int | None = None) -> None:
        super().__init__(reason)
        self.status = status


def listed_models(
    address: str, path: str, *, key: str | None = None
) -> Sequence[Mapping[str, Any]]:
    """What the server says about each of its models, of which there is one at least.

    Args:
        address: as in `request`.
        path: of the list.
        key: of the API, if it needs one.

    Raises:
        NoModels: it cannot be reached, rejects the request, or answers something else.
    """
    try:
        answer = request(address, path, timeout=SECONDS_TO_LIST, key=key)
        models = [dict(each) | {"id": str(each["id"])} for each in answer["data"]]
    except http.Rejected as error:
        raise NoModels(str(error), status=error.status) from error
    except TrainingError as error:
        # The reason alone: the advice of the message is for a run that has begun.
        raise NoModels(str(error.__cause__)) from error
    except (LookupError, TypeError, ValueError) as error:
        raise NoModels("the answer is no list of models") from error
    if not models:
        raise NoModels("the list of models is empty")
    return models


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
            "resume the run or repeat the command.",
            code="engine-lost",
        ) from error
    except ValueError as error:
        raise TrainingError(
            f"the server {address} answers no JSON ({error}); use the address of the API.",
            code="engine-mismatch",
        ) from error
