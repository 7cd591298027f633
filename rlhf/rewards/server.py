"""A reward from a server: its address as a scorer, and the checks before the first rollout."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rlhf.errors import ConfigError
from rlhf.rewards.case import Case, NoScore
from rlhf.rewards.concurrent import AsyncScorer, in_threads
from rlhf.rewards.http import request_json
from rlhf.rewards.http_shapes import Shape, Texts, read_values, shape_of
from rlhf.rewards.number import number_of
from rlhf.rewards.options import CallOptions

KEY = "REWARD_API_KEY"  # environment variable with the token of reward servers
TRIAL_SECONDS = 60.0


def load_server(address: str, options: CallOptions, texts: Texts | None) -> AsyncScorer:
    """The scorer of an address.

    A server of this project tells its model's mean and standard deviation on demonstrations, so
    that `normalize_reward` means the same as for a local reward model.

    Args:
        address: with a path that names the form of the requests.
        options: the timeout of an attempt.
        texts: how conversations become texts; None where no chat template is known.

    Raises:
        ConfigError: an unknown path, or a server of this project that cannot be reached.
    """
    shape = shape_of(address, raw=texts is not None and texts.raw)
    model: Mapping[str, Any] = {}
    if shape.path.endswith("/v1/score"):
        model = describe(address)

    def score(cases: Sequence[Case]) -> object:
        return _answer(address, shape, cases, texts, options.timeout)

    return AsyncScorer(
        score=in_threads(score),
        cases_per_call=shape.cases_per_call,
        identity=f"{address} {sorted(model.items())}",
        mean=float(model.get("mean", 0.0)),
        std=float(model.get("std", 1.0)),
    )


def describe(address: str) -> Mapping[str, Any]:
    """What a server of this project says about its model: name, mean and std.

    Raises:
        ConfigError: it cannot be reached, or is another server.
    """
    try:
        model = request_json(address, None, timeout=TRIAL_SECONDS, key=KEY)
        numbers = float(model["mean"]), float(model["std"])
        if not all(map(math.isfinite, numbers)) or numbers[1] <= 0:
            raise NoScore(f"mean and std are {numbers}")
    except NoScore as error:
        raise _unusable(address, str(error)) from error
    except (KeyError, TypeError, ValueError) as error:
        raise _unusable(address, f"its answer has no mean and std ({error!r})") from error
    return {"model": model.get("model"), "mean": numbers[0], "std": numbers[1]}


def check_server(address: str, case: Case, texts: Texts | None) -> None:
    """Have the server score a case, before hours of sampling.

    Raises:
        ConfigError: it cannot be reached, rejects the request, or gives no finite number.
    """
    shape = shape_of(address, raw=texts is not None and texts.raw)
    if shape.path.endswith("/v1/score"):
        describe(address)
    try:
        values = _answer(address, shape, [case], texts, TRIAL_SECONDS)
    except NoScore as error:
        raise _unusable(address, str(error)) from error
    assert isinstance(values, list)
    if len(values) != 1 or not math.isfinite(number_of(values[0])):
        raise _unusable(address, f"it answered {values} to a trial request with one response")


def _answer(
    address: str, shape: Shape, cases: Sequence[Case], texts: Texts | None, timeout: float
) -> object:
    body = shape.body(cases, texts)
    return read_values(shape, request_json(address, body, timeout=timeout, key=KEY))


def _unusable(address: str, reason: str) -> ConfigError:
    return ConfigError(
        f"reward {address}: {reason.rstrip('.')}; start the server, check the address and "
        f"${KEY}, or use another path (/v1/score: rlhf serve; /classify and /score: vLLM; "
        "/get_reward: OpenRLHF).",
        code="bad-reward",
    )
