"""Routes that inspect a response: tokens, probabilities, differences of models, embeddings."""

from collections.abc import Sequence
from dataclasses import asdict

from fastapi import FastAPI

from rlhf.chat.backend import Backend
from rlhf.chat.detokenizer import Detokenizer
from rlhf.chat.embedding_map import text_map, token_map
from rlhf.chat.introspection import (
    TokenDifference,
    prefix_rewards,
    token_differences,
    token_text,
)
from rlhf.chat.loading import LoadedModel
from rlhf.chat.sampling import Sampling
from rlhf.chat.votes import as_prompt
from rlhf.chat.web.exchange_ids import exchange_ids
from rlhf.chat.web.model_pool import ModelPool, with_weights
from rlhf.chat.web.page_schema import MAX_INSPECTED, CompareBody, EmbeddingBody, InspectBody
from rlhf.chat.web.page_state import PageState
from rlhf.errors import DataError


def add_inspection(app: FastAPI, pool: ModelPool, page: PageState) -> None:
    """Add the routes that inspect a response."""
    _add_tokens(app, pool, page)
    _add_comparison(app, pool, page)


def _add_tokens(app: FastAPI, pool: ModelPool, page: PageState) -> None:
    @app.post("/page/tokens")
    def tokens(body: InspectBody) -> dict[str, object]:
        backend, prompt, response = _inspected(pool, body)
        model = backend.model
        decoded = Detokenizer(model.chat, prefix_ids=response)
        return {
            "prompt": [asdict(token_text(model, token)) for token in prompt],
            "response": [asdict(token_text(model, token)) for token in response],
            "thought": decoded.thought,
            "text": decoded.text,
        }

    @app.post("/page/positions")
    def positions(body: InspectBody) -> list[dict[str, object]]:
        backend, prompt, response = _inspected(pool, body)
        sampling = Sampling(temperature=body.temperature, top_p=body.top_p)
        with page.inspection_lock:
            ranked = backend.positions(prompt, response, sampling, most=body.most)
        return [asdict(position) for position in ranked]

    @app.post("/page/next")
    def next_token(body: InspectBody) -> list[dict[str, object]]:
        backend, prompt, response = _inspected(pool, body)
        sampling = Sampling(temperature=body.temperature, top_p=body.top_p)
        with page.inspection_lock:
            likeliest = backend.next_tokens([*prompt, *response], sampling, most=body.most)
        return [asdict(token) for token in likeliest]


def _add_comparison(app: FastAPI, pool: ModelPool, page: PageState) -> None:
    @app.post("/page/why")
    def why(body: CompareBody) -> dict[str, object]:
        backend, prompt, response = _inspected(pool, body)
        others = [pool.backend(name) for name in body.others]
        messages = as_prompt([message.as_message() for message in body.messages])
        with page.inspection_lock:
            differences = _differences(backend, others, prompt, response)
            rewards = (
                prefix_rewards(page.reward_model, backend.model, messages, response)
                if page.reward_model
                else []
            )
        return {"tokens": [asdict(token) for token in differences], "rewards": rewards}

    @app.post("/page/space")
    def embeddings(body: EmbeddingBody) -> dict[str, object]:
        backend, _, response = _inspected(pool, body)
        model = with_weights(backend, "embeddings")
        with page.inspection_lock:
            if not body.texts:
                return asdict(token_map(model, response))
            prompt = body.messages[-1].as_message()["content"]
            prompts = [*(text for text in body.texts if text != prompt), prompt]
            return asdict(text_map(model, prompts, response))


def _differences(
    backend: Backend, others: Sequence[Backend], prompt: Sequence[int], response: Sequence[int]
) -> list[TokenDifference]:
    """Each token of the response under the models; a model on a server has log-probs, but no KL.

    Raises:
        BadRequest: one of several models runs on a server.
    """
    if not others and not isinstance(backend.model, LoadedModel):
        scored = backend.scored_tokens([*prompt, *response], most=0)[len(prompt) - 1 :]
        return [
            TokenDifference(token=token_text(backend.model, one.id), logprobs=[one.logprob], kl=[])
            for one in scored
        ]
    purpose = "differences between models"
    models = [with_weights(each, purpose) for each in (backend, *others)]
    return token_differences(models, prompt, response)


def _inspected(pool: ModelPool, body: InspectBody) -> tuple[Backend, list[int], list[int]]:
    """The model, the prompt's ids and the response's ids.

    Raises:
        DataError: the response is too long, or has an id beyond the model's vocabulary.
        BadRequest: prompt and response are longer than the server's limit.
    """
    backend = pool.backend(body.model)
    model = backend.model
    messages = [message.as_message() for message in body.messages]
    prompt, response = exchange_ids(model, messages, body.response, body.ids)
    if len(response) > MAX_INSPECTED:
        raise DataError(
            f"the response has {len(response)} tokens; at most {MAX_INSPECTED} can be inspected.",
            code="too-long",
        )
    if response and max(response) >= model.vocab_size:
        raise DataError(
            f"an id of the response is beyond the model's {model.vocab_size} tokens.",
            code="bad-value",
        )
    pool.check_length(model, len(prompt) + len(response))
    return backend, prompt, response
