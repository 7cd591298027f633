"""The checks of a reward-model run before a weight is loaded: keys, folder, tokenizer, rows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from rlhf.data.config import DataConfig
from rlhf.data.files.memory import RowsInMemory
from rlhf.data.held_out import load_train_and_held_out
from rlhf.data.rows.bad_rows import REJECTS, BadRows
from rlhf.data.rows.load import Loaded, load_rankings
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.errors import ConfigError
from rlhf.manifest import DataUse
from rlhf.models.compatibility import load_checked_tokenizer
from rlhf.models.config import ModelConfig, use_bf16
from rlhf.runtime.run_folder import RunConfig
from rlhf.training.common.begin import begin_training
from rlhf.training.common.rankings import about_rankings
from rlhf.training.common.setup import RunSetup
from rlhf.training.reward.config import RewardModelConfig
from rlhf.training.reward.validation import (
    check_rankings,
    load_normalization,
    without_undecided,
)
from rlhf.types import Demonstration, Ranking


@dataclass(frozen=True, kw_only=True)
class RewardSetup(RunSetup[Ranking, RewardModelConfig]):
    """All keys of a reward-model run, its tokenizer and its rows, checked."""

    demonstrations: Sequence[Demonstration] = ()  # the reward's mean on them becomes 0
    demonstration_uses: Sequence[DataUse] = ()

    @property
    def uses(self) -> Sequence[DataUse]:
        """Data files, for the manifest; those of the training rows first."""
        return [*self.rows.uses, *self.demonstration_uses]

    @property
    def notes(self) -> list[str]:
        """What a user should know before the run starts, a sentence each."""
        lines = [*super().notes, *about_rankings(self.rows)]
        if not self.demonstrations:
            lines.append("warning: no normalization_data; the reward keeps its own mean and scale")
        return lines


def check_run(
    run: RunConfig,
    model: ModelConfig,
    data: DataConfig,
    config: RewardModelConfig,
    *,
    train: RowsInMemory | None = None,
    held_out: RowsInMemory | None = None,
    normalization: RowsInMemory | None = None,
) -> RewardSetup:
    """The checked run. Call it on all processes.

    Args:
        run: the run folder and how the run starts.
        model: the model to start from.
        data: sources and options of rows.
        config: keys of the training.
        train: rankings in memory, in place of the sources of `train_data`.
        held_out: rankings in memory, in place of the sources of `eval_data`.
        normalization: demonstrations in memory, in place of `normalization_data`.

    Raises:
        ConfigError: keys that do not go together or have no effect on these rows, a folder that
            holds a run.
        CheckpointError: a model that cannot be built on.
        DataError: rows that cannot be used.
    """
    _check_objective(config)
    world_size, model = begin_training(run, model, config)
    chat = _tokenizer(model, data, config)
    load = _loader(config)
    rejects = Path(run.output_dir) / REJECTS
    with BadRows(drop=data.drop_bad_rows, reject_file=rejects) as bad_rows:
        rows = load_train_and_held_out(
            load, data, chat, bad_rows, seed=run.seed, train=train, held_out=held_out
        )
        source = config.normalization_data if normalization is None else normalization
        demonstrations, uses = load_normalization(source, data, chat, bad_rows)
    if config.ties == "out":
        rows = without_undecided(rows)
    check_rankings(config, rows)
    return RewardSetup(
        run=run,
        model=model,
        data=data,
        config=config,
        world_size=world_size,
        bf16=use_bf16(model),
        chat=chat,
        rows=rows,
        demonstrations=demonstrations,
        demonstration_uses=uses,
    )


def _check_objective(config: RewardModelConfig) -> None:
    if config.objective != "rankings":
        raise ConfigError(
            f"objective={config.objective} trains on labels of single responses, not on rankings; "
            "use RatingTrainer.",
            code="key-conflict",
        )


def _tokenizer(model: ModelConfig, data: DataConfig, config: RewardModelConfig) -> ChatTokenizer:
    chat, _ = load_checked_tokenizer(
        model.model_name_or_path,
        data.chat_template,
        template_kwargs=data.template_kwargs,
        judges=True,
    )
    return replace(chat, reads_thoughts=config.read_thoughts)


def _loader(config: RewardModelConfig) -> Callable[..., Loaded[Ranking]]:
    """`load_rankings` with the columns that the keys name."""
    return partial(
        load_rankings,
        keep_tied=True,
        scores=config.score_columns,
        weight_column=config.weight_column,
        probability_column=config.probability_column,
    )
