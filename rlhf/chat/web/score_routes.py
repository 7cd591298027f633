"""POST /v1/score, /classify and /get_reward: a reward model for other programs and trainers.

/classify has the form of vLLM's (https://docs.vllm.ai/en/latest/models/pooling_models.html), and
/get_reward that of OpenRLHF's remote reward models (openrlhf/cli/serve_rm.py).
"""

import math
import secrets
import time
from collections.abc import Callable, Sequence

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from rlhf.chat.score_queue import ScoreQueue
from rlhf.chat.web.chat_prompt import request_messages
from rlhf.chat.web.errors import TOO_LONG, BadRequest, error_param
from rlhf.chat.web.model_pool import UnknownModel
from rlhf.chat.web.openai import CLIENT_GONE, unless_disconnected
from rlhf.chat.web.score_schema import ClassifyRequest, RewardRequest, ScoreItem, ScoreRequest
from rlhf.rewards.rendered import rendered_ids
from rlhf.types import Message, Prompt

SCORE_PATHS = ("/v1/score", "/classify", "/get_reward")
LABEL = "LABEL_0"  # of a classifier's only class


def add_scores(app: FastAPI, queue: ScoreQueue, max_tokens: int) -> None:
    """Add the routes.

    Args:
        app: the app.
        queue: of the reward model.
        max_tokens: longest text, in tokens.
    """
    scale = {"mean": queue.model.mean, "std": queue.model.std}

    async def scored(
        request: Request,
        encode: Callable[[], list[list[int]]],
        answer: Callable[[list[float], list[list[int]]], dict[str, object]],
    ) -> Response:
        encoded = await _encoded(queue, max_tokens, encode)
        raw = await unless_disconnected(request, queue.score(encoded))
        if raw is None:
            return Response(status_code=CLIENT_GONE)
        return JSONResponse(answer(raw, encoded))

    @app.get("/v1/score")
    def describe() -> dict[str, object]:
        """The model, and how its raw scores are distributed on demonstrations."""
        return {"model": queue.name, **scale}

    @app.post("/v1/score")
    async def score(request: Request, body: ScoreRequest) -> Response:
        _check_name(queue, body.model)

        def answer(raw: list[float], encoded: list[list[int]]) -> dict[str, object]:
            data = [
                {"index": index, "score": value, "normalized": normalized(queue, value)}
                for index, value in enumerate(raw)
            ]
            return {"object": "list", "model": queue.name, **scale, "data": data}

        return await scored(request, lambda: _item_ids(queue, body.items), answer)

    @app.post("/classify")
    async def classify(request: Request, body: ClassifyRequest) -> Response:
        _check_name(queue, body.model)

        def answer(raw: list[float], encoded: list[list[int]]) -> dict[str, object]:
            activated = body.use_activation is not False
            return _classification(queue, raw, encoded, activated=activated)

        return await scored(request, lambda: _classified_ids(queue, body), answer)

    @app.post("/get_reward")
    async def get_reward(request: Request, body: RewardRequest) -> Response:
        def answer(raw: list[float], encoded: list[list[int]]) -> dict[str, object]:
            rewards = [normalized(queue, value) for value in raw]
            return {"rewards": rewards, "scores": rewards, "extra_logs": {}}

        chat = queue.model.chat
        return await scored(
            request, lambda: [rendered_ids(chat, text) for text in body.query], answer
        )


def normalized(queue: ScoreQueue, score: float) -> float:
    """(raw - mean) / std, as PPO normalises it by default."""
    return (score - queue.model.mean) / queue.model.std


async def _encoded(
    queue: ScoreQueue, max_tokens: int, encode: Callable[[], list[list[int]]]
) -> list[list[int]]:
    """The ids of a request's texts.

    Raises:
        BadRequest: a text that is empty, or longer than the server's or the model's limit.
    """
    encoded = await run_in_threadpool(encode)
    most = min(max_tokens, queue.model.chat.max_positions or max_tokens)
    for index, ids in enumerate(encoded):
        if not ids:
            raise BadRequest(f"text {index} is empty; send a text")
        if len(ids) > most:
            raise BadRequest(
                f"text {index} has {len(ids)} tokens; the limit is {most}", openai_code=TOO_LONG
            )
    return encoded


def _check_name(queue: ScoreQueue, name: str | None) -> None:
    if name not in (None, queue.name):
        raise UnknownModel(f"unknown model {name!r}; this server scores with {queue.name}")


def _item_ids(queue: ScoreQueue, items: Sequence[ScoreItem]) -> list[list[int]]:
    encoded: list[list[int]] = []
    for index, item in enumerate(items):
        with error_param(f"items[{index}]"):
            prompt: Prompt = item.prompt if isinstance(item.prompt, str) else request_messages(
                item.prompt)  # fmt: skip
            encoded += queue.model.encode([prompt], [item.response], [item.tools or ()])
    return encoded


def _classified_ids(queue: ScoreQueue, body: ClassifyRequest) -> list[list[int]]:
    if (body.input is None) == (body.messages is None):
        raise BadRequest("send either input or messages", param="input")
    if body.messages is None:
        return [rendered_ids(queue.model.chat, text) for text in body.texts]
    with error_param("messages"):
        messages = request_messages(body.messages)
        prompt, response = _split(messages)
        return queue.model.encode([prompt], [response])


def _split(messages: Sequence[Message]) -> tuple[Prompt, str]:
    """The conversation before its last message, and that message, which has to be a response.

    Raises:
        BadRequest: there is no response.
    """
    if len(messages) < 2 or messages[-1]["role"] != "assistant":
        raise BadRequest("the last message has to be a response of the assistant to a prompt")
    return list(messages[:-1]), messages[-1]["content"]


def _classification(
    queue: ScoreQueue,
    raw: Sequence[float],
    encoded: Sequence[Sequence[int]],
    *,
    activated: bool,
) -> dict[str, object]:
    """vLLM's answer: the sigmoid of each logit, or with `use_activation: false` the logit."""
    values = [(1 + math.tanh(value / 2)) / 2 if activated else value for value in raw]
    tokens = sum(map(len, encoded))
    return {
        "id": f"classify-{secrets.token_hex(16)}",
        "object": "list",
        "created": int(time.time()),
        "model": queue.name,
        "data": [
            {"index": index, "label": LABEL, "probs": [value], "num_classes": 1}
            for index, value in enumerate(values)
        ],
        "usage": {"prompt_tokens": tokens, "completion_tokens": 0, "total_tokens": tokens},
    }
