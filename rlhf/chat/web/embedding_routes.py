"""POST /v1/embeddings, compatible with OpenAI's API.

The embedding of a text is the mean of its tokens' last hidden states, scaled to length 1. Policies
are not trained for this: embeddings of texts compare, but worse than those of an embedding model.
"""

import base64
import threading
from collections.abc import Sequence

import numpy as np
from fastapi import FastAPI
from fastapi.responses import JSONResponse, Response

from rlhf.chat.embedding_map import hidden_states
from rlhf.chat.loading import LoadedModel
from rlhf.chat.web.errors import BadRequest, error_param
from rlhf.chat.web.model_pool import ModelPool, with_weights
from rlhf.chat.web.raw_prompts import prompt_list, raw_prompt_ids
from rlhf.chat.web.schema import EmbeddingRequest

MAX_INPUTS = 2048  # of one request, as in OpenAI's API


def add_embeddings(app: FastAPI, pool: ModelPool) -> None:
    """Add the route."""
    lock = threading.Lock()  # one text at a time: running responses take precedence

    @app.post("/v1/embeddings")
    def embed(body: EmbeddingRequest) -> Response:
        model = with_weights(pool.backend(body.model), "embeddings")
        with error_param("input"):
            if "" in prompt_list(body.input):
                raise BadRequest("a text is empty; send a text or token ids")
            encoded = raw_prompt_ids(model, body.input)
            if len(encoded) > MAX_INPUTS:
                raise BadRequest(f"input has {len(encoded)} texts; the limit is {MAX_INPUTS}")
            for ids in encoded:
                pool.check_length(model, len(ids))
        _check_dimensions(model, body.dimensions)
        data = []
        for index, ids in enumerate(encoded):
            with lock:
                vector = text_embedding(model, ids)
            value = as_base64(vector) if body.encoding_format == "base64" else vector
            data.append({"object": "embedding", "index": index, "embedding": value})
        tokens = sum(map(len, encoded))
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return JSONResponse({"object": "list", "data": data, "model": body.model, "usage": usage})


def text_embedding(model: LoadedModel, ids: Sequence[int]) -> list[float]:
    """The mean of the last hidden states, [D], scaled to length 1; 0 where it is 0."""
    mean = hidden_states(model, ids).mean(0)
    scaled: list[float] = (mean / mean.norm().clamp(min=1e-12)).tolist()
    return scaled


def as_base64(vector: Sequence[float]) -> str:
    """The vector as float32, little-endian, in base64."""
    return base64.b64encode(np.asarray(vector, dtype="<f4").tobytes()).decode()


def _check_dimensions(model: LoadedModel, dimensions: int | None) -> None:
    size = int(model.model.config.get_text_config().hidden_size)
    if dimensions not in (None, size):
        raise BadRequest(
            f"dimensions={dimensions} is not supported; this model's embeddings have {size}",
            param="dimensions",
            openai_code="unsupported_parameter",
        )
