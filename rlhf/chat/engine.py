"""Continuous batching: responses of one model are generated together, and join and leave freely.

Every row ends at the same column of one key-value cache, so that a step writes one column for all
rows. The prompt of a row that joins is read on its own and put into the place of a finished row;
what is to the left of a row is masked. The cache is laid out again if a row does not fit, if the
columns are used up, or if too many rows are finished.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from rlhf.chat.grammar import Grammar
from rlhf.chat.loading import LoadedModel
from rlhf.chat.logit_changes import LogitChanges
from rlhf.chat.sampling import Sampling, sample_tokens, sampling_noise
from rlhf.data.collate import left_pad
from rlhf.models.generation.kv_cache import SlabCache

SPARE_COLUMNS = 64  # beyond the longest row; attention pays for columns that are not used
ALIVE_SHARE = 0.75  # finished rows are computed along until only this share is alive
STOP, LENGTH = "stop", "length"  # why a response ended: an EOS, or its maximum length


@dataclass(frozen=True, kw_only=True)
class GenerationRequest:
    """A prompt to continue, and how."""

    ids: Sequence[int]  # of the prompt
    sampling: Sampling
    choice: int = 0  # index among several responses to one prompt; each has its own noise
    alternatives: int = 0  # how many of the likeliest tokens to report with each token
    logit_bias: Mapping[int, float] = field(default_factory=dict)  # added to logits, by token id
    grammar: Grammar | None = None  # what the response has to follow


@dataclass(frozen=True, kw_only=True)
class GeneratedToken:
    """One token of a response."""

    id: int
    logprob: float  # of the model: at temperature 1, without truncation, penalties and grammar
    likeliest: Sequence[tuple[int, float]]  # (id, logprob), best first
    finish: str  # "" while the response continues; else STOP or LENGTH


class BatchRow:
    """A request that is being generated: a row of the batch."""

    def __init__(self, request: GenerationRequest) -> None:
        self.request = request
        self.noise = sampling_noise(request.sampling, request.choice)
        self.changes = LogitChanges(
            request.sampling, request.ids, request.logit_bias, request.grammar
        )
        self.length = len(request.ids)  # tokens in the cache
        self.num_generated = 0
        self.last = -1  # the token that the model has not read yet
        self.alive = True


class BatchEngine:
    """Generates responses of one model, at most `slots` at a time."""

    def __init__(self, model: LoadedModel, *, slots: int = 32) -> None:
        self._model, self._slots = model, slots
        self._eos = frozenset(model.chat.eos_token_ids)
        self._rows: list[BatchRow] = []  # in the order of the cache's rows
        self._joining: list[BatchRow] = []
        self._cache: SlabCache | None = None

    @property
    def free(self) -> int:
        """How many more requests can be added now."""
        return self._slots - len(self._joining) - sum(row.alive for row in self._rows)

    def add(self, request: GenerationRequest) -> BatchRow:
        """Start a request; the next step gives its first token."""
        assert self.free > 0, "the caller counts the free slots"
        row = BatchRow(request)
        self._joining.append(row)
        return row

    def drop(self, row: BatchRow) -> None:
        """Stop generating a response and free its slot."""
        row.alive = False
        self._joining = [other for other in self._joining if other is not row]

    def clear(self) -> None:
        """Free all slots and the memory."""
        self._rows, self._joining, self._cache = [], [], None

    @torch.no_grad()
    def step(self) -> list[tuple[BatchRow, GeneratedToken]]:
        """One more token of every response."""
        if not any(row.alive for row in self._rows):
            self._rows, self._cache = [], None
        logits_parts = [self._advance()] if self._rows else []
        rows = list(self._rows)
        if self._joining:
            joining, self._joining = self._joining, []
            logits_parts.append(self._join(joining))
            rows += joining
        if not logits_parts:
            return []
        logits = torch.cat(logits_parts)
        alive = [index for index, row in enumerate(rows) if row.alive]
        return self._sample([rows[index] for index in alive], logits[alive])

    def _sample(
        self, rows: list[BatchRow], logits: Tensor
    ) -> list[tuple[BatchRow, GeneratedToken]]:
        noise = torch.stack([row.noise[row.num_generated] for row in rows])
        samplings = [row.request.sampling for row in rows]
        sampled = sample_tokens(_changed_logits(rows, logits), samplings, noise)
        logprobs = logits.float().log_softmax(-1)
        chosen = logprobs.gather(-1, sampled[:, None])[:, 0].tolist()
        most = max(row.request.alternatives for row in rows)
        best = logprobs.topk(min(most, logits.shape[-1])) if most else None
        generated: list[tuple[BatchRow, GeneratedToken]] = []
        for index, (row, token_id) in enumerate(zip(rows, sampled.tolist(), strict=True)):
            row.last, row.num_generated = token_id, row.num_generated + 1
            finish = LENGTH if row.num_generated == row.request.sampling.max_new_tokens else ""
            finish = STOP if token_id in self._eos else finish
            row.alive = not finish
            if row.changes.any:
                row.changes.add(token_id, last=bool(finish))
            likeliest: Sequence[tuple[int, float]] = ()
            if best is not None and row.request.alternatives:
                pairs = zip(best.indices[index].tolist(), best.values[index].tolist(), strict=True)
                likeliest = list(pairs)[: row.request.alternatives]
            token = GeneratedToken(
                id=token_id, logprob=chosen[index], likeliest=likeliest, finish=finish
            )
            generated.append((row, token))
        return generated

    def _advance(self) -> Tensor:
        """Logits [B, V] after the last token of every row, finished rows included."""
        alive = [row.alive for row in self._rows]
        cache = self._cache
        assert cache is not None
        full = cache.get_seq_length() == cache.capacity
        if full or sum(alive) <= ALIVE_SHARE * len(alive):
            cache = self._lay_out([row for row in self._rows if row.alive], [], cache)
        for row in self._rows:
            # A finished row continues at position 0: a table of positions has an end.
            row.length = row.length + 1 if row.alive else 1
        width = cache.get_seq_length() + 1
        return self._forward(
            torch.tensor([[row.last] for row in self._rows]),
            _mask([row.length for row in self._rows], width),
            torch.tensor([[row.length - 1] for row in self._rows]),
            cache,
        )

    def _join(self, rows: list[BatchRow]) -> Tensor:
        """Logits after the prompts of new rows, which get their places in the cache.

        Equal prompts are read once.
        """
        prompts = list({tuple(row.request.ids): None for row in rows})
        cache = SlabCache(self._layers, max(map(len, prompts)))
        ids, mask = left_pad([list(prompt) for prompt in prompts], self._model.chat.pad_token_id)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        logits = self._forward(ids, mask, positions, cache)
        prompt_of_row = torch.tensor([prompts.index(tuple(row.request.ids)) for row in rows])
        vacant = [index for index, row in enumerate(self._rows) if not row.alive]
        longest = max(row.length for row in rows)
        if self._cache is None or len(vacant) < len(rows) or longest > self._cache.get_seq_length():
            alive = [row for row in self._rows if row.alive]
            self._lay_out(alive, rows, cache)
            vacant = list(range(len(alive), len(self._rows)))
        assert self._cache is not None
        places = torch.tensor(vacant[: len(rows)])
        self._cache.put(places, cache, prompt_of_row, longest)
        for place, row in zip(places.tolist(), rows, strict=True):
            self._rows[place] = row
        return logits[prompt_of_row.to(logits.device)]

    def _lay_out(self, rows: list[BatchRow], joining: list[BatchRow], like: SlabCache) -> SlabCache:
        """A new cache that holds these rows in as few columns as they need, with places for
        those that join."""
        length = max(row.length for row in [*rows, *joining])
        cache = SlabCache(self._layers, length + SPARE_COLUMNS)
        cache.start(like, len(rows) + len(joining), length)
        if self._cache is not None and rows:
            old_places = torch.tensor([self._index(row) for row in rows])
            widest = max(row.length for row in rows)
            cache.put(torch.arange(len(rows)), self._cache, old_places, widest)
        self._rows, self._cache = [*rows, *joining], cache
        return cache

    def _index(self, row: BatchRow) -> int:
        return next(index for index, other in enumerate(self._rows) if other is row)

    def _forward(self, ids: Tensor, mask: Tensor, positions: Tensor, cache: SlabCache) -> Tensor:
        device = self._model.model.device
        logits: Tensor = self._model.model(
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            position_ids=positions.to(device),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        return logits

    @property
    def _layers(self) -> int:
        return int(self._model.model.config.get_text_config().num_hidden_layers)


def _changed_logits(rows: Sequence[BatchRow], logits: Tensor) -> Tensor:
    """The logits with the changes that requests ask for; the same tensor if none does."""
    changing = [index for index, row in enumerate(rows) if row.changes.any]
    if not changing:
        return logits
    changed = logits.float().clone()
    for index in changing:
        changed[index] = rows[index].changes.apply(changed[index])
    return changed


def _mask(lengths: Sequence[int], width: int) -> Tensor:
    """bool [B, width]: the last `length` columns of each row."""
    starts = width - torch.tensor(list(lengths))
    return torch.arange(width) >= starts[:, None]
