"""Small Llama-like transformers, many at once: every weight has a leading dimension of M networks.

One call of a batched matrix product serves all worlds, seeds and members of an ensemble, which are
too small to keep a processor busy one by one. AdamW works on single weights and gradients are
clipped by network, so that each network learns as it would alone.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from recipes.toy_tasks.drawn.world import END, LONGEST, PROMPT_LENGTH, Symbols

ANSWER = END + 1  # between prompt and response; END is the end-of-response token too
VOCABULARY, LENGTH = END + 2, PROMPT_LENGTH + 1 + LONGEST + 1
WIDTH, HIDDEN, LAYERS, HEADS = 32, 86, 2, 2
Params = Mapping[str, Tensor]  # float [M, ...] each


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Token ids of responses, with any dimensions in front of the last."""

    ids: Tensor  # long [..., LENGTH]: prompt, ANSWER, response, END to the right edge
    ends: Tensor  # long [...], the place of the first END, whose state the reward reads


Score = Callable[[Params, Rows], Tensor]  # float [M, B], the reward of rows [M, B]


def rows_of(prompts: Symbols, responses: Symbols) -> Rows:
    """Rows of responses [..., LONGEST] to prompts [..., PROMPT_LENGTH]."""
    edge = (*responses.shape[:-1], 1)
    parts = [prompts, np.full(edge, ANSWER), responses, np.full(edge, END)]
    lengths = (responses < END).sum(axis=-1)
    return Rows(
        ids=torch.from_numpy(np.concatenate(parts, axis=-1)),
        ends=torch.from_numpy(PROMPT_LENGTH + 1 + lengths),
    )


def new_networks(count: int, seed: int) -> dict[str, Tensor]:
    """Random weights of `count` networks of about 25,000 weights each."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(count, *shape, generator=generator) * 0.08

    params = {"tokens": normal(VOCABULARY, WIDTH), "places": normal(LENGTH, WIDTH)}
    for layer in range(LAYERS):
        params |= {
            f"{layer}.norm 1": torch.ones(count, WIDTH),
            f"{layer}.attention": normal(WIDTH, 3 * WIDTH),
            f"{layer}.mixed": normal(WIDTH, WIDTH),
            f"{layer}.norm 2": torch.ones(count, WIDTH),
            f"{layer}.up": normal(WIDTH, 2 * HIDDEN),
            f"{layer}.down": normal(HIDDEN, WIDTH),
        }
    return {**params, "norm": torch.ones(count, WIDTH), "head": torch.zeros(count, WIDTH)}


def states(params: Params, ids: Tensor) -> Tensor:
    """Last hidden states, float [M, B, T, WIDTH], of ids [M, B, T]."""
    return _norm(_after_layers(params, ids, LAYERS), params["norm"])


def end_states(params: Params, rows: Rows) -> Tensor:
    """float [M, B, WIDTH]: `states` of rows [M, B] at the first END, where the reward is read.

    The last layer computes nothing else, which saves a third of the time.
    """
    layer, x = LAYERS - 1, _after_layers(params, rows.ids, LAYERS - 1)
    networks, numbers = torch.arange(len(x))[:, None], torch.arange(x.shape[1])[None, :]
    last = x[networks, numbers, rows.ends][:, :, None]  # [M, B, 1, WIDTH]
    norm, weight = params[f"{layer}.norm 1"], params[f"{layer}.attention"]
    query = _linear(_norm(last, norm), weight[:, :, :WIDTH])
    keys = _linear(_norm(x, norm), weight[:, :, WIDTH:])
    seen = torch.arange(LENGTH) <= rows.ends[..., None]
    last = last + _linear(_read(query, keys, seen), params[f"{layer}.mixed"])
    last = last + _mlp(params, layer, _norm(last, params[f"{layer}.norm 2"]))
    return _norm(last, params["norm"])[:, :, 0]


def rewards(params: Params, rows: Rows) -> Tensor:
    """float [M, B]: the reward of each row, read from the state of its END. rows: [M, B]."""
    return (end_states(params, rows) * params["head"][:, None]).sum(dim=-1)


def summed_rewards(params: Params, rows: Rows) -> Tensor:
    """float [M, B]: the head read from the states of all response tokens, END included, and summed.

    Such a model is no AutoModelForSequenceClassification.
    """
    values = (states(params, rows.ids) * params["head"][:, None, None]).sum(dim=-1)
    places = torch.arange(LENGTH)
    counted = (places > PROMPT_LENGTH) & (places <= rows.ends[..., None])
    return torch.where(counted, values, 0.0).sum(dim=-1)


def implicit_rewards(reference: Params, beta: float) -> Score:
    """The reward of DPO: beta times the log-ratio of a response under policy and reference."""

    def score(params: Params, rows: Rows) -> Tensor:
        with torch.no_grad():
            before = token_logprobs(reference, rows)
        return beta * (token_logprobs(params, rows) - before).sum(dim=-1)

    return score


def language_loss(params: Params, rows: Rows) -> Tensor:
    """float [M]: mean negative log-likelihood of response tokens, END included. rows: [M, B]."""
    counts = (rows.ends - PROMPT_LENGTH).sum(dim=1)
    return -token_logprobs(params, rows).sum(dim=(1, 2)) / counts


def token_logprobs(params: Params, rows: Rows) -> Tensor:
    """float [M, B, LENGTH - 1]: log-probs of response tokens, END included; 0 elsewhere."""
    logits = _linear(states(params, rows.ids)[:, :, :-1], params["tokens"].transpose(1, 2))
    losses = F.cross_entropy(
        logits.flatten(0, 2), rows.ids[:, :, 1:].flatten(), reduction="none"
    ).view(*rows.ids.shape[:2], -1)
    places = torch.arange(1, LENGTH)
    counted = (places > PROMPT_LENGTH) & (places <= rows.ends[..., None])
    return torch.where(counted, -losses, 0.0)


def _after_layers(params: Params, ids: Tensor, layers: int) -> Tensor:
    """float [M, B, T, WIDTH] after the first layers, without the last norm."""
    offsets = torch.arange(len(ids))[:, None, None] * VOCABULARY
    x = F.embedding(ids + offsets, params["tokens"].reshape(-1, WIDTH))
    x = x + params["places"][:, None]
    for layer in range(layers):
        x = x + _attention(params, layer, _norm(x, params[f"{layer}.norm 1"]))
        x = x + _mlp(params, layer, _norm(x, params[f"{layer}.norm 2"]))
    return x


def _norm(x: Tensor, weight: Tensor) -> Tensor:
    return F.rms_norm(x, (WIDTH,)) * weight[:, None, None]


def _linear(x: Tensor, weight: Tensor) -> Tensor:
    """x [M, B, T, I] times weight [M, I, O]."""
    return torch.bmm(x.flatten(1, 2), weight).view(*x.shape[:3], -1)


def _attention(params: Params, layer: int, x: Tensor) -> Tensor:
    networks, rows, length, _ = x.shape
    parts = _linear(x, params[f"{layer}.attention"])
    split = parts.view(networks * rows, length, 3, HEADS, WIDTH // HEADS)
    query, key, value = split.permute(2, 0, 3, 1, 4)
    mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
    return _linear(
        mixed.transpose(1, 2).reshape(networks, rows, length, WIDTH), params[f"{layer}.mixed"]
    )


def _read(query: Tensor, keys: Tensor, seen: Tensor) -> Tensor:
    """float [M, B, 1, WIDTH]: attention of one position each.

    query: [M, B, 1, WIDTH]; keys: [M, B, T, 2 * WIDTH], with values; seen: bool [M, B, T].
    """
    networks, rows, length, _ = keys.shape
    split = keys.view(networks * rows, length, 2, HEADS, WIDTH // HEADS)
    key, value = split.permute(2, 0, 3, 1, 4)
    heads = query.view(networks * rows, HEADS, 1, WIDTH // HEADS)
    mask = seen.view(networks * rows, 1, 1, length)
    mixed = F.scaled_dot_product_attention(heads, key, value, attn_mask=mask)
    return mixed.reshape(networks, rows, 1, WIDTH)


def _mlp(params: Params, layer: int, x: Tensor) -> Tensor:
    gate, up = _linear(x, params[f"{layer}.up"]).chunk(2, dim=-1)
    return _linear(F.silu(gate) * up, params[f"{layer}.down"])
