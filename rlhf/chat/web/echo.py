"""A prompt as part of its response, with the log-probability of each of its tokens (`echo`)."""

from collections.abc import Sequence

from rlhf.chat.backend import Backend
from rlhf.chat.engine import GeneratedToken
from rlhf.chat.web.sse import ResponseChunk


def echo_chunk(
    backend: Backend, ids: Sequence[int], text: str, *, top_logprobs: int | None
) -> ResponseChunk:
    """The prompt as a chunk of the response; without log-probabilities if `top_logprobs` is None.

    Nothing precedes the first token, so it has no log-probability; 0.0 is a placeholder.
    """
    tokens: list[GeneratedToken] = []
    if top_logprobs is not None:
        first = GeneratedToken(id=ids[0], logprob=0.0, likeliest=(), finish="")
        tokens = [first, *backend.scored_tokens(ids, most=top_logprobs)]
    return ResponseChunk(index=0, text=text, tokens=tokens, finish="")
