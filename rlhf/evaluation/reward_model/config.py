"""Keys of the report on a reward model."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from rlhf.data.config import TEMPLATE_KWARGS
from rlhf.errors import ConfigError

LABELS = ("rankings", "outcomes", "ratings")


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """The reward model and the data of its report."""

    JSON_KEYS: ClassVar[Sequence[str]] = ("chat_template_kwargs",)

    reward_model: str | None = field(
        default=None,
        metadata={
            "help": "Folder or hub id of the reward model, or a generative one's YAML file. With "
            "benchmark any source of rewards, or `length`."
        },
    )
    rankings: str | None = field(
        default=None, metadata={"help": "Held-out rankings that it was not trained on."}
    )
    probability_column: str | None = field(
        default=None,
        metadata={
            "help": "Column of rankings with the share of people who prefer a response, as in "
            "`rlhf reward`."
        },
    )
    outcomes: str | None = field(
        default=None,
        metadata={"help": "In place of rankings, held-out verdicts for a model of verdicts."},
    )
    ratings: str | None = field(
        default=None,
        metadata={"help": "In place of rankings, held-out ratings for a model of axes."},
    )
    output_dir: str = field(metadata={"help": "Folder of evaluation.json and gate.json."})
    demonstrations: str | None = field(
        default=None,
        metadata={"help": "Demonstrations, compared with shuffled, empty and off-topic ones."},
    )
    num_demonstrations: int = field(
        default=200, metadata={"help": "Number of demonstrations to score."}
    )
    seed: int = field(
        default=0, metadata={"help": "Seed of the drawn demonstrations and of the shuffling."}
    )
    chat_template: str = field(default="auto", metadata={"help": "auto, none, or a file."})
    chat_template_kwargs: str | None = field(default=None, metadata=TEMPLATE_KWARGS)
    drop_bad_rows: bool = field(
        default=False, metadata={"help": "Drop bad rows instead of stopping."}
    )
    cpu_threads: int | None = field(default=None, metadata={"help": "CPU threads."})


def check_report(config: ReportConfig) -> str:
    """The reward model of a report, after a check that there are labels to compare it with.

    Raises:
        ConfigError: there is no reward model, not exactly one kind of labels, or a key without
            effect.
    """
    if config.reward_model is None:
        raise ConfigError(
            "reward_model has no default; give --reward_model VALUE or write it into the --config "
            "file.",
            code="missing-key",
        )
    given = [name for name in LABELS if getattr(config, name) is not None]
    if len(given) != 1:
        raise ConfigError(
            f"{' and '.join(given) or 'no held-out labels'}: give one of {', '.join(LABELS)}.",
            code="key-conflict" if given else "missing-key",
        )
    if config.probability_column is not None and config.rankings is None:
        raise ConfigError(
            "probability_column is a column of rankings; give rankings, or leave it out.",
            code="key-conflict",
        )
    return config.reward_model
