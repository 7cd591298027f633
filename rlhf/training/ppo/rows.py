"""Rows of a run: prompts to train on, held-out prompts, pretraining texts."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rlhf.data.files.memory import Data
from rlhf.data.held_out import load_train_and_held_out_prompts
from rlhf.data.rows.bad_rows import REJECTS, BadRows
from rlhf.data.rows.load import load_prompts, load_texts
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.manifest import DataUse
from rlhf.training.ppo.settings import PPOSettings
from rlhf.types import PromptRow


@dataclass(frozen=True, kw_only=True)
class RowsInMemory:
    """Rows that a caller has, in place of the sources that keys name."""

    prompts: Data | None = None  # for train_data
    eval_prompts: Data | None = None  # for eval_data
    ptx_data: Data | None = None


@dataclass(frozen=True, kw_only=True)
class PPORows:
    """The checked rows of a run."""

    train: Sequence[PromptRow]
    held_out: Sequence[PromptRow]  # none without a source of them
    texts: Sequence[str]
    uses: Sequence[DataUse]  # for the manifest

    @property
    def splits(self) -> list[Sequence[PromptRow]]:
        """The rows to train on, and the held-out ones if there are any."""
        return [rows for rows in (self.train, self.held_out) if rows]


def load_rows(settings: PPOSettings, chat: ChatTokenizer, given: RowsInMemory) -> PPORows:
    """All rows of the run; the bad ones of all sources are listed together.

    Raises:
        DataError: rows that cannot be used.
    """
    rejects = Path(settings.run.output_dir) / REJECTS
    with BadRows(drop=settings.data.drop_bad_rows, reject_file=rejects) as bad_rows:
        load = partial(
            load_prompts,
            chat=chat,
            max_length=settings.ppo.max_prompt_length,
            response_length=settings.ppo.max_completion_length,
            bad_rows=bad_rows,
        )
        rows = load_train_and_held_out_prompts(
            load,
            settings.data,
            seed=settings.run.seed,
            train=given.prompts,
            held_out=given.eval_prompts,
        )
        texts, text_uses = _load_texts(settings, bad_rows, given.ptx_data)
    return PPORows(
        train=rows.train, held_out=rows.held_out, texts=texts, uses=[*rows.uses, *text_uses]
    )


def _load_texts(
    settings: PPOSettings, bad_rows: BadRows, data: Data | None
) -> tuple[Sequence[str], Sequence[DataUse]]:
    source = data if data is not None else settings.ppo.ptx_data
    if source is None:
        return [], []
    loaded = load_texts(source, role="ptx", bad_rows=bad_rows)
    return loaded.rows, [loaded.use]
