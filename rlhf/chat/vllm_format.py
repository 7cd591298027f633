"""The requests and answers of a vLLM server's /v1/completions, as rlhf's types."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rlhf.chat.engine import LENGTH, STOP, GeneratedToken, GenerationRequest
from rlhf.chat.sampling import MIN_TEMPERATURE, Sampling

TOKEN_ID = "token_id:"  # before an id that stands for a token, with return_tokens_as_token_ids
FINISHES = {"stop": STOP, "length": LENGTH}


def streamed_request(
    request: GenerationRequest, *, model: str, eos_token_ids: Sequence[int]
) -> dict[str, object]:
    """What /v1/completions is asked for: the tokens of one response, as they are sampled.

    Every setting of sampling is given, because a server takes the others from the model's
    generation_config. The end tokens are stop tokens: vLLM returns the one that ended a response.
    """
    sampling = request.sampling
    bias = {str(token): value for token, value in request.logit_bias.items()}
    return {
        "model": model,
        "prompt": list(request.ids),
        "stream": True,
        "seed": _seed(sampling.seed, request.choice),
        "max_tokens": sampling.max_new_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "min_p": sampling.min_p,
        "repetition_penalty": sampling.repetition_penalty,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "logit_bias": bias or None,
        "ignore_eos": True,
        "stop_token_ids": list(eos_token_ids),
        "logprobs": request.alternatives,
        "return_token_ids": True,
        "return_tokens_as_token_ids": True,
        "add_special_tokens": False,
    }


def tokens_of(event: Any, alternatives: int) -> Iterator[GeneratedToken]:
    """The tokens of a streamed event, which may have none or several.

    Raises:
        LookupError, TypeError, ValueError: it does not have vLLM's form.
    """
    for choice in event["choices"]:
        ids = choice["token_ids"] or []
        reason = choice.get("finish_reason")
        for place, token in enumerate(ids):
            logprobs = choice["logprobs"]
            top = logprobs["top_logprobs"][place] if alternatives else {}
            last = reason is not None and place + 1 == len(ids)
            yield GeneratedToken(
                id=token,
                logprob=logprobs["token_logprobs"][place],
                likeliest=by_id(top)[:alternatives],
                finish=FINISHES[reason] if last else "",
            )


def by_id(top: Mapping[str, float]) -> list[tuple[int, float]]:
    """(token id, log-prob) of `token_id:ID` keys, best first."""
    pairs = [(int(key.removeprefix(TOKEN_ID)), value) for key, value in top.items()]
    return sorted(pairs, key=lambda pair: (-pair[1], pair[0]))


def likeliest(table: Mapping[int, tuple[float, int]]) -> list[tuple[int, float]]:
    """(token id, log-prob) of a position, best first."""
    ranked = sorted(table.items(), key=lambda item: (item[1][1], item[0]))
    return [(token, logprob) for token, (logprob, _) in ranked]


def reshaped(place: int, probability: float, sampling: Sampling) -> float | None:
    """The probability that the token at this place of the likeliest is sampled with.

    Other temperatures and top-p need the logits of all tokens: None.
    """
    if sampling.temperature < MIN_TEMPERATURE:
        return 1.0 if place == 0 else 0.0
    return probability if sampling.temperature == sampling.top_p == 1 else None


def _seed(seed: int, choice: int) -> int:
    """A seed of each response to a prompt: that of choice 0 does not depend on their number."""
    return int.from_bytes(hashlib.sha256(f"{seed} {choice}".encode()).digest()[:7])
