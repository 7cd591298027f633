"""What metrics are computed from: the models, the judges, the prompts and their categories."""

from collections.abc import Sequence
from dataclasses import dataclass

from rlhf.evaluation.core.records import Record
from rlhf.evaluation.stats.bootstrap import RESAMPLES

Groups = Sequence[Sequence[Record]]
"""[prompts][responses] of one model."""


@dataclass(frozen=True, kw_only=True)
class Judge:
    """The source of the scores under `key` of a record."""

    key: str
    kind: str  # gold, reward_model
    source: str | None = None  # its name, if there are several of a kind


@dataclass(frozen=True, kw_only=True)
class MetricSpec:
    """What to compute from the records: models, baseline, judges, subsets of prompts."""

    models: Sequence[str]
    baseline: str
    judges: Sequence[Judge]
    categories: Sequence[str | None]  # of each prompt, or None
    contaminated: Sequence[bool] = ()  # of each prompt; empty if contamination was not checked
    seed: int = 0
    resamples: int = RESAMPLES

    @property
    def bootstrap(self) -> dict[str, int]:
        """Keyword arguments of the estimators in `evaluation.stats`."""
        return {"seed": self.seed, "resamples": self.resamples}
