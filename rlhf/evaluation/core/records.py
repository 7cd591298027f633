"""Records: one response of one model with its scores, the input of all metrics."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from rlhf.data.tokenization.thoughts import with_thought
from rlhf.errors import DataError
from rlhf.manifest import write_atomically
from rlhf.runtime.printing import counted
from rlhf.types import PromptRow

RECORDS_FILE = "answers.jsonl"


@dataclass(frozen=True, kw_only=True)
class Record:
    """A response, its scores and its KL: one line of answers.jsonl."""

    prompt_index: int  # row of the evaluated prompts
    sample: int  # 0 … num_generations - 1
    model: str
    text: str  # without its thought
    num_tokens: int  # with the thought and the end-of-turn token
    ended_with_eos: bool
    kl: float | None = None  # nats from the reference, see kl.py; None: not comparable
    reference_nll: float | None = None  # nats of the response under the reference; None: as kl
    scores: Mapping[str, float] = field(default_factory=dict)  # judge -> score
    axes: Mapping[str, float | None] = field(default_factory=dict)  # axis -> score, None: no score
    thought: str = ""
    thought_tokens: int = 0

    @property
    def response(self) -> str:
        """The text, with its thought before it if there is one."""
        return with_thought(self.thought, self.text)


def by_prompt(records: Sequence[Record], model: str, num_prompts: int) -> list[list[Record]]:
    """[num_prompts] lists of the model's responses, in the order in which they were sampled."""
    groups: list[list[Record]] = [[] for _ in range(num_prompts)]
    for record in records:
        if record.model == model:
            groups[record.prompt_index].append(record)
    return [sorted(group, key=lambda record: record.sample) for group in groups]


def write_records(folder: Path, rows: Sequence[PromptRow], records: Sequence[Record]) -> Path:
    """Write `folder/answers.jsonl`: every response with its prompt, for later judges."""
    # Sorted: the file must not depend on batches and processes.
    ordered = sorted(records, key=lambda r: (r.prompt_index, r.model, r.sample))
    lines = [
        json.dumps({"prompt": rows[r.prompt_index].prompt, **asdict(r)}, ensure_ascii=False)
        for r in ordered
    ]
    path = folder / RECORDS_FILE
    write_atomically(path, "".join(line + "\n" for line in lines))
    return path


def read_records(path: Path) -> list[Record]:
    """The records of a file that `write_records` wrote."""
    rows = [json.loads(line) for line in _lines(path)]
    return [Record(**{k: v for k, v in row.items() if k != "prompt"}) for row in rows]


def _lines(path: Path) -> list[bytes]:
    """The lines as bytes: a text may contain U+2028, which ends a line of a str and not in JSON."""
    return path.read_bytes().splitlines()


def unscored_records(
    path: Path, rows: Sequence[PromptRow], models: Sequence[str], indices: Sequence[int]
) -> list[Record]:
    """The records of an earlier evaluation without their scores, to judge them again.

    Args:
        path: its answers.jsonl.
        rows: the prompts of this evaluation.
        models: the models whose records are needed.
        indices: the rows whose records are returned.

    Raises:
        DataError: there is no such file, a prompt differs, or a model lacks responses.
    """
    try:
        prompts = {row["prompt_index"]: row["prompt"] for row in map(json.loads, _lines(path))}
        records = read_records(path)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"answers={path} cannot be read: {error}; give the {RECORDS_FILE} of a finished "
            "evaluation.",
            code="unreadable-file",
        ) from error
    for index, row in enumerate(rows):
        if prompts.get(index) != row.prompt:
            raise DataError(
                f"answers={path} has other prompts: prompt {index} is {row.prompt!r} in this run "
                f"and {prompts.get(index)!r} in the file; use the same eval_data, max_prompts and "
                "seed.",
                code="other-run",
            )
    for model in models:
        if missing := {*range(len(rows))} - {r.prompt_index for r in records if r.model == model}:
            raise DataError(
                f"answers={path} has no response of model {model} to "
                f"{counted(len(missing), 'prompt')}; use the model names of that evaluation.",
                code="other-run",
            )
    wanted = {*indices}
    return [
        replace(record, scores={}, axes={})
        for record in records
        if record.model in models and record.prompt_index in wanted
    ]
