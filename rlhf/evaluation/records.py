"""One answer of one model with everything known of it: the rows that figures are made from."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rlhf.manifest import write_atomically
from rlhf.types import PromptRow

ANSWERS = "answers.jsonl"


@dataclass(frozen=True, kw_only=True)
class Record:
    """An answer, its scores and its KL: one line of answers.jsonl."""

    prompt_index: int  # row of the evaluated prompts
    sample: int  # 0 … num_generations - 1
    model: str
    text: str
    num_tokens: int  # the end-of-turn token counts
    ended_with_eos: bool
    kl: float | None = None  # nats from the reference, see divergence.py; None: not comparable
    reference_nll: float | None = None  # nats of the whole answer under the reference; None: as kl
    scores: Mapping[str, float] = field(default_factory=dict)  # judge -> score
    axes: Mapping[str, float | None] = field(default_factory=dict)  # axis -> score, None: no say


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
