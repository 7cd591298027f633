"""The checks of a KTO run before a weight is loaded: keys, folder, tokenizer, rows."""

from dataclasses import dataclass
from pathlib import Path

from rlhf.data.config import DataConfig
from rlhf.data.files.memory import RowsInMemory
from rlhf.data.held_out import load_train_and_held_out
from rlhf.data.rows.bad_rows import REJECTS, BadRows
from rlhf.data.rows.load_thumbs import load_thumbs
from rlhf.errors import DataError
from rlhf.models.compatibility import load_checked_tokenizer
from rlhf.models.config import ModelConfig, use_bf16
from rlhf.models.recurrent import check_not_recurrent
from rlhf.runtime.run_folder import RunConfig
from rlhf.training.common.begin import begin_training, check_early_stopping
from rlhf.training.common.setup import RunSetup
from rlhf.training.kto.config import KTOConfig
from rlhf.training.kto.thumbs import thumb_weights
from rlhf.types import Thumb


@dataclass(frozen=True, kw_only=True)
class KTOSetup(RunSetup[Thumb, KTOConfig]):
    """All keys of a KTO run, its tokenizer and its thumbs, checked."""

    @property
    def notes(self) -> list[str]:
        """What a user should know before the run starts, a sentence each."""
        up = sum(row.desirable for row in self.rows.train)
        weights = thumb_weights(self.config, self.rows.train)
        return [
            *super().notes,
            f"{up} thumbs up of weight {weights.desirable:.3g}, {len(self.rows.train) - up} thumbs "
            f"down of weight {weights.undesirable:.3g}",
        ]


def check_run(
    run: RunConfig,
    model: ModelConfig,
    data: DataConfig,
    config: KTOConfig,
    *,
    train: RowsInMemory | None = None,
    held_out: RowsInMemory | None = None,
) -> KTOSetup:
    """The checked run. Call it on all processes.

    Args:
        run: the run folder and how the run starts.
        model: the policy to start from, which is the reference too.
        data: sources and options of rows.
        config: keys of the training.
        train: thumbs in memory, in place of the sources of `train_data`.
        held_out: thumbs in memory, in place of the sources of `eval_data`.

    Raises:
        ConfigError: keys that do not go together, a folder that holds a run.
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
            load_thumbs, data, chat, bad_rows, seed=run.seed, train=train, held_out=held_out
        )
    if len({row.desirable for row in rows.train}) < 2 and config.desirable_weight is None:
        kind = "up" if rows.train[0].desirable else "down"
        raise DataError(
            f"all {len(rows.train)} training rows are thumbs {kind}, so nothing tells good from "
            "bad responses; add the other kind, or set desirable_weight and undesirable_weight.",
            code="no-rows",
        )
    check_early_stopping(config, rows, "thumbs")
    return KTOSetup(
        run=run,
        model=model,
        data=data,
        config=config,
        world_size=world_size,
        bf16=use_bf16(model),
        chat=chat,
        rows=rows,
    )
