"""Responses of an evaluation on disk while they are sampled, so that the same command continues."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any, Protocol

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


def open_journal(
    folder: Path | None,
    answers: str,
    settings: Mapping[str, object],
    log: Callable[[str], None],
    *,
    replaces: bool,
) -> SampleJournal[Any]:
    """The journal of this process for the file `answers` of the folder.

    Args:
        folder: the output folder; None keeps the responses in memory only.
        answers: name of the file that has the responses of all processes in the end.
        settings: what they depend on.
        log: told how many responses there are.
        replaces: whether a journal of other settings is replaced; else it raises.

    Raises:
        ConfigError: the journal has responses of other settings.
    """
    if folder is None:
        return SampleJournal(None, {})
    file = folder / f"{answers}.{PartialState().process_index}{SUFFIX}"
    journal = SampleJournal[Any](
        file,
        settings,
        log if replaces else None,
        instead="sample all again with --overwrite true",
    )
    count = journal.num_samples
    found = f"continues after {counted(count, 'response')} in" if count else "responses are kept in"
    log(f"{found} {file}; if this run is interrupted, the same command continues")
    return journal


def delete_journals(folder: Path) -> None:
    """Delete the journals once the results are written. Call it on all processes.

    Those on another machine may be on its own disk.
    """
    for pattern in JOURNALS:
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)
