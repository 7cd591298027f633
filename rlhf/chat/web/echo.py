"""A prompt as a part of its answer, with the log-probability of each of its tokens (`echo`)."""

from collections.abc import Sequence
from typing import Any

import torch

from rlhf.chat.engine import Token
from rlhf.chat.loading import ChatModel
from rlhf.chat.web.sse import Part

CHUNK = 256  # tokens that are read at a time: logits of a long prompt would need gigabytes


def echo_of(model: ChatModel, ids: Sequence[int], text: str, *, tops: int | None) -> Part:
    """The prompt as a part. tops: of the likeliest tokens; None without log-probabilities.

    The first token follows nothing and has none: its 0.0 stands for that.
    """
    first = Token(id=ids[0], logprob=0.0, likeliest=(), finish="")
    tokens = [] if tops is None else [first, *_read(model, ids, tops)]
    return Part(index=0, text=text, tokens=tokens, finish="")


@torch.no_grad()
def _read(model: ChatModel, ids: Sequence[int], tops: int) -> list[Token]:
    """Every token after the first, given those before it, at temperature 1."""
    policy: Any = model.model
    cache, found = None, []
    for start in range(0, len(ids) - 1, CHUNK):
        read = list(ids[start : min(start + CHUNK, len(ids) - 1)])
        output = policy(
            input_ids=torch.tensor([read], device=policy.device),
            past_key_values=cache,
            use_cache=True,
        )
        cache = output.past_key_values
        logprobs = output.logits[0].float().log_softmax(-1)
        best = logprobs.topk(min(max(tops, 1), logprobs.shape[-1]))
        for at, token in enumerate(ids[start + 1 : start + 1 + len(read)]):
            likeliest = zip(best.indices[at].tolist(), best.values[at].tolist(), strict=True)
            found.append(
                Token(
                    id=token,
                    logprob=float(logprobs[at, token]),
                    likeliest=list(likeliest)[:tops],
                    finish="",
                )
            )
    return found
