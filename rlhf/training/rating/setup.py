"""The checks of a run on verdicts or ratings before a weight is loaded."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from rlhf.data.config import DataConfig
from rlhf.data.files.memory import RowsInMemory
from rlhf.data.held_out import TrainAndHeldOut, load_train_and_held_out
from rlhf.data.rows.bad_rows import REJECTS, BadRows
from rlhf.data.rows.load_rated import load_outcomes, load_ratings
from rlhf.errors import ConfigError
from rlhf.manifest import DataUse
from rlhf.models.axes import Axis
from rlhf.models.compatibility import load_checked_tokenizer
from rlhf.models.config import ModelConfig, use_bf16
from rlhf.runtime.printing import counted
from rlhf.runtime.run_folder import RunConfig
from rlhf.training.common.begin import begin_training, check_early_stopping
from rlhf.training.common.rankings import trained_on
from rlhf.training.common.setup import RunSetup
from rlhf.training.rating.data import axis_scales, outcome_axis
from rlhf.training.reward.config import RewardModelConfig
from rlhf.training.reward.validation import load_normalization
from rlhf.types import Demonstration, RatedResponse


@dataclass(frozen=True, kw_only=True)
class RatingSetup(RunSetup[RatedResponse, RewardModelConfig]):
    """All keys of a run on verdicts or ratings, its tokenizer and its rows, checked."""

    axes: Sequence[Axis]  # of the heads
    demonstrations: Sequence[Demonstration] = ()  # the reward's mean on them becomes 0
    demonstration_uses: Sequence[DataUse] = ()

    @property
    def uses(self) -> Sequence[DataUse]:
        """Data files, for the manifest; those of the training rows first."""
        return [*self.rows.uses, *self.demonstration_uses]

    @property
    def notes(self) -> list[str]:
        """What a user should know before the run starts, a sentence each."""
        about = _about_outcome if self.config.objective == "outcome" else _about_axis
        lines = [*super().notes, *(about(axis, self.rows) for axis in self.axes)]
        if leaked := trained_on(self.rows):
            counts = f"{leaked} of {len(self.rows.held_out)} held-out responses"
            lines.append(
                f"warning: {counts} have prompts of the training data; metrics are too good"
            )
        if not self.demonstrations:
            lines.append("warning: no normalization_data; the reward keeps its own mean and scale")
        return lines


def _about_outcome(axis: Axis, rows: TrainAndHeldOut[RatedResponse]) -> str:
    """The training verdicts."""
    right = sum(row.ratings[axis.name] for row in rows.train)
    return f"{right:.0f} correct responses, {len(rows.train) - right:.0f} wrong ones"


def _about_axis(axis: Axis, rows: TrainAndHeldOut[RatedResponse]) -> str:
    """The training ratings of an axis."""
    count = sum(axis.name in row.ratings for row in rows.train)
    return (
        f"{axis.name}: {counted(count, 'rating')} of {len(rows.train)} responses, "
        f"{axis.mean:.3g} ± {axis.std:.3g}, weight {axis.weight:g}"
    )


def check_run(
    run: RunConfig,
    model: ModelConfig,
    data: DataConfig,
    config: RewardModelConfig,
    *,
    train: RowsInMemory | None = None,
    held_out: RowsInMemory | None = None,
    normalization: RowsInMemory | None = None,
) -> RatingSetup:
    """The checked run. Call it on all processes.

    Args:
        run: the run folder and how the run starts.
        model: the model to start from.
        data: sources and options of rows.
        config: keys of the training, whose objective is outcome or axes.
        train: rated responses in memory, in place of the sources of `train_data`.
        held_out: rated responses in memory, in place of the sources of `eval_data`.
        normalization: demonstrations in memory, in place of `normalization_data`.

    Raises:
        ConfigError: keys that do not go together, a folder that holds a run.
        CheckpointError: a model that cannot be built on.
        DataError: rows that cannot be used, labels that do not differ.
    """
    if config.objective == "rankings":
        raise ConfigError(
            "objective=rankings trains on comparisons; use objective=outcome or axes here, or "
            "RewardTrainer.",
            code="key-conflict",
        )
    world_size, model = begin_training(run, model, config)
    chat, _ = load_checked_tokenizer(
        model.model_name_or_path,
        data.chat_template,
        template_kwargs=data.template_kwargs,
        judges=True,
    )
    chat = replace(chat, reads_thoughts=config.read_thoughts)
    weights = config.weight_of_axis
    load = partial(load_ratings, axes=list(weights)) if weights else load_outcomes
    rejects = Path(run.output_dir) / REJECTS
    with BadRows(drop=data.drop_bad_rows, reject_file=rejects) as bad_rows:
        rows = load_train_and_held_out(
            load, data, chat, bad_rows, seed=run.seed, train=train, held_out=held_out
        )
        source = config.normalization_data if normalization is None else normalization
        demonstrations, uses = load_normalization(source, data, chat, bad_rows)
    axes = axis_scales(rows.train, weights) if weights else outcome_axis(rows.train)
    check_early_stopping(config, rows, "responses")
    return RatingSetup(
        run=run,
        model=model,
        data=data,
        config=config,
        world_size=world_size,
        bf16=use_bf16(model),
        chat=chat,
        rows=rows,
        axes=axes,
        demonstrations=demonstrations,
        demonstration_uses=uses,
    )
