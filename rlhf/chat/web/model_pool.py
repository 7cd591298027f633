"""The models behind a server: by which name each is asked for, and what a request may take."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from rlhf.chat.conversation import check_room, room
from rlhf.chat.engine import GenerationRequest
from rlhf.chat.loading import ChatModel
from rlhf.chat.sampling import SEEDS, Sampling
from rlhf.chat.scheduler import Scheduler
from rlhf.chat.web.errors import TOO_LONG, Unfit
from rlhf.errors import DataError

MOST_PAIRS = 1000  # blind pairs that are remembered; the oldest are forgotten


class NoModel(Exception):
    """A name that no model here has."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one server takes."""

    slots: int = 32  # answers of a model that are written at a time
    waiting: int = 64  # answers that wait for a place; more are told to come again
    max_new_tokens: int = 512  # of an answer that asks for no length, and at most of any
    max_prompt_tokens: int = 8192


@dataclass(kw_only=True)
class ModelPool:
    """Workers by name. A blind pair gives two of them other names, in an order nobody knows."""

    workers: dict[str, Scheduler]
    limits: Limits
    pairs: dict[str, str] = field(default_factory=dict)  # other name -> name

    def worker(self, name: str) -> Scheduler:
        """The worker of that name.

        Raises:
            NoModel: there is none.
        """
        found = self.workers.get(self.pairs.get(name, name))
        if found is None:
            raise NoModel(f"no model {name!r}; here are {', '.join(self.workers)}")
        return found

    def blind(self, names: Sequence[str]) -> list[str]:
        """Other names for these models, shuffled."""
        shuffled = [name for name in names if self.worker(name)]
        secrets.SystemRandom().shuffle(shuffled)
        made = {f"blind-{secrets.token_hex(8)}": name for name in shuffled}
        self.pairs |= made
        while len(self.pairs) > MOST_PAIRS:
            del self.pairs[next(iter(self.pairs))]
        return list(made)

    def questions(
        self,
        worker: Scheduler,
        prompts: Sequence[list[int]],
        *,
        num_answers: int,
        temperature: float,
        top_p: float,
        seed: int | None,
        max_new_tokens: int | None,
        alternatives: int,
    ) -> list[GenerationRequest]:
        """`num_answers` questions a prompt. Without a seed one is drawn.

        Raises:
            Unfit: a length beyond what is taken. The prompts' own is the caller's to check.
        """
        wanted = max_new_tokens or self.limits.max_new_tokens
        if wanted > self.limits.max_new_tokens:
            raise Unfit(
                f"max_tokens={wanted} is more than this server's {self.limits.max_new_tokens}; "
                "ask for fewer, or start it with a larger --max_new_tokens",
                param="max_tokens",
            )
        seed = secrets.randbelow(SEEDS) if seed is None else seed % SEEDS
        return [
            GenerationRequest(
                ids=prompt,
                sampling=Sampling(
                    temperature=temperature,
                    top_p=top_p,
                    max_new_tokens=min(wanted, room(worker.model, len(prompt), wanted)),
                    seed=seed,
                ),
                choice=choice,
                alternatives=alternatives,
            )
            for prompt in prompts
            for choice in range(num_answers)
        ]

    def check_length(self, model: ChatModel, length: int) -> None:
        """Refuse a prompt that is longer than the server takes or the model holds.

        Raises:
            Unfit: both numbers.
        """
        if length > self.limits.max_prompt_tokens:
            raise Unfit(
                f"the prompt has {length} tokens and this server takes "
                f"{self.limits.max_prompt_tokens}",
                openai_code=TOO_LONG,
            )
        try:
            check_room(model, length)
        except DataError as error:
            raise Unfit(str(error), openai_code=TOO_LONG) from error
