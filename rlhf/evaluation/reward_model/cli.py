"""`python -m rlhf.evaluation.reward_model.cli`: a report on any reward model.

    python -m rlhf.evaluation.reward_model.cli --reward_model DIR --rankings FILE \\
        --demonstrations FILE --output_dir DIR

The reward model is a folder or a hub id of a sequence classifier with one label, or the YAML file
of a generative reward model. The exit status is 0 whatever the verdict, which is in gate.json.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import torch

from rlhf.data.config import TEMPLATE_KWARGS
from rlhf.data.rows.bad_rows import REJECTS, BadRows
from rlhf.data.rows.load import load_demonstrations, load_rankings
from rlhf.data.rows.load_rated import load_outcomes, load_ratings
from rlhf.data.tokenization.template import parse_template_kwargs
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.errors import ConfigError
from rlhf.evaluation.reward_model.rated_report import make_rated_report
from rlhf.evaluation.reward_model.report import (
    RewardReport,
    make_report,
    print_report,
    write_reward_report,
)
from rlhf.models.compatibility import load_checked_tokenizer
from rlhf.rewards.function import is_generative
from rlhf.rewards.generative import GenerativeReward
from rlhf.rewards.model import RewardModel
from rlhf.runtime.config import parse_config
from rlhf.runtime.distributed import start_processes
from rlhf.runtime.entrypoint import run
from rlhf.runtime.paths import make_folder
from rlhf.runtime.printing import counted, quiet_logs
from rlhf.types import Demonstration, Ranking, RatedResponse

LABELS = ("rankings", "outcomes", "ratings")


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """The reward model and the data of its report."""

    JSON_KEYS: ClassVar[Sequence[str]] = ("chat_template_kwargs",)

    reward_model: str = field(
        metadata={"help": "Folder or hub id of the reward model, or a generative one's YAML file."}
    )
    rankings: str | None = field(
        default=None, metadata={"help": "Held-out rankings that it was not trained on."}
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

    def __post_init__(self) -> None:
        given = [name for name in LABELS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ConfigError(
                f"{' and '.join(given) or 'no held-out labels'}: give one of {', '.join(LABELS)}.",
                code="key-conflict" if given else "missing-key",
            )


def main() -> None:
    """Score, judge, write, print."""
    (config,) = parse_config(ReportConfig, description=__doc__)
    start_processes(config.cpu_threads)
    quiet_logs()
    folder = Path(config.output_dir)
    make_folder(folder)
    model = load_scorer(config)
    with BadRows(drop=config.drop_bad_rows, reject_file=folder / REJECTS) as bad_rows:
        rows = load_held_out(config, model, bad_rows)
        demonstrations = (
            load_demonstrations(config.demonstrations, chat=_judging(model), bad_rows=bad_rows).rows
            if config.demonstrations
            else []
        )
    report = report_of(config, model, rows, demonstrations)
    write_reward_report(folder, report)
    print_report(report, f"{config.reward_model}: {counted(len(rows), 'held-out row')}")


def load_scorer(config: ReportConfig) -> RewardModel | GenerativeReward:
    """The reward model on this machine's device.

    Raises:
        ConfigError: the key of its labels does not fit it, or a template is given for a generative
            one.
        CheckpointError: it does not load.
    """
    device = torch.accelerator.current_accelerator() or torch.device("cpu")
    if is_generative(config.reward_model):
        if config.chat_template != "auto" or config.chat_template_kwargs:
            raise ConfigError(
                f"{config.reward_model} names its own chat template; leave chat_template out.",
                code="key-conflict",
            )
        generative = GenerativeReward(config.reward_model)
        generative.use(device)
        return generative
    variables = parse_template_kwargs(config.chat_template_kwargs)
    load_checked_tokenizer(
        config.reward_model, config.chat_template, template_kwargs=variables, judges=True
    )
    return RewardModel(
        config.reward_model,
        chat_template=config.chat_template,
        template_kwargs=variables,
        device=device,
    )


def load_held_out(
    config: ReportConfig, model: RewardModel | GenerativeReward, bad_rows: BadRows
) -> Sequence[Ranking] | Sequence[RatedResponse]:
    """The held-out rows of the one key that names them.

    Raises:
        ConfigError: the model was not trained on such labels.
    """
    chat = _judging(model)
    if config.rankings is not None:
        return load_rankings(
            config.rankings, role="eval", chat=chat, bad_rows=bad_rows, keep_tied=True
        ).rows
    needed = "outcome" if config.outcomes is not None else "axes"
    if not isinstance(model, RewardModel) or model.objective != needed or not model.axes:
        raise ConfigError(
            f"{config.reward_model} is no model of objective={needed}; give rankings, or a model "
            f"that was trained with objective={needed}.",
            code="key-conflict",
        )
    if config.outcomes is not None:
        return load_outcomes(config.outcomes, role="eval", chat=chat, bad_rows=bad_rows).rows
    assert config.ratings is not None
    axes = [axis.name for axis in model.axes]
    return load_ratings(config.ratings, role="eval", chat=chat, bad_rows=bad_rows, axes=axes).rows


def report_of(
    config: ReportConfig,
    model: RewardModel | GenerativeReward,
    rows: Sequence[Ranking] | Sequence[RatedResponse],
    demonstrations: Sequence[Demonstration],
) -> RewardReport:
    """The report on these rows."""
    if config.rankings is None:
        assert isinstance(model, RewardModel)
        return make_rated_report(
            model,
            [row for row in rows if isinstance(row, RatedResponse)],
            demonstrations,
            is_outcome=config.outcomes is not None,
            name="reward_model",
            num_demonstrations=config.num_demonstrations,
            seed=config.seed,
        )
    return make_report(
        model,
        [row for row in rows if isinstance(row, Ranking)],
        demonstrations,
        name="reward_model",
        num_demonstrations=config.num_demonstrations,
        seed=config.seed,
        are_logits=isinstance(model, RewardModel) and model.objective == "rankings",
    )


def _judging(model: RewardModel | GenerativeReward) -> ChatTokenizer | None:
    """The tokenizer that counts a row's tokens; a rubric adds its own text to them."""
    return model.chat if isinstance(model, RewardModel) else None


if __name__ == "__main__":
    run(main, name="rlhf.evaluation.reward_model.cli")
