"""Responses to the prompts of a suite, with their values: made, written, read."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rlhf.errors import DataError
from rlhf.evaluation.suites.journal import Turns, num_turns, turns_in_memory
from rlhf.evaluation.suites.prompts import SuitePrompt
from rlhf.evaluation.suites.respond import Respond
from rlhf.evaluation.suites.suite import Suite
from rlhf.manifest import write_atomically
from rlhf.types import Prompt

ANSWERS = "suite_answers.jsonl"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A model's responses to one prompt, one per turn: a line of suite_answers.jsonl."""

    suite: str
    model: str
    key: str  # of the prompt
    sample: int  # 0 … num_generations - 1
    prompt: Prompt
    later: Sequence[str]
    responses: Sequence[str]
    category: str | None = None
    values: Mapping[str, Sequence[float]] = field(default_factory=dict)  # by figure


def answer_suite(
    model: str,
    respond: Respond,
    suite: Suite,
    prompts: Sequence[SuitePrompt],
    indices: Sequence[int],
    *,
    seed: int,
    kept: Turns | None = None,
) -> list[Answer]:
    """The model's responses to `prompts[i] for i in indices`, turn by turn.

    The random numbers of a response depend only on the seed, the suite, the prompt, the sample and
    the turn, not on the batch and the number of processes.

    Args:
        model: its name.
        respond: gives a response to each of several prompts.
        suite: how the prompts are answered.
        prompts: all prompts of the suite.
        indices: which of them are answered.
        seed: of the run.
        kept: responses that are there, by turn; the others are added. Default: none.

    Raises:
        DataError: a conversation that leaves no room for a response.
        TrainingError: a server that was lost.
    """
    places = [(i, sample) for i in indices for sample in range(suite.num_generations)]
    responses: dict[tuple[int, int], list[str]] = {place: [] for place in places}
    kept = kept or turns_in_memory()
    for turn in range(num_turns([prompts[i] for i in indices])):
        open_places = [place for place in places if len(prompts[place[0]].later) >= turn]
        conversations = [prompts[place[0]].at_turn(responses[place]) for place in open_places]
        rows = [i * suite.num_generations + sample for i, sample in open_places]
        texts = respond(suite, conversations, rows, seed + turn, kept(turn))
        for place, text in zip(open_places, texts, strict=True):
            responses[place].append(text)
    return [
        Answer(
            suite=suite.name,
            model=model,
            key=prompts[i].key,
            sample=sample,
            prompt=prompts[i].prompt,
            later=list(prompts[i].later),
            responses=responses[i, sample],
            category=_category(prompts[i]),
        )
        for i, sample in places
    ]


def _category(prompt: SuitePrompt) -> str | None:
    value = prompt.columns.get("category")
    return None if value is None else str(value)


def write_answers(folder: Path, answers: Iterable[Answer]) -> Path:
    """Write `folder/suite_answers.jsonl`, sorted, so that it does not depend on processes."""
    ordered = sorted(answers, key=lambda one: (one.suite, one.model, one.key, one.sample))
    lines = [json.dumps(asdict(one), ensure_ascii=False) for one in ordered]
    path = folder / ANSWERS
    write_atomically(path, "".join(f"{line}\n" for line in lines))
    return path


def read_answers(folder: Path) -> list[Answer]:
    """The answers of an earlier run of suites.

    Raises:
        DataError: there are none, or the file has another format.
    """
    path = folder / ANSWERS
    try:
        # Bytes: a text may contain U+2028, which ends a line of a str and not in JSON.
        lines: list[dict[str, Any]] = [json.loads(line) for line in path.read_bytes().splitlines()]
        return [Answer(**line) for line in lines]
    except (OSError, ValueError, TypeError) as error:
        raise DataError(
            f"{path} cannot be read ({error}); give the output_dir of `rlhf evaluate --suite`.",
            code="unreadable-file",
        ) from error
