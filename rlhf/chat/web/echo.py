"""A prompt as part of its response, with the log-probability of each of its tokens (`echo`)."""

from collections.abc import Sequence

import torch

from rlhf.chat.engine import GeneratedToken
from rlhf.chat.loading import LoadedModel
from rlhf.chat.web.sse import ResponseChunk

BLOCK = 256  # tokens per forward pass: logits of a long prompt would need gigabytes


def echo_chunk(
    model: LoadedModel, ids: Sequence[int], text: str, *, top_logprobs: int | None
) -> ResponseChunk:
    """The prompt as a chunk of the response; without log-probabilities if `top_logprobs` is None.

    Nothing precedes the first token, so it has no log-probability; 0.0 is a placeholder.
    """
    first = GeneratedToken(id=ids[0], logprob=0.0, likeliest=(), finish="")
    tokens = [] if top_logprobs is None else [first, *_score_tokens(model, ids, top_logprobs)]
    return ResponseChunk(index=0, text=text, tokens=tokens, finish="")


@torch.no_grad()
def _score_tokens(
    model: LoadedModel, ids: Sequence[int], top_logprobs: int
) -> list[GeneratedToken]:
    """Every token after the first, given those before it, at temperature 1."""
    policy = model.model
    cache = None
    scored: list[GeneratedToken] = []
    for start in range(0, len(ids) - 1, BLOCK):
        block = list(ids[start : min(start + BLOCK, len(ids) - 1)])
        output = policy(
            input_ids=torch.tensor([block], device=policy.device),
            past_key_values=cache,
            use_cache=True,
        )
        cache = output.past_key_values
        logprobs = output.logits[0].float().log_softmax(-1)
        best = logprobs.topk(min(max(top_logprobs, 1), logprobs.shape[-1]))
        for t, token in enumerate(ids[start + 1 : start + 1 + len(block)]):
            likeliest = zip(best.indices[t].tolist(), best.values[t].tolist(), strict=True)
            scored.append(
                GeneratedToken(
                    id=token,
                    logprob=float(logprobs[t, token]),
                    likeliest=list(likeliest)[:top_logprobs],
                    finish="",
                )
            )
    return scored
