"""Answers that are written together: rows come and go between two tokens of the others.

Every row ends at the same column of one key-value cache, so that a step writes one column for
all of them. A row that joins is read by itself and put where a finished one was; what stands
left of a row is masked. The cache is laid out anew when a row does not fit, when the columns are
used up, or when too many rows are finished ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rlhf.chat.loading import ChatModel
from rlhf.chat.sampling import Sampling, draw, noise_of
from rlhf.data.collate import left_pad
from rlhf.models.generation.kv_cache import SlabCache

ROOM = 64  # columns ahead of the longest row; more are attended to in vain
ALIVE_SHARE = 0.75  # finished rows are computed along with the others, but not more of them
STOP, LENGTH = "stop", "length"  # why an answer ended: an EOS, or all its tokens used


@dataclass(frozen=True, kw_only=True)
class GenerationRequest:
    """What is to be continued, and how."""

    ids: Sequence[int]  # prompt
    sampling: Sampling
    choice: int = 0  # which of several answers to one prompt; each has noise of its own
    alternatives: int = 0  # how many of the likeliest tokens are told beside each one


@dataclass(frozen=True, kw_only=True)
class Token:
    """One more token of an answer."""

    id: int
    logprob: float  # of the model: at temperature 1, nothing cut
    likeliest: Sequence[tuple[int, float]]  # (id, logprob), best first
    finish: str  # "" while the answer goes on; STOP, LENGTH


class Row:
    """An answer that is being written."""

    def __init__(self, question: GenerationRequest) -> None:
        self.question = question
        self.noise = noise_of(question.sampling, question.choice)
        self.length = len(question.ids)  # tokens in the cache
        self.written = 0
        self.last = -1  # the token that the model has not read yet
        self.alive = True


class BatchEngine:
    """The answers of one model that are being written, at most `slots` at a time."""

    def __init__(self, model: ChatModel, *, slots: int = 32) -> None:
        self._model, self._slots = model, slots
        self._eos = frozenset(model.chat.eos_token_ids)
        self._rows: list[Row] = []  # one a row of the cache
        self._joining: list[Row] = []
        self._cache: SlabCache | None = None

    @property
    def free(self) -> int:
        """How many more questions may be added now."""
        return self._slots - len(self._joining) - sum(row.alive for row in self._rows)

    def add(self, question: GenerationRequest) -> Row:
        """Take a question up; its first token comes with the next step."""
        assert self.free > 0, "the caller counts the free places"
        row = Row(question)
        self._joining.append(row)
        return row

    def drop(self, row: Row) -> None:
        """Stop writing an answer; its place is free."""
        row.alive = False
        self._joining = [other for other in self._joining if other is not row]

    def clear(self) -> None:
        """Give every place and the memory back."""
        self._rows, self._joining, self._cache = [], [], None

    @torch.no_grad()
    def step(self) -> list[tuple[Row, Token]]:
        """One more token of every answer."""
        if not any(row.alive for row in self._rows):
            self._rows, self._cache = [], None
        parts = [self._advance()] if self._rows else []
        old = list(self._rows)
        if self._joining:
            joined, self._joining = self._joining, []
            parts.append(self._join(joined))
            old += joined
        if not parts:
            return []
        logits = torch.cat(parts)
        alive = [index for index, row in enumerate(old) if row.alive]
        return self._draw([old[index] for index in alive], logits[alive])

    def _draw(self, rows: list[Row], logits: Tensor) -> list[tuple[Row, Token]]:
        noise = torch.stack([row.noise[row.written] for row in rows])
        drawn = draw(logits, [row.question.sampling for row in rows], noise)
        logprobs = logits.float().log_softmax(-1)
        chosen = logprobs.gather(-1, drawn[:, None])[:, 0].tolist()
        most = max(row.question.alternatives for row in rows)
        best = logprobs.topk(min(most, logits.shape[-1])) if most else None
        found: list[tuple[Row, Token]] = []
        for at, (row, token) in enumerate(zip(rows, drawn.tolist(), strict=True)):
            row.last, row.written = token, row.written + 1
            finish = LENGTH if row.written == row.question.sampling.max_new_tokens else ""
            finish = STOP if token in self._eos else finish
            row.alive = not finish
            wanted = row.question.alternatives
            likeliest: Sequence[tuple[int, float]] = ()
            if best is not None and wanted:
                pairs = zip(best.indices[at].tolist(), best.values[at].tolist(), strict=True)
                likeliest = list(pairs)[:wanted]
            answer = Token(id=token, logprob=chosen[at], likeliest=likeliest, finish=finish)
            found.append((row, answer))
        return found

    def _advance(self) -> Tensor:
        """Logits [B, V] after every row's last token; finished rows have them too."""
        alive = [row.alive for row in self._rows]
        cache = self._cache
        assert cache is not None
        full = cache.get_seq_length() == cache.capacity
        if full or sum(alive) <= ALIVE_SHARE * len(alive):
            cache = self._lay_out([row for row in self._rows if row.alive], [], cache)
        for row in self._rows:
            # A finished row goes on at position 0: a table of positions has an end.
            row.length = row.length + 1 if row.alive else 1
        width = cache.get_seq_length() + 1
        return self._forward(
            torch.tensor([[row.last] for row in self._rows]),
            _mask([row.length for row in self._rows], width),
            torch.tensor([[row.length - 1] for row in self._rows]),
            cache,
        )

    def _join(self, rows: list[Row]) -> Tensor:
        """Logits after the prompts of new rows, which get their places; equal prompts are read
        once."""
        prompts = list({tuple(row.question.ids): None for row in rows})
        cache = SlabCache(self._layers, max(map(len, prompts)))
        ids, mask = left_pad([list(prompt) for prompt in prompts], self._model.chat.pad_token_id)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        logits = self._forward(ids, mask, positions, cache)
        order = torch.tensor([prompts.index(tuple(row.question.ids)) for row in rows])
        vacant = [index for index, row in enumerate(self._rows) if not row.alive]
        longest = max(row.length for row in rows)
        if self._cache is None or len(vacant) < len(rows) or longest > self._cache.get_seq_length():
            alive = [row for row in self._rows if row.alive]
            self._lay_out(alive, rows, cache)
            vacant = list(range(len(alive), len(self._rows)))
        assert self._cache is not None
        places = torch.tensor(vacant[: len(rows)])
        self._cache.put(places, cache, order, longest)
        for place, row in zip(places.tolist(), rows, strict=True):
            self._rows[place] = row
        return logits[order.to(logits.device)]

    def _lay_out(self, rows: list[Row], joining: list[Row], like: SlabCache) -> SlabCache:
        """A cache with these rows at the right of as few columns as hold them, and places for
        those that join."""
        length = max(row.length for row in [*rows, *joining])
        cache = SlabCache(self._layers, length + ROOM)
        cache.start(like, len(rows) + len(joining), length)
        if self._cache is not None and rows:
            old = torch.tensor([self._index(row) for row in rows])
            widest = max(row.length for row in rows)
            cache.put(torch.arange(len(rows)), self._cache, old, widest)
        self._rows, self._cache = [*rows, *joining], cache
        return cache

    def _index(self, row: Row) -> int:
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


def _mask(lengths: Sequence[int], width: int) -> Tensor:
    """bool [B, width]: the last `length` columns of each row."""
    starts = width - torch.tensor(list(lengths))
    return torch.arange(width) >= starts[:, None]
