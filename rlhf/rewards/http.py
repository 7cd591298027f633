"""JSON requests to servers that score: retries are the caller's, failures are `NoScore`."""

import os
from typing import Any

from rlhf.rewards.case import NoScore
from rlhf.runtime import http

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
    token = os.environ.get(key) if key else None
    try:
        answer = http.request_json(address, content, timeout=timeout, token=token)
    except http.Rejected as error:
        again = error.status >= 500 or error.status in AGAIN
        raise NoScore(
            f"{address} answered {error}",
            again=again,
            wait=error.retry_after,
            lost=error.status in NOT_THERE or again,
        ) from error
    except http.Unreachable as error:
        reason = f"did not answer in {timeout:g} s" if error.timed_out else (
            f"cannot be reached: {error}")  # fmt: skip
        raise NoScore(f"{address} {reason}", again=True, lost=True) from error
    except ValueError as error:  # the answer is no JSON, or the address no address
        raise NoScore(f"{address} answered no JSON: {error}") from error
    if answer is None:
        raise NoScore(f"{address} answered no JSON: nothing")
    return answer
