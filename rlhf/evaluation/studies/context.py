"""The arguments that all studies share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rlhf.evaluation.core.config import EvaluateConfig
from rlhf.evaluation.core.metrics import MetricSpec
from rlhf.evaluation.core.records import Record
from rlhf.evaluation.core.study_config import StudyConfig
from rlhf.evaluation.judges.scoring import ScoringJudge
from rlhf.types import PromptRow


@dataclass(frozen=True, kw_only=True)
class StudyContext:
    """An evaluation as the studies see it: its keys, its judges, and what was sampled."""

    config: EvaluateConfig
    study: StudyConfig
    spec: MetricSpec
    judges: Sequence[ScoringJudge]
    rows: Sequence[PromptRow]
    records: Sequence[Record]
    folder: Path  # of the run
    log: Callable[[str], None]
