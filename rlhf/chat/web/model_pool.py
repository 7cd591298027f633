"""The models of a server by name, and the limits of requests to them."""

import secrets
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from rlhf.chat.backend import Backend
from rlhf.chat.engine import GenerationRequest
from rlhf.chat.grammar import Grammar, GrammarCompiler
from rlhf.chat.loading import LoadedModel
from rlhf.chat.policy_info import PolicyInfo
from rlhf.chat.prompt import check_prompt_length, remaining_positions
from rlhf.chat.sampling import NUM_SEEDS, Sampling
from rlhf.chat.web.errors import TOO_LONG, BadRequest
from rlhf.chat.web.limits import Limits
from rlhf.errors import ConfigError, DataError

MAX_BLIND_NAMES = 1000  # the oldest are forgotten


class UnknownModel(Exception):
    """No model of the server has this name."""


@dataclass(kw_only=True)
class ModelPool:
    """Backends by name. A blind comparison gives its models random names in a random order."""

    backends: dict[str, Backend]
    limits: Limits
    blind_names: dict[str, str] = field(default_factory=dict)  # blind name -> name
    _compilers: dict[Backend, GrammarCompiler] = field(default_factory=dict)
    _compiler_lock: threading.Lock = field(default_factory=threading.Lock)

    def backend(self, name: str) -> Backend:
        """The backend of a model, by its name or a blind name.

        Raises:
            UnknownModel: there is no such model.
        """
        return self.backends[self.served_name(name)]

    def served_name(self, name: str) -> str:
        """The name of a model, given that name or a blind name.

        Raises:
            UnknownModel: there is no such model.
        """
        served = self.blind_names.get(name, name)
        if served not in self.backends:
            raise UnknownModel(
                f"unknown model {name!r}; this server has {', '.join(self.backends)}"
            )
        return served

    def add_blind_names(self, names: Sequence[str]) -> list[str]:
        """Blind names for these models, in random order."""
        shuffled = [name for name in names if self.backend(name)]
        secrets.SystemRandom().shuffle(shuffled)
        added = {f"blind-{secrets.token_hex(8)}": name for name in shuffled}
        self.blind_names |= added
        while len(self.blind_names) > MAX_BLIND_NAMES:
            del self.blind_names[next(iter(self.blind_names))]
        return list(added)

    def requests(
        self,
        model: PolicyInfo,
        prompts: Sequence[list[int]],
        *,
        num_responses: int,
        sampling: Sampling,
        seed: int | None,
        max_new_tokens: int | None,
        alternatives: int,
        logit_bias: Mapping[int, float],
        grammar: Grammar | None,
    ) -> list[GenerationRequest]:
        """`num_responses` requests for each prompt.

        Args:
            model: the model that will generate.
            prompts: prompt ids; the caller has checked their lengths.
            num_responses: responses per prompt.
            sampling: how to sample; its seed and length are replaced.
            seed: seed of the sampling; random if None.
            max_new_tokens: maximum length; the server's default if None.
            alternatives: how many of the likeliest tokens to report with each token.
            logit_bias: what is added to the logits of tokens, by their ids.
            grammar: what each response has to follow, if anything.

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
                sampling=replace(
                    sampling,
                    max_new_tokens=min(wanted, remaining_positions(model, len(prompt), wanted)),
                    seed=seed,
                ),
                choice=choice,
                alternatives=alternatives,
                logit_bias=logit_bias,
                grammar=grammar,
            )
            for prompt in prompts
            for choice in range(num_responses)
        ]

    def compiler(self, backend: Backend) -> GrammarCompiler:
        """The compiler of grammars for a model, which is made when it is first needed.

        Raises:
            BadRequest: llguidance is not installed, cannot read the model's tokenizer, or the
                model runs on a server.
        """
        model = with_weights(backend, "responses that follow a grammar")
        with self._compiler_lock:
            if backend not in self._compilers:
                try:
                    compiler = GrammarCompiler(model.chat, model.vocab_size)
                except ConfigError as error:
                    raise BadRequest(str(error), openai_code="unsupported_parameter") from error
                self._compilers[backend] = compiler
            return self._compilers[backend]

    def check_length(self, model: PolicyInfo, length: int) -> None:
        """Checks the length of a prompt against the server's limit and the model's positions.

        LiteLLM knows the error by the words "prompt is too long", OpenAI's client by its code.

        Raises:
            BadRequest: it is too long; the message has both numbers.
        """
        if length > self.limits.max_prompt_tokens:
            raise BadRequest(
                f"the prompt is too long: it has {length} tokens, and this server's limit is "
                f"{self.limits.max_prompt_tokens}",
                openai_code=TOO_LONG,
            )
        try:
            check_prompt_length(model, length)
        except DataError as error:
            raise BadRequest(str(error), openai_code=TOO_LONG) from error


def with_weights(backend: Backend, purpose: str) -> LoadedModel:
    """The model with its weights.

    Args:
        backend: of the model.
        purpose: what the weights are needed for, in the plural.

    Raises:
        BadRequest: it runs on a server, which does not give them.
    """
    if isinstance(backend.model, LoadedModel):
        return backend.model
    raise BadRequest(
        f"{backend.model.name} runs on a vLLM server, which gives log-probs of tokens only: "
        f"{purpose} need the weights. Serve it with --backend native.",
        openai_code="unsupported_parameter",
    )
