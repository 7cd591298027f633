"""One answer of one model with everything known of it: the rows that figures are made from."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from rlhf.data.tokenization.thoughts import with_thought
from rlhf.errors import DataError
from rlhf.manifest import write_atomically
from rlhf.types import PromptRow

ANSWERS = "answers.jsonl"


@dataclass(frozen=True, kw_only=True)
class Record:
    """An answer, its scores and its KL: one line of answers.jsonl."""

    prompt_index: int  # row of the evaluated prompts
    sample: int  # 0 … num_generations - 1
    model: str
    text: str  # without its thought
    num_tokens: int  # the thought's and the end-of-turn token count
    ended_with_eos: bool
    kl: float | None = None  # nats from the reference, see divergence.py; None: not comparable
    reference_nll: float | None = None  # nats of the whole answer under the reference; None: as kl
    scores: Mapping[str, float] = field(default_factory=dict)  # judge -> score
    axes: Mapping[str, float | None] = field(default_factory=dict)  # axis -> score, None: no say
    thought: str = ""
    thought_tokens: int = 0

    @property
    def response(self) -> str:
        """The text with its thought before it, where there is one."""
        return with_thought(self.thought, self.text)


def by_prompt(records: Sequence[Record], model: str, num_prompts: int) -> list[list[Record]]:
    """[num_prompts] lists of the model's answers, in the order they were sampled."""
    groups: list[list[Record]] = [[] for _ in range(num_prompts)]
    for record in records:
        if record.model == model:
            groups[record.prompt_index].append(record)
    return [sorted(group, key=lambda record: record.sample) for group in groups]


def write_records(folder: Path, rows: Sequence[PromptRow], records: Sequence[Record]) -> Path:
    """Write `folder/answers.jsonl`: every answer with its prompt, for any later judge."""
    # In an order of its own: batches and processes must not show in the file.
    ordered = sorted(records, key=lambda r: (r.prompt_index, r.model, r.sample))
    lines = [
        json.dumps({"prompt": rows[r.prompt_index].prompt, **asdict(r)}, ensure_ascii=False)
        for r in ordered
    ]
    path = folder / ANSWERS
    write_atomically(path, "".join(line + "\n" for line in lines))
    return path


def read_records(path: Path) -> list[Record]:
    """The records of an answers.jsonl."""
    rows: list[dict[str, Any]] = [
        json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()
    ]
    return [Record(**{k: v for k, v in row.items() if k != "prompt"}) for row in rows]


def kept_records(
    path: Path, rows: Sequence[PromptRow], models: Sequence[str], indices: Sequence[int]
) -> list[Record]:
    """The models' records of `rows[i] for i in indices`, without their scores.

    Raises:
        DataError: no such file, another prompt behind an index, or a model without answers.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        prompts = {row["prompt_index"]: row["prompt"] for row in map(json.loads, lines)}
        found = read_records(path)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"answers {path} cannot be read: {error}.") from error
    for index, row in enumerate(rows):
        if prompts.get(index) != row.prompt:
            raise DataError(
                f"answers {path} are not of these prompts: number {index} is {row.prompt!r} here "
                f"and {prompts.get(index)!r} there; give the same eval_data, max_prompts and seed."
            )
    for model in models:
        if missing := {*range(len(rows))} - {r.prompt_index for r in found if r.model == model}:
            raise DataError(
                f"answers {path} hold none of model {model} to {len(missing)} prompts; name the "
                "models as that evaluation did."
            )
    wanted = {*indices}
    return [
        replace(record, scores={}, axes={})
        for record in found
        if record.model in models and record.prompt_index in wanted
    ]
