"""The models of a server by name, and the limits of requests to them."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from rlhf.chat.engine import GenerationRequest
from rlhf.chat.loading import LoadedModel
from rlhf.chat.prompt import check_prompt_length, remaining_positions
from rlhf.chat.sampling import NUM_SEEDS, Sampling
from rlhf.chat.scheduler import Scheduler
from rlhf.chat.web.errors import TOO_LONG, BadRequest
from rlhf.errors import DataError

MAX_BLIND_NAMES = 1000  # the oldest are forgotten


class UnknownModel(Exception):
    """No model of the server has this name."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of one server."""

    slots: int = 32  # responses of a model generated at a time
    waiting: int = 64  # responses that wait for a slot; further requests are rejected
    max_new_tokens: int = 512  # of a request: the default and the maximum
    max_prompt_tokens: int = 8192


@dataclass(kw_only=True)
class ModelPool:
    """Schedulers by name. A blind comparison gives its models random names in a random order."""

    schedulers: dict[str, Scheduler]
    limits: Limits
    blind_names: dict[str, str] = field(default_factory=dict)  # blind name -> name

    def scheduler(self, name: str) -> Scheduler:
        """The scheduler of a model, by its name or a blind name.

        Raises:
            UnknownModel: there is no such model.
        """
        return self.schedulers[self.served_name(name)]

    def served_name(self, name: str) -> str:
        """The name of a model, given that name or a blind name.

        Raises:
            UnknownModel: there is no such model.
        """
        served = self.blind_names.get(name, name)
        if served not in self.schedulers:
            raise UnknownModel(
                f"unknown model {name!r}; this server has {', '.join(self.schedulers)}"
            )
        return served

    def add_blind_names(self, names: Sequence[str]) -> list[str]:
        """Blind names for these models, in random order."""
        shuffled = [name for name in names if self.scheduler(name)]
        secrets.SystemRandom().shuffle(shuffled)
        added = {f"blind-{secrets.token_hex(8)}": name for name in shuffled}
        self.blind_names |= added
        while len(self.blind_names) > MAX_BLIND_NAMES:
            del self.blind_names[next(iter(self.blind_names))]
        return list(added)

    def requests(
        self,
        model: LoadedModel,
        prompts: Sequence[list[int]],
        *,
        num_responses: int,
        temperature: float,
        top_p: float,
        seed: int | None,
        max_new_tokens: int | None,
        alternatives: int,
    ) -> list[GenerationRequest]:
        """`num_responses` requests for each prompt.

        Args:
            model: the model that will generate.
            prompts: prompt ids; the caller has checked their lengths.
            num_responses: responses per prompt.
            temperature: sampling temperature.
            top_p: nucleus of the sampling.
            seed: seed of the sampling; random if None.
            max_new_tokens: maximum length; the server's default if None.
            alternatives: how many of the likeliest tokens to report with each token.

        Raises:
            BadRequest: a length beyond the server's limit.
        """
        wanted = max_new_tokens or self.limits.max_new_tokens
        if wanted > self.limits.max_new_tokens:
            raise BadRequest(
                f"max_tokens={wanted} is above this server's limit of "
                f"{self.limits.max_new_tokens}; use a smaller value, or start the server with a "
                "larger --max_new_tokens",
                param="max_tokens",
            )
        seed = secrets.randbelow(NUM_SEEDS) if seed is None else seed % NUM_SEEDS
        return [
            GenerationRequest(
                ids=prompt,
                sampling=Sampling(
                    temperature=temperature,
                    top_p=top_p,
                    max_new_tokens=min(wanted, remaining_positions(model, len(prompt), wanted)),
                    seed=seed,
                ),
                choice=choice,
                alternatives=alternatives,
            )
            for prompt in prompts
            for choice in range(num_responses)
        ]

    def check_length(self, model: LoadedModel, length: int) -> None:
        """Checks the length of a prompt against the server's limit and the model's positions.

        Raises:
            BadRequest: it is too long; the message has both numbers.
        """
        if length > self.limits.max_prompt_tokens:
            raise BadRequest(
                f"the prompt has {length} tokens; this server's limit is "
                f"{self.limits.max_prompt_tokens}",
                openai_code=TOO_LONG,
            )
        try:
            check_prompt_length(model, length)
        except DataError as error:
            raise BadRequest(str(error), openai_code=TOO_LONG) from error
