"""Null baselines: responses that no model wrote, judged next to those of the models.

They show what a judge gives to an empty text, to length and to a lookup. A judge that prefers one
of them to a model does not measure what it should (Zheng et al. 2024,
https://arxiv.org/abs/2410.07137), and a model is only worth what it adds to a lookup in its
training data.
"""

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from rlhf.evaluation.core.config import CONSTANT, COPY, EMPTY, LONGEST, LOOKUP
from rlhf.evaluation.core.nearest_prompt import NearestPrompt
from rlhf.evaluation.core.records import Record
from rlhf.types import PromptRow


def baseline_records(
    rows: Sequence[PromptRow],
    indices: Sequence[int],
    sampled: Sequence[Record],
    lookup: NearestPrompt,
    count_tokens: Callable[[str], int],
) -> list[Record]:
    """The records of the null baselines for each of `rows[i] for i in indices`.

    Each baseline has one record per prompt; `lookup` can have several.

    - empty: no text.
    - constant: the most frequent text in `sampled`, for every prompt.
    - copy: the last turn of the prompt.
    - longest: the longest of the sampled responses to the prompt.
    - lookup: the responses to the nearest training prompt, at most as many as `sampled` has, drawn
      by the index; left out if no training row has a response.

    Args:
        rows: the evaluated prompts.
        indices: the rows to make records for.
        sampled: the baseline model's responses to all prompts.
        lookup: the training prompts with their responses.
        count_tokens: the tokens of a text without its EOS.
    """
    texts: dict[int, list[str]] = {}
    for record in sampled:
        texts.setdefault(record.prompt_index, []).append(record.text)
    constant = _most_frequent(texts)
    records = []
    for index in indices:
        prompt = rows[index].prompt
        own = texts.get(index, [""])
        responses: dict[str, Sequence[str]] = {
            EMPTY: [""],
            CONSTANT: [constant],
            COPY: [prompt if isinstance(prompt, str) else str(prompt[-1]["content"])],
            LONGEST: [max(sorted(own), key=len)],
        }
        if lookup:
            known = lookup.find(prompt).responses
            responses[LOOKUP] = random.Random(index).sample(known, min(len(known), len(own)))
        records += _records(index, responses, count_tokens)
    return records


def _most_frequent(texts: Mapping[int, Sequence[str]]) -> str:
    """The most frequent text that is not blank; of several the first in the alphabet."""
    counts = Counter(text for each in texts.values() for text in each if text.strip())
    # The alphabet decides, because the order of the records must not matter.
    return min(counts, key=lambda text: (-counts[text], text)) if counts else ""


def _records(
    index: int, responses: Mapping[str, Sequence[str]], count_tokens: Callable[[str], int]
) -> list[Record]:
    return [
        Record(
            prompt_index=index,
            sample=sample,
            model=name,
            text=text,
            num_tokens=count_tokens(text) + 1,
            ended_with_eos=True,
        )
        for name, texts in responses.items()
        for sample, text in enumerate(texts)
    ]
