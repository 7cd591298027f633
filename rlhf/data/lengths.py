"""How many tokens the parts of rows have: a line for `rlhf data check`."""

import math
from collections.abc import Sequence

from rlhf.data.tokenization.chat import judged_ids, prompt_ids, training_examples
from rlhf.data.tokenization.policy_rows import token_response
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.types import Demonstration, PromptRow, Ranking, RatedResponse, Thumb

Row = Demonstration | Ranking | RatedResponse | Thumb | PromptRow | str
BOTH = "prompt and response"


def length_lines(chat: ChatTokenizer, rows: Sequence[Row]) -> list[str]:
    """A line for each part of the rows: the median, the 95th percentile and the most tokens.

    The prompt is counted with the beginning of the assistant's turn, as a model reads it.
    """
    parts: dict[str, list[int]] = {}
    for row in rows:
        for name, lengths in _lengths(chat, row).items():
            parts.setdefault(name, []).extend(lengths)
    return [
        f"tokens, {name}: median {_quantile(lengths, 0.5)}, "
        f"p95 {_quantile(lengths, 0.95)}, max {max(lengths)}"
        for name, lengths in parts.items()
    ]


def _lengths(chat: ChatTokenizer, row: Row) -> dict[str, list[int]]:
    """Tokens by part; a row has several responses, or several sequences to train on."""
    if isinstance(row, str):
        return {"text": [len(chat.tokenizer(row, verbose=False)["input_ids"])]}
    if isinstance(row, PromptRow):
        return {"prompt": [len(prompt_ids(chat, row.prompt, row.tools))]}
    if isinstance(row, Demonstration):
        examples = training_examples(chat, row)
        prompts = [example.prompt_length for example in examples]
        both = [len(example.ids) for example in examples]
    elif isinstance(row, Thumb):
        tokens = token_response(chat, row.prompt, row.completion, row.tools, cut=row.cut)
        prompts, both = [len(tokens.prompt_ids)], [tokens.length]
    else:
        texts = [row.completion] if isinstance(row, RatedResponse) else row.responses
        prompts = [len(prompt_ids(chat, row.prompt, row.tools))] * len(texts)
        both = [len(judged_ids(chat, row.prompt, text, row.tools)) for text in texts]
    responses = [whole - prompt for whole, prompt in zip(both, prompts, strict=True)]
    return {"prompt": prompts, "response": responses, BOTH: both}


def _quantile(values: Sequence[int], share: float) -> int:
    """The smallest value that at least `share` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
