"""Responses of suites on disk while they are sampled, so that the same command continues."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from rlhf.evaluation.suites.prompts import SuitePrompt
from rlhf.rollouts.sample_journal import SampleJournal


@dataclass(frozen=True, kw_only=True)
class Turn:
    """The responses of one model to one turn of a suite, by row: prompt and sample."""

    journal: SampleJournal[str]
    part: int

    def get(self, row: int) -> str | None:
        """The response of a row; None if it is not there."""
        kept = self.journal.get(row, self.part)
        return None if kept is None else kept[0]

    def add(self, row: int, text: str) -> None:
        """Keep the response of a row. Threads may call it."""
        self.journal.add(row, self.part, [text])


Turns = Callable[[int], Turn]
"""The responses of one model to a suite, by turn."""


class AnswerJournal:
    """The responses of all models to all turns of all suites.

    Args:
        journal: where they are kept.
        models: their names.
        suites: the prompts of each suite.
    """

    def __init__(
        self,
        journal: SampleJournal[str],
        models: Sequence[str],
        suites: Mapping[str, Sequence[SuitePrompt]],
    ) -> None:
        self._journal = journal
        turns = {name: num_turns(prompts) for name, prompts in suites.items()}
        keys = (
            (model, name, turn) for model in models for name in turns for turn in range(turns[name])
        )
        self._parts = {key: part for part, key in enumerate(keys)}

    def turns(self, model: str, suite: str) -> Turns:
        """The model's responses to the suite, by turn."""
        return lambda turn: Turn(journal=self._journal, part=self._parts[model, suite, turn])

    def is_complete(
        self,
        model: str,
        suite: str,
        prompts: Sequence[SuitePrompt],
        indices: Sequence[int],
        num_generations: int,
    ) -> bool:
        """Whether all responses of the model to `prompts[i] for i in indices` are there."""
        turns = self.turns(model, suite)
        return all(
            turns(turn).get(index * num_generations + sample) is not None
            for index, sample in product(indices, range(num_generations))
            for turn in range(1 + len(prompts[index].later))
        )


def num_turns(prompts: Sequence[SuitePrompt]) -> int:
    """The user's turns in the longest conversation."""
    return 1 + max((len(prompt.later) for prompt in prompts), default=0)


def turns_in_memory() -> Turns:
    """Responses of a model to a suite that are not written."""
    journal = SampleJournal[str](None, {})
    return lambda turn: Turn(journal=journal, part=turn)
