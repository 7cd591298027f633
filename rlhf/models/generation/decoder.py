"""Decoding token by token: unfinished rows, and the model with its cache."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rlhf.models.generation.cuda_graph import GraphedStep
from rlhf.models.generation.kv_cache import SlabCache
from rlhf.models.generation.llama_step import LlamaStep, computes_step
from rlhf.models.protocols import CausalLM
from rlhf.types import PromptBatch

# Finished rows are dropped when at most this share of the rows is unfinished: dropping copies the
# cache, so doing it for every finished row would cost more than it saves.
ALIVE_SHARE = 0.75
# Tokens of prompts that are read together, and the least share of them that parts have to save.
TOKENS_AT_ONCE, TOKENS_AT_ONCE_OF_GPUS, LEAST_SAVED = 1024, 1 << 15, 0.1
CACHED = 1 << 17  # logits that are sampled from at a time on a CPU
ALIVE_SHARE_OF_GRAPHS = 0.5  # a step with fewer rows has to be recorded again


@dataclass(frozen=True, kw_only=True)
class Generated:
    """Sampled responses, right-padded; the EOS that ended a response is part of it."""

    response_ids: Tensor  # long [B, R]
    response_mask: Tensor  # bool [B, R]
    logprobs: Tensor  # float [B, R], at the sampling temperature; 0 on padding
    entropies: Tensor | None  # float [B, R], nats of the distribution sampled from; 0 on padding;
    # None from an engine that does not compute them
    ended_with_eos: Tensor  # bool [B]


@dataclass(frozen=True)
class Sampled:
    """A token for each row of the cache, [B] each."""

    tokens: Tensor
    logprobs: Tensor
    entropies: Tensor


class Responses:
    """The tokens sampled so far, of all rows of the batch."""

    def __init__(self, num_rows: int, width: int, pad_token_id: int, device: torch.device) -> None:
        self.ids = torch.full((num_rows, width), pad_token_id, device=device)
        self.logprobs = torch.zeros(num_rows, width, device=device)
        self.entropies = torch.zeros(num_rows, width, device=device)
        self.lengths = torch.zeros(num_rows, dtype=torch.long, device=device)
        self.ended = torch.zeros(num_rows, dtype=torch.bool, device=device)

    def write(self, t: int, rows: Tensor, alive: Tensor, sampled: Sampled, stops: Tensor) -> None:
        """Append token t to the unfinished rows.

        Args:
            t: position in the response.
            rows: long [b], rows of the batch.
            alive: bool [b], which of them are unfinished.
            sampled: a token for each of them.
            stops: bool [b], whether the token ends the response.
        """
        unfinished = rows[alive]
        self.ids[unfinished, t] = sampled.tokens[alive]
        self.logprobs[unfinished, t] = sampled.logprobs[alive]
        self.entropies[unfinished, t] = sampled.entropies[alive]
        self.lengths[unfinished] += 1
        self.ended[rows[alive & stops]] = True

    def finished(self) -> Generated:
        """The responses, cut to the longest."""
        longest = int(self.lengths.max())
        columns = torch.arange(longest, device=self.ids.device)
        return Generated(
            response_ids=self.ids[:, :longest],
            response_mask=columns < self.lengths[:, None],
            logprobs=self.logprobs[:, :longest],
            entropies=self.entropies[:, :longest],
            ended_with_eos=self.ended,
        )


class Decoder:
    """The model with its cache of the unfinished rows."""

    def __init__(
        self, model: CausalLM, batch: PromptBatch, max_new_tokens: int, *, cuda_graphs: bool
    ) -> None:
        num_rows, self.width = batch.input_ids.shape
        device = batch.input_ids.device
        self.model, self.batch = model, batch
        ones = torch.ones(num_rows, max_new_tokens, dtype=torch.bool, device=device)
        self.mask = torch.cat([batch.attention_mask, ones], dim=1)
        self.prompt_lengths = batch.attention_mask.sum(1)
        place = torch.zeros(1, dtype=torch.long, device=device) if cuda_graphs else None
        capacity = self.width + max_new_tokens
        self.cache = SlabCache(model.config.num_hidden_layers, capacity, place)
        self.cuda_graphs = cuda_graphs
        self.graphed: GraphedStep | None = None
        self.fused: LlamaStep | None = None  # once the prompts are read
        self.rows = torch.arange(num_rows, device=device)  # of the batch, one per cache row
        self.alive = torch.ones_like(self.rows, dtype=torch.bool)

    def read_prompts(self) -> Tensor:
        """Logits [B, V] after each prompt; a prompt with several responses is read once."""
        groups = self.batch.group_ids
        unique, group_of_row = torch.unique(groups, return_inverse=True)
        first = torch.stack([(groups == group).nonzero()[0, 0] for group in unique])
        at_once = TOKENS_AT_ONCE if groups.device.type == "cpu" else TOKENS_AT_ONCE_OF_GPUS
        parts = similar_lengths(self.prompt_lengths[first].tolist(), at_once)
        if len(parts) == 1:
            logits = self._read(first, self.cache, self.width)
        else:
            logits = self._read_parts(first, parts)
        self.cache.select(group_of_row)
        if computes_step(self.model):
            self.fused = LlamaStep(self.model, self.cache)
        return logits[group_of_row]

    def _read_parts(self, rows: Tensor, parts: Sequence[Sequence[int]]) -> Tensor:
        """Logits of these rows, read part by part. parts: indices of `rows`."""
        logits = []
        for number, part in enumerate(parts):
            chosen = torch.tensor(part, device=rows.device)
            width = int(self.prompt_lengths[rows[chosen]].max())
            cache = SlabCache(self.model.config.num_hidden_layers, width)
            logits.append(self._read(rows[chosen], cache, width))
            if number == 0:
                self.cache.start(cache, len(rows), self.width)
            self.cache.put(chosen, cache, torch.arange(len(part), device=rows.device), width)
        order = torch.tensor([index for part in parts for index in part], device=rows.device)
        return torch.cat(logits)[order.argsort()]

    def _read(self, rows: Tensor, cache: SlabCache, width: int) -> Tensor:
        """Logits after the prompts of these rows, whose last `width` columns fill the cache."""
        mask = self.batch.attention_mask[rows, -width:]
        logits: Tensor = self.model(
            input_ids=self.batch.input_ids[rows, -width:],
            attention_mask=mask,
            position_ids=mask.cumsum(1) - mask.long(),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        return logits

    def any_left(self, over: Tensor) -> bool:
        """Mark rows as finished; whether any is left. over: bool [b], of the rows of the cache."""
        self.alive &= ~over
        return bool(self.alive.any())

    def step(self, tokens: Tensor, t: int) -> Tensor:
        """Logits [B, V] after token t of each row; drops finished rows from time to time."""
        share = ALIVE_SHARE_OF_GRAPHS if self.cuda_graphs else ALIVE_SHARE
        if self.alive.sum() <= share * len(self.alive):
            self.cache.select(self.alive.nonzero()[:, 0])
            self.rows, tokens = self.rows[self.alive], tokens[self.alive]
            self.alive, self.graphed = self.alive[self.alive], None
        positions, place = self.prompt_lengths[self.rows] + t, self.width + t
        if self.cuda_graphs:
            return self._graphed_step(tokens, positions, place)
        if self.fused is not None:
            return self.fused(tokens, positions, self.mask[self.rows, : place + 1])
        logits: Tensor = self.model(
            input_ids=tokens[:, None],
            attention_mask=self.mask[self.rows, : place + 1],
            position_ids=positions[:, None],
            past_key_values=self.cache,
            use_cache=True,
        ).logits[:, -1]
        return logits

    def _graphed_step(self, tokens: Tensor, positions: Tensor, place: int) -> Tensor:
        if self.graphed is None:
            mask = self.mask[self.rows]
            self.graphed = GraphedStep(self.model, self.cache, mask, length=place)
        return self.graphed(tokens, positions, place)


def similar_lengths(lengths: Sequence[int], tokens: int) -> list[list[int]]:
    """Indices of prompts in parts of similar length, so that little padding is read.

    All of them are one part where that saves less than LEAST_SAVED.

    Args:
        lengths: of the prompts, in tokens.
        tokens: with padding, that a part has at least, except for the last.
    """
    by_length = sorted(range(len(lengths)), key=lambda index: lengths[index])
    parts: list[list[int]] = []
    for index in by_length:
        if not parts or len(parts[-1]) * lengths[parts[-1][-1]] >= tokens:
            parts.append([])
        parts[-1].append(index)
    read = sum(len(part) * lengths[part[-1]] for part in parts)
    saves = read <= (1 - LEAST_SAVED) * len(lengths) * max(lengths)
    return parts if saves else [list(range(len(lengths)))]


def sample(logits: Tensor, noise: Tensor, temperature: float) -> Sampled:
    """Tokens, their log-probs and the entropies, from logits [B, V] and noise [B].

    Inverse transform: the first token whose cumulative probability reaches noise * total. Noise is
    above 0 and at most 1, so that this token exists and has positive probability. Logits with a NaN
    give the last token with a log-prob of NaN, which identifies the row.
    """
    if logits.device.type != "cpu":
        return Sampled(*_sample(logits, noise, temperature))
    # A few rows at a time stay in the processor's cache through all passes over them.
    rows = max(1, CACHED // logits.shape[1])
    parts = [
        _sample(logits[start : start + rows], noise[start : start + rows], temperature)
        for start in range(0, len(logits), rows)
    ]
    return Sampled(*map(torch.cat, zip(*parts, strict=True)))


def _sample(logits: Tensor, noise: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    logprobs = torch.log_softmax(logits.float() / (temperature or 1.0), dim=-1)
    probs = logprobs.exp()
    if temperature == 0:
        tokens = logprobs.argmax(-1)
    else:
        cumulative = probs.cumsum(-1)
        target = noise[:, None] * cumulative[:, -1:]
        tokens = torch.searchsorted(cumulative, target)[:, 0].clamp(max=probs.shape[1] - 1)
    entropies = -(probs * logprobs).sum(-1)
    return tokens, logprobs.gather(-1, tokens[:, None])[:, 0], entropies
