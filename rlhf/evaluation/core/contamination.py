"""Held-out prompts that the models were trained on after all, word for word or nearly."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeGuard

from rlhf.data.files.read import Row, Unreadable, read_rows
from rlhf.data.rows.leakage import leaked_prompts
from rlhf.data.rows.sources import parse_source
from rlhf.data.tokenization.chat import as_messages
from rlhf.evaluation.core.diversity import Gram, ngrams, words
from rlhf.types import Prompt, PromptRow

NGRAM = 8  # words
SHARE = 0.8  # of a prompt's words, as Llama 2 calls a sample dirty
# A shorter prompt is mostly the pattern of its sentence ("Tell me a story about …"): its n-grams
# stand in the training data without its being there. It is flagged only where it stands there.
MIN_WORDS = 13


@dataclass(frozen=True, kw_only=True)
class Contamination:
    """Which held-out prompts one training file holds; indices of prompts."""

    source: str
    exact: Sequence[int]  # equal but for case, spacing and punctuation
    overlapping: Sequence[int]  # not equal, but a training prompt shares most of their words


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A training row as the baselines and the contamination check see it."""

    prompt: Prompt
    answers: Sequence[str]  # those that the row holds up as good; none of a prompt alone


def contamination(rows: Sequence[PromptRow], training: Sequence[str]) -> list[Contamination]:
    """For each training file the held-out prompts that stand in it.

    A prompt overlaps where n-grams of `NGRAM` words that it shares with one training prompt cover
    `SHARE` of its words. Rows of any type are read for their prompt; rows without one (plain
    text) are passed over, as are unreadable ones: training has reported them.
    """
    grams = _Grams([row.prompt for row in rows])
    found = []
    for source in training:
        prompts = [seen.prompt for seen in seen_rows(source)]
        exact = set(leaked_prompts([row.prompt for row in rows], prompts).leaked)
        near = grams.covered_by(prompts) - exact
        found.append(Contamination(source=source, exact=sorted(exact), overlapping=sorted(near)))
    return found


def flagged(found: Sequence[Contamination], count: int) -> list[bool]:
    """For each of `count` held-out prompts whether any file holds it."""
    every = {index for one in found for index in (*one.exact, *one.overlapping)}
    return [index in every for index in range(count)]


def seen_rows(source: str) -> Iterator[Seen]:
    """The prompts of a source, whatever its weight, each with the answers held up as good."""
    for _, row in read_rows(parse_source(source).name):
        if isinstance(row, Unreadable):
            continue
        prompt, turns = row.get("prompt"), row.get("messages")
        if prompt is None and _is_chat(turns) and turns:
            prompt = turns[:-1]
            row = {**row, "completion": turns[-1]["content"]}
        if prompt and (isinstance(prompt, str) or _is_chat(prompt)):
            yield Seen(prompt=prompt, answers=_good_answers(row))


def _is_chat(turns: object) -> TypeGuard[list[dict[str, str]]]:
    """Whether these are messages; training has reported what is none."""
    return isinstance(turns, list) and all(
        isinstance(turn, dict) and isinstance(turn.get("content"), str) for turn in turns
    )


def prompt_words(prompt: Prompt) -> str:
    """What the prompt says, its turns one after the other."""
    return "\n".join(turn["content"] for turn in as_messages(prompt))


class _Grams:
    """The held-out prompts' n-grams, so that training files of any size are read once."""

    def __init__(self, prompts: Sequence[Prompt]) -> None:
        self.places: dict[Gram, list[tuple[int, int]]] = {}  # n-gram -> (prompt, position)
        self.lengths: dict[int, int] = {}
        for index, prompt in enumerate(prompts):
            text = prompt_words(prompt)
            length = len(words(text))
            if length < MIN_WORDS:
                continue
            self.lengths[index] = length
            for position, gram in enumerate(ngrams(text, NGRAM)):
                self.places.setdefault(gram, []).append((index, position))

    def covered_by(self, training: Sequence[Prompt]) -> set[int]:
        """Held-out prompts of which one training prompt covers `SHARE` of the words."""
        found: set[int] = set()
        for prompt in training:
            covered: dict[int, set[int]] = {}
            for gram in set(ngrams(prompt_words(prompt), NGRAM)) if self.places else ():
                for index, position in self.places.get(gram, ()):
                    covered.setdefault(index, set()).update(range(position, position + NGRAM))
            found |= {i for i, at in covered.items() if len(at) >= SHARE * self.lengths[i]}
        return found


def _are_ranks(ranks: object, count: int) -> TypeGuard[list[int]]:
    whole = isinstance(ranks, list) and all(isinstance(rank, int) for rank in ranks)
    return whole and isinstance(ranks, list) and len(ranks) == count > 0


def _good_answers(row: Row) -> list[str]:
    """A demonstration's completion, the chosen answer, those of rank 1."""
    responses, ranks = row.get("responses"), row.get("ranks")
    if isinstance(responses, list) and _are_ranks(ranks, len(responses)):
        best: Mapping[int, str] = {i: r for i, r in enumerate(responses) if ranks[i] == min(ranks)}
        answers: list[object] = list(best.values())
    elif row.get("label") is False:  # a thumb down
        answers = []
    else:
        answers = [row.get("completion"), row.get("chosen")]
    texts = [answer[-1]["content"] if _is_chat(answer) and answer else answer for answer in answers]
    return [text for text in texts if isinstance(text, str) and text.strip()]
