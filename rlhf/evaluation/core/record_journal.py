"""Responses of an evaluation on disk while they are sampled, so that the same command continues."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any, Protocol, Self

from accelerate import PartialState

from rlhf.evaluation.core.config import EvaluateConfig, named_paths
from rlhf.evaluation.core.records import Record
from rlhf.manifest import hash_file, hash_text
from rlhf.rollouts.sample_journal import SUFFIX, SampleJournal, model_version
from rlhf.runtime.printing import counted
from rlhf.runtime.run_folder import JOURNALS
from rlhf.types import PromptRow


class RecordJournal:
    """The records of an evaluation, by model, prompt and sample.

    Args:
        journal: where they are kept.
        models: their names.
        num_generations: responses per prompt and model.
    """

    def __init__(
        self, journal: SampleJournal[dict[str, Any]], models: Sequence[str], num_generations: int
    ) -> None:
        self._journal, self._samples = journal, range(num_generations)
        self._parts = {key: part for part, key in enumerate(product(models, self._samples))}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._journal.__exit__(*error)

    @property
    def num_records(self) -> int:
        """How many records there are."""
        return self._journal.num_samples

    def get(self, model: str, prompt: int, sample: int) -> Record | None:
        """A record; None if it is not there."""
        kept = self._journal.get(prompt, self._parts[model, sample])
        return None if kept is None else Record(**kept[0])

    def of_prompts(self, model: str, prompts: Sequence[int]) -> list[Record] | None:
        """All records of these prompts, in their order; None if one is missing."""
        records: list[Record] = []
        for prompt, sample in product(prompts, self._samples):
            if (record := self.get(model, prompt, sample)) is None:
                return None
            records.append(record)
        return records

    def add(self, records: Sequence[Record]) -> None:
        """Keep the records. Threads may call it."""
        for record in records:
            part = self._parts[record.model, record.sample]
            self._journal.add(record.prompt_index, part, [asdict(record)])


class Sampled(Protocol):
    """The keys that say what responds, in an evaluation and in suites."""

    @property
    def models(self) -> list[str]: ...
    @property
    def per_device_eval_batch_size(self) -> int: ...
    @property
    def chat_template(self) -> str: ...
    @property
    def chat_template_kwargs(self) -> str | None: ...
    @property
    def bf16(self) -> bool: ...


def sampling_settings(config: Sampled, seed: int) -> dict[str, object]:
    """What the responses of an evaluation or of suites depend on, to the last bit.

    Batches and processes are part of it: they change sums of floating-point numbers.
    """
    paths, template = named_paths(config.models, "models"), Path(config.chat_template)
    return {
        "models": [[name, path, model_version(path)] for name, path in paths.items()],
        "seed": seed,
        "per_device_eval_batch_size": config.per_device_eval_batch_size,
        "chat_template": hash_file(template) if template.is_file() else config.chat_template,
        "chat_template_kwargs": config.chat_template_kwargs,
        "bf16": config.bf16,
        "device": PartialState().device.type,
        "num_processes": PartialState().num_processes,
    }


def settings_of(config: EvaluateConfig, rows: Sequence[PromptRow], seed: int) -> dict[str, object]:
    """What the records of an evaluation depend on."""
    texts = json.dumps([[row.prompt, row.tools] for row in rows])
    keys = ("num_generations", "max_completion_length", "temperature", "rollout_engine")
    return {
        **sampling_settings(config, seed),
        **{key: getattr(config, key) for key in keys},
        "reference": config.reference_name,
        "prompts": hash_text(texts),
    }


def journal_file(folder: Path, answers: str) -> Path:
    """The journal of this process for the file `answers` of the folder."""
    return folder / f"{answers}.{PartialState().process_index}{SUFFIX}"


def kept_line(file: Path, num_responses: int) -> str:
    """What the command prints about its journal."""
    found = f"continues after {counted(num_responses, 'response')} in" if num_responses else ""
    return (
        f"{found or 'responses are kept in'} {file}; if this run is interrupted, the same command "
        "continues"
    )


def delete_journals(folder: Path) -> None:
    """Delete the journals of all processes, once the results are written."""
    for pattern in JOURNALS:
        for path in folder.glob(pattern):
            path.unlink()
