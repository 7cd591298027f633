"""Held-out prompts that occur in the training data, verbatim or nearly."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeGuard

from rlhf.data.files.read import Row, Unreadable, read_rows
from rlhf.data.rows.leakage import leaked_prompts
from rlhf.data.rows.sources import parse_source
from rlhf.data.tokenization.chat import as_messages
from rlhf.evaluation.core.diversity import Gram, ngrams, words
from rlhf.types import Message, Prompt, PromptRow

NGRAM = 8  # words
SHARE = 0.8  # of a prompt's words, the share from which Llama 2 calls a sample dirty
# A shorter prompt mostly follows a common pattern ("Tell me a story about …"): its n-grams occur in
# the training data although it does not. It is flagged only if it occurs there verbatim.
MIN_WORDS = 13


@dataclass(frozen=True, kw_only=True)
class Contamination:
    """The held-out prompts that occur in one training file; indices of prompts."""

    source: str
    exact: Sequence[int]  # equal except for case, spacing and punctuation
    overlapping: Sequence[int]  # not equal, but a training prompt shares most of their words


@dataclass(frozen=True, kw_only=True)
class TrainingPrompt:
    """The prompt of a training row with its good responses."""

    prompt: Prompt
    responses: Sequence[str]  # empty for a prompt alone


@dataclass(frozen=True, kw_only=True)
class ContaminationReport:
    """Which of the held-out prompts occur in the training files."""

    sources: Sequence[Contamination]
    flags: Sequence[bool]  # of each prompt; empty if there was no file to check

    @property
    def summary(self) -> str:
        """How many prompts are contaminated, for a log line."""
        if not self.flags:
            return "not checked for contamination (no train_data)"
        return f"{sum(self.flags)} of them in the training data"


def check_contamination(rows: Sequence[PromptRow], training: Sequence[str]) -> ContaminationReport:
    """Which of `rows` occur in each of the training files.

    A prompt overlaps a training prompt if the n-grams of `NGRAM` words that both share cover
    `SHARE` of its words. Rows of every type are read for their prompt. Rows without a prompt (plain
    text) and unreadable rows are skipped: training has reported them.
    """
    prompts = [row.prompt for row in rows]
    grams = _HeldOutGrams(prompts)
    sources = []
    for source in training:
        trained = [row.prompt for row in read_training_prompts(source)]
        exact = set(leaked_prompts(prompts, trained).leaked)
        near = grams.covered_by(trained) - exact
        sources.append(Contamination(source=source, exact=sorted(exact), overlapping=sorted(near)))
    flagged = {index for each in sources for index in (*each.exact, *each.overlapping)}
    flags = [index in flagged for index in range(len(rows))] if training else []
    return ContaminationReport(sources=sources, flags=flags)


def read_training_prompts(source: str) -> Iterator[TrainingPrompt]:
    """The prompts of a source (its weight is ignored), each with its good responses."""
    for _, row in read_rows(parse_source(source).name):
        if isinstance(row, Unreadable):
            continue
        prompt, turns = row.get("prompt"), row.get("messages")
        if prompt is None and _is_chat(turns) and turns:
            prompt = turns[:-1]
            row = {**row, "completion": turns[-1]["content"]}
        if prompt and (isinstance(prompt, str) or _is_chat(prompt)):
            yield TrainingPrompt(prompt=prompt, responses=_good_responses(row))


def prompt_text(prompt: Prompt) -> str:
    """The text of the prompt, its turns one after the other."""
    return "\n".join(turn["content"] for turn in as_messages(prompt))


class _HeldOutGrams:
    """The held-out prompts' n-grams, so that training files of any size are read once."""

    def __init__(self, prompts: Sequence[Prompt]) -> None:
        self.places: dict[Gram, list[tuple[int, int]]] = {}  # n-gram -> (prompt, position)
        self.lengths: dict[int, int] = {}
        for index, prompt in enumerate(prompts):
            text = prompt_text(prompt)
            length = len(words(text))
            if length < MIN_WORDS:
                continue
            self.lengths[index] = length
            for position, gram in enumerate(ngrams(text, NGRAM)):
                self.places.setdefault(gram, []).append((index, position))

    def covered_by(self, training: Sequence[Prompt]) -> set[int]:
        """Held-out prompts with `SHARE` of their words covered by one training prompt."""
        indices: set[int] = set()
        for prompt in training:
            covered: dict[int, set[int]] = {}
            for gram in set(ngrams(prompt_text(prompt), NGRAM)) if self.places else ():
                for index, position in self.places.get(gram, ()):
                    covered.setdefault(index, set()).update(range(position, position + NGRAM))
            indices |= {i for i, at in covered.items() if len(at) >= SHARE * self.lengths[i]}
        return indices


def _is_chat(turns: object) -> TypeGuard[list[Message]]:
    """Whether these are messages; training has reported other values."""
    return isinstance(turns, list) and all(
        isinstance(turn, dict) and isinstance(turn.get("content"), str) for turn in turns
    )


def _are_ranks(ranks: object, count: int) -> TypeGuard[list[int]]:
    are_integers = isinstance(ranks, list) and all(isinstance(rank, int) for rank in ranks)
    return are_integers and isinstance(ranks, list) and len(ranks) == count > 0


def _good_responses(row: Row) -> list[str]:
    """A demonstration's completion, the chosen response, the responses of rank 1."""
    ranked, ranks = row.get("responses"), row.get("ranks")
    responses: list[object]
    if isinstance(ranked, list) and _are_ranks(ranks, len(ranked)):
        best = min(ranks)
        responses = [text for text, rank in zip(ranked, ranks, strict=True) if rank == best]
    elif row.get("label") is False:  # a thumb down
        responses = []
    else:
        responses = [row.get("completion"), row.get("chosen")]
    texts = [each[-1]["content"] if _is_chat(each) and each else each for each in responses]
    return [text for text in texts if isinstance(text, str) and text.strip()]
