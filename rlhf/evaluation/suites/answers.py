"""Responses to the prompts of a suite, with their values: made, written, read."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from rlhf.data.tokenization.chat import prompt_ids
from rlhf.errors import DataError
from rlhf.evaluation.core.sampling import EvaluatedModel
from rlhf.evaluation.suites.prompts import SuitePrompt
from rlhf.evaluation.suites.suite import Suite
from rlhf.manifest import hash_text, write_atomically
from rlhf.models.generation.generate import as_responses, generate, prompt_batch
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


@torch.no_grad()
def answer_suite(
    evaluated: EvaluatedModel,
    suite: Suite,
    prompts: Sequence[SuitePrompt],
    indices: Sequence[int],
    *,
    seed: int,
    batch_size: int,
) -> list[Answer]:
    """The model's responses to `prompts[i] for i in indices`, turn by turn.

    The random numbers of a response depend only on the seed, the suite, the prompt, the sample and
    the turn, not on the batch and the number of processes.

    Args:
        evaluated: the model with its tokenizer.
        suite: how the prompts are answered.
        prompts: all prompts of the suite.
        indices: which of them are answered.
        seed: of the run.
        batch_size: responses sampled at a time.

    Raises:
        DataError: a conversation that leaves no room for a response.
    """
    places = [(i, sample) for i in indices for sample in range(suite.num_generations)]
    responses: dict[tuple[int, int], list[str]] = {place: [] for place in places}
    turns = 1 + max((len(prompts[i].later) for i in indices), default=0)
    for turn in range(turns):
        open_places = [place for place in places if len(prompts[place[0]].later) >= turn]
        conversations = [prompts[place[0]].at_turn(responses[place]) for place in open_places]
        rows = [i * suite.num_generations + sample for i, sample in open_places]
        texts = _sample(
            evaluated, suite, conversations, rows, seed=seed + turn, batch_size=batch_size
        )
        for place, text in zip(open_places, texts, strict=True):
            responses[place].append(text)
    return [
        Answer(
            suite=suite.name,
            model=evaluated.name,
            key=prompts[i].key,
            sample=sample,
            prompt=prompts[i].prompt,
            later=list(prompts[i].later),
            responses=responses[i, sample],
            category=_category(prompts[i]),
        )
        for i, sample in places
    ]


def _sample(
    evaluated: EvaluatedModel,
    suite: Suite,
    prompts: Sequence[Prompt],
    rows: Sequence[int],
    *,
    seed: int,
    batch_size: int,
) -> list[str]:
    """One response to each prompt; `rows` are the keys of their random numbers."""
    chat = evaluated.chat
    encoded = [prompt_ids(chat, prompt) for prompt in prompts]
    _check_room(suite, evaluated, prompts, [len(ids) for ids in encoded])
    texts = [""] * len(prompts)
    order = sorted(range(len(prompts)), key=lambda place: -len(encoded[place]))
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        batch = prompt_batch(
            [encoded[place] for place in chosen],
            [prompts[place] for place in chosen],
            prompt_indices=[rows[place] for place in chosen],
            num_responses=1,
            pad_token_id=chat.pad_token_id,
            device=evaluated.model.device,
        )
        generated = generate(
            evaluated.model,
            batch,
            max_new_tokens=suite.max_completion_length,
            temperature=suite.temperature,
            eos_token_ids=chat.eos_token_ids,
            pad_token_id=chat.pad_token_id,
            seed=(seed + int(hash_text(suite.name)[:8], 16)) % (1 << 32),
            iteration=0,
        )
        for place, response in zip(chosen, as_responses(chat, generated), strict=True):
            texts[place] = response.text
    return texts


def _check_room(
    suite: Suite, evaluated: EvaluatedModel, prompts: Sequence[Prompt], lengths: Sequence[int]
) -> None:
    """Check that responses fit behind their prompts, where the model has a table of positions."""
    limit = evaluated.chat.max_positions
    for prompt, length in zip(prompts, lengths, strict=True):
        if limit is not None and length + suite.max_completion_length > limit:
            raise DataError(
                f"suite {suite.name}: the prompt {str(prompt)[-80:]!r} has {length} tokens, and "
                f"{evaluated.name} has {limit} positions for it and a response of up to "
                f"{suite.max_completion_length}; shorten it, or max_completion_length.",
                code="too-long",
            )


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
        lines: list[dict[str, Any]] = [
            json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()
        ]
        return [Answer(**line) for line in lines]
    except (OSError, ValueError, TypeError) as error:
        raise DataError(
            f"{path} cannot be read ({error}); give the output_dir of `rlhf evaluate --suite`.",
            code="unreadable-file",
        ) from error
