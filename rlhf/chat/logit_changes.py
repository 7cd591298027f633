"""What a request changes in the logits of its response: penalties, biases, a grammar."""

from collections import Counter
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from rlhf.chat.grammar import Grammar
from rlhf.chat.sampling import Sampling


class LogitChanges:
    """Changes for one response. It counts the tokens that were generated.

    Args:
        sampling: has the penalties.
        prompt: ids of the prompt, which the repetition penalty counts too.
        logit_bias: what is added to the logit of a token, by its id.
        grammar: what the response has to follow.
    """

    def __init__(
        self,
        sampling: Sampling,
        prompt: Sequence[int],
        logit_bias: Mapping[int, float],
        grammar: Grammar | None,
    ) -> None:
        self._sampling, self._bias = sampling, logit_bias
        self._prompt = set(prompt) if sampling.repetition_penalty != 1 else set()
        self._generated: Counter[int] = Counter()
        self._matcher = grammar.start() if grammar else None
        self.any = bool(sampling.has_penalties or logit_bias or grammar)

    def add(self, token: int, *, last: bool) -> None:
        """Count a token of the response; `last`: no token follows."""
        self._generated[token] += 1
        if self._matcher is not None and not last:
            self._matcher.add(token)

    def apply(self, logits: Tensor) -> Tensor:
        """The changed logits, float [V], of the next token.

        The repetition penalty (https://arxiv.org/abs/1909.05858) divides positive logits of tokens
        of prompt and response, and multiplies negative ones. The frequency and presence penalties
        are OpenAI's: they are subtracted for each time a token was generated, and once.
        """
        logits = logits.clone()
        sampling = self._sampling
        if sampling.repetition_penalty != 1:
            seen = _ids(self._prompt | set(self._generated), logits)
            penalty = sampling.repetition_penalty
            of_seen = logits[seen]
            logits[seen] = torch.where(of_seen > 0, of_seen / penalty, of_seen * penalty)
        if self._generated and (sampling.frequency_penalty or sampling.presence_penalty):
            counts = torch.tensor(list(self._generated.values())).to(logits)
            penalties = sampling.frequency_penalty * counts + sampling.presence_penalty
            logits[_ids(self._generated, logits)] -= penalties
        if self._bias:
            logits[_ids(self._bias, logits)] += torch.tensor(list(self._bias.values())).to(logits)
        if self._matcher is not None:
            allowed = self._matcher.allowed(len(logits)).to(logits.device)
            logits = logits.masked_fill(~allowed, -torch.inf)
        return logits


def _ids(tokens: "Mapping[int, float] | set[int]", logits: Tensor) -> Tensor:
    return torch.tensor(list(tokens), dtype=torch.long, device=logits.device)
