"""Answers that no model wrote: what a judge gives to nothing, to length, to a lookup.

A judge that prefers one of these to a model measures something else than what was wanted (Zheng
et al. 2024, https://arxiv.org/abs/2410.07137), and a model is only as good as what it adds to a
lookup in its training data.
"""

import random
from collections import Counter
from collections.abc import Mapping, Sequence

from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.evaluation.core.config import CONSTANT, COPY, EMPTY, LONGEST, LOOKUP
from rlhf.evaluation.core.nearest_prompt import NearestPrompt
from rlhf.evaluation.core.records import Record
from rlhf.types import PromptRow


def null_records(
    rows: Sequence[PromptRow],
    indices: Sequence[int],
    sampled: Sequence[Record],
    lookup: NearestPrompt,
    chat: ChatTokenizer,
) -> list[Record]:
    """The null baselines' records for each of `rows[i] for i in indices`: one, of lookup several.

    empty: no text. constant: the text that `sampled` holds most often, to every prompt. copy: the
    last turn of the prompt. longest: the longest of the sampled answers to the prompt. lookup:
    the answers of the nearest training prompt, at most as many as `sampled` has, drawn by the
    index; left out where no training row has an answer.

    sampled: the baseline model's answers to all prompts. chat: its tokenizer, for lengths.
    """
    texts: dict[int, list[str]] = {}
    for record in sampled:
        texts.setdefault(record.prompt_index, []).append(record.text)
    common = Counter(text for each in texts.values() for text in each if text.strip())
    # Of equally many the first in the alphabet: the order of the records must not matter.
    constant = min(common, key=lambda text: (-common[text], text)) if common else ""
    found = []
    for index in indices:
        prompt = rows[index].prompt
        ours = texts.get(index, [""])
        answers: dict[str, Sequence[str]] = {
            EMPTY: [""],
            CONSTANT: [constant],
            COPY: [prompt if isinstance(prompt, str) else str(prompt[-1]["content"])],
            LONGEST: [max(sorted(ours), key=len)],
        }
        if lookup:
            known = lookup.find(prompt).answers
            answers[LOOKUP] = random.Random(index).sample(known, min(len(known), len(ours)))
        found += _records(index, answers, chat)
    return found


def _records(index: int, answers: Mapping[str, Sequence[str]], chat: ChatTokenizer) -> list[Record]:
    return [
        Record(
            prompt_index=index,
            sample=sample,
            model=name,
            text=text,
            num_tokens=len(chat.tokenizer(text, add_special_tokens=False)["input_ids"]) + 1,
            ended_with_eos=True,
        )
        for name, texts in answers.items()
        for sample, text in enumerate(texts)
    ]
