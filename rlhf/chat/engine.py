"""One conversation with one model: what was said, and the next answer as a stream of text."""

import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from rlhf.chat.loading import ChatModel
from rlhf.data.chat import decode, prompt_ids
from rlhf.errors import ConfigError, DataError
from rlhf.types import Message, Prompt

REPLACEMENT = "\ufffd"  # what a decoder gives for half a character
SEEDS = 2**63  # as many as torch takes
SHORTEST_ANSWER = 32  # tokens of room below which old turns are let go


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the next token is drawn."""

    temperature: float = 0.7  # 0 takes the likeliest token
    top_p: float = 1.0  # keep the likeliest tokens that together have this probability
    max_new_tokens: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < math.inf:
            raise ConfigError(f"temperature={self.temperature} is not from 0 up; 0 is greedy.")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p={self.top_p} is no probability above 0; 1 keeps all.")
        if self.max_new_tokens < 1:
            raise ConfigError(f"max_new_tokens={self.max_new_tokens} leaves no answer; use 1 up.")
        if not 0 <= self.seed < SEEDS:
            raise ConfigError(f"seed={self.seed} is no seed; use 0 to 2**63 - 1.")


@dataclass(kw_only=True)
class Conversation:
    """Turns with one model. A raw model has no turns: it continues each text by itself."""

    model: ChatModel
    sampling: Sampling = field(default_factory=Sampling)
    messages: list[Message] = field(default_factory=list)
    answers: int = 0  # written so far; each gets noise of its own
    forgotten: int = 0  # oldest turns that no longer fitted the last prompt
    cut_off: bool = False  # whether the last answer was stopped by its length

    def ask(self, text: str) -> Generator[str]:
        """The answer to `text`, piece by piece. Both turns are kept, however far it came.

        Raises:
            DataError: nothing to answer, or more than the model's positions hold.
        """
        question = {"role": "user", "content": text}
        prompt = self._prompt_of([*self.messages, question])
        answer = {"role": "assistant", "content": ""}
        self.messages += [question, answer]
        for piece in self._pieces(prompt):
            answer["content"] += piece
            yield piece

    def regenerate(self) -> Generator[str]:
        """Another answer to the last question, in place of the one it got."""
        question = self.undo()
        if question is None:
            raise DataError("there is nothing to answer again; ask something first.")
        yield from self.ask(question)

    def undo(self) -> str | None:
        """Take the last question and its answer back; the question, or None if there is none."""
        while self.messages and self.messages[-1]["role"] == "assistant":
            self.messages.pop()
        if not self.messages or self.messages[-1]["role"] != "user":
            return None
        return self.messages.pop()["content"]

    def reset(self, system: str | None = None) -> None:
        """Begin anew, with a system message where one is given and the template knows of it."""
        self.messages = [] if system is None else [{"role": "system", "content": system}]

    def _pieces(self, prompt: list[int]) -> Iterator[str]:
        sampling = replace(
            self.sampling,
            max_new_tokens=min(self.sampling.max_new_tokens, self._room(len(prompt))),
            seed=(self.sampling.seed + 1_000_003 * self.answers) % SEEDS,
        )
        self.answers += 1
        self.cut_off = True
        ids: list[int] = []
        said = text = ""
        for token in stream_ids(self.model, prompt, sampling):
            if token in self.model.chat.eos_token_ids:
                self.cut_off = False
                break
            ids.append(token)
            text = decode(self.model.chat, ids)
            # A character of several tokens is shown when it is whole.
            if not text.endswith(REPLACEMENT) and text.startswith(said):
                yield text[len(said) :]
                said = text
        if text.startswith(said) and text != said:
            yield text[len(said) :]

    def _prompt_of(self, messages: Sequence[Message]) -> list[int]:
        """Ids of the conversation; oldest turns are left out where they do not fit."""
        kept = list(messages)
        system = 1 if kept[0]["role"] == "system" else 0
        self.forgotten = 0
        ids = self._encode(kept)
        wanted = min(self.sampling.max_new_tokens, SHORTEST_ANSWER)
        while self._room(len(ids)) < wanted and len(kept) - system > 2:
            del kept[system : system + 2]
            self.forgotten += 2
            ids = self._encode(kept)
        if self._room(len(ids)) < 1:
            raise DataError(
                f"the prompt has {len(ids)} tokens and the model {self.model.positions} "
                "positions; ask something shorter."
            )
        return ids

    def _encode(self, messages: list[Message]) -> list[int]:
        for message in messages:
            _refuse_broken_text(message["content"])
        asked = messages[-1]["content"]
        prompt: Prompt = asked if self.model.chat.raw else messages
        ids = prompt_ids(self.model.chat, prompt)
        if not ids or not asked.strip():
            raise DataError("the prompt is empty; type something.")
        return ids

    def _room(self, length: int) -> int:
        """Tokens that an answer may have after a prompt of `length`."""
        positions = self.model.positions
        return self.sampling.max_new_tokens if positions is None else positions - length


def _refuse_broken_text(text: str) -> None:
    # A terminal or pipe hands on bytes that are no UTF-8 as lone surrogates.
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(
            f"the text is not UTF-8 at character {error.start + 1}; write it again."
        ) from None


@torch.no_grad()
def stream_ids(model: ChatModel, prompt: Sequence[int], sampling: Sampling) -> Iterator[int]:
    """Token ids after `prompt`, one at a time, without end but max_new_tokens: the caller stops.

    The noise is a function of the seed and the position alone.
    """
    generator = torch.Generator().manual_seed(sampling.seed)
    cache: Any = None
    ids = torch.tensor([list(prompt)], device=model.model.device)
    for _ in range(sampling.max_new_tokens):
        output = model.model(input_ids=ids, past_key_values=cache, use_cache=True)
        cache = output.past_key_values
        token = draw(output.logits[0, -1], sampling, generator)
        yield token
        ids = torch.tensor([[token]], device=model.model.device)


def draw(logits: Tensor, sampling: Sampling, generator: torch.Generator) -> int:
    """One token from softmax(logits / temperature), cut to the nucleus of top_p.

    logits: float [V]. The nucleus (https://arxiv.org/abs/1904.09751) is the fewest likeliest
    tokens whose probabilities reach top_p; the first is always in it.
    """
    if sampling.temperature == 0:
        return int(logits.argmax())
    probabilities = (logits.float().cpu() / sampling.temperature).softmax(-1)
    likeliest, order = probabilities.sort(descending=True)
    before = likeliest.cumsum(-1) - likeliest
    likeliest = torch.where(before < sampling.top_p, likeliest, 0.0)
    return int(order[torch.multinomial(likeliest, 1, generator=generator)])
