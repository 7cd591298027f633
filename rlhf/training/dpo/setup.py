"""The checks of a DPO run before a weight is loaded: keys, folder, tokenizer, rows."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rlhf.data.config import DataConfig
from rlhf.data.files.memory import RowsInMemory
from rlhf.data.held_out import load_train_and_held_out
from rlhf.data.rows.bad_rows import REJECTS, BadRows
from rlhf.data.rows.load import load_rankings
from rlhf.models.compatibility import load_checked_tokenizer
from rlhf.models.config import ModelConfig, use_bf16
from rlhf.models.recurrent import check_not_recurrent
from rlhf.runtime.run_folder import RunConfig
from rlhf.training.common.begin import begin_training, check_early_stopping
from rlhf.training.common.rankings import about_rankings, check_strengths
from rlhf.training.common.setup import RunSetup
from rlhf.training.dpo.config import DPOConfig
from rlhf.training.dpo.pairs import count_pairs
from rlhf.types import Ranking


@dataclass(frozen=True, kw_only=True)
class DPOSetup(RunSetup[Ranking, DPOConfig]):
    """All keys of a DPO run, its tokenizer and its rankings, checked."""

    @property
    def trains_policy(self) -> bool:
        """Whether rankings train a policy: they do."""
        return True

    @property
    def notes(self) -> list[str]:
        """What a user should know before the run starts, a sentence each."""
        return [
            *super().notes,
            *count_pairs(self.rows.train).lines(),
            *about_rankings(self.rows),
        ]


def check_run(
    run: RunConfig,
    model: ModelConfig,
    data: DataConfig,
    config: DPOConfig,
    *,
    train: RowsInMemory | None = None,
    held_out: RowsInMemory | None = None,
) -> DPOSetup:
    """The checked run. Call it on all processes.

    Args:
        run: the run folder and how the run starts.
        model: the policy to start from, which is the reference too.
        data: sources and options of rows.
        config: keys of the training.
        train: rankings in memory, in place of the sources of `train_data`.
        held_out: rankings in memory, in place of the sources of `eval_data`.

    Raises:
        ConfigError: keys that do not go together or have no effect on these rows, a folder that
            holds a run.
        CheckpointError: a model that cannot be built on.
        DataError: rows that cannot be used.
    """
    world_size, model = begin_training(run, model, config)
    path = model.model_name_or_path
    chat, _ = load_checked_tokenizer(
        path, data.chat_template, template_kwargs=data.template_kwargs, samples=False
    )
    if config.num_samples:
        check_not_recurrent(path, "train it with --num_samples 0")
    rejects = Path(run.output_dir) / REJECTS
    with BadRows(drop=data.drop_bad_rows, reject_file=rejects) as bad_rows:
        rows = load_train_and_held_out(
            partial(load_rankings, scores=config.score_columns, for_policy=True),
            data,
            chat,
            bad_rows,
            seed=run.seed,
            train=train,
            held_out=held_out,
        )
    if config.margin_coef:
        check_strengths(config.margin_coef, {row.strength for row in rows.train})
    check_early_stopping(config, rows, "rankings")
    return DPOSetup(
        run=run,
        model=model,
        data=data,
        config=config,
        world_size=world_size,
        bf16=use_bf16(model),
        chat=chat,
        rows=rows,
    )
