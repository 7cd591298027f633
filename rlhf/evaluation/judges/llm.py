"""A language model as judge: its prompt, how its reply is read, and a judge loaded locally."""

import re
import sys
from collections.abc import Callable, Sequence

import torch

from rlhf.data.tokenization.chat import prompt_ids
from rlhf.data.tokenization.thoughts import without_thought
from rlhf.evaluation.judges.pairwise import FIRST, SECOND, TIE, AnonymousPair, CompareFunction
from rlhf.models.generation.generate import sample_responses
from rlhf.models.load import load_policy, on_device
from rlhf.models.tokenizer import tokenizer_of_model
from rlhf.rewards.rubric import conversation_text

JUDGE_PROMPT = """Two assistants answered the same user. Decide which answer is better: does it do \
what was asked, is it true, is it kind? Longer is not better. The order of the answers means \
nothing.

[Conversation]
{prompt}

[Answer A]
{first}

[Answer B]
{second}

End with your verdict on a line of its own: [[A]], [[B]], or [[C]] for a tie."""
_MARK = re.compile(r"\[\[\s*([ABC])\s*\]\]")
_MARK_ALONE = re.compile(rf"\W*{_MARK.pattern}\W*")
_WORD = re.compile(r"\W*(A|B|C|tie)\W*", re.IGNORECASE)
_VERDICTS = {"A": FIRST, "B": SECOND, "C": TIE, "TIE": TIE}


def judge_prompt(pair: AnonymousPair) -> str:
    """The text that the judge gets for a pair."""
    conversation = conversation_text(pair.prompt)
    return JUDGE_PROMPT.format(prompt=conversation, first=pair.first, second=pair.second)


def read_verdict(reply: str) -> str | None:
    """first, second or tie from [[A]], [[B]] or [[C]], or from a reply of one such word.

    If several marks differ, the last one counts if it is alone on the last line, as the prompt
    requires: a judge may name others while it reasons. None for any other reply: a guess would be
    worse than a tie. A thought before the reply, <think>…</think>, is not read.
    """
    reply = without_thought(reply)
    marks = _MARK.findall(reply)
    last_line = reply.strip().rpartition("\n")[2]
    if alone := _MARK_ALONE.fullmatch(last_line):
        return _VERDICTS[alone.group(1)]
    if marks:
        return _VERDICTS[marks[-1]] if len(set(marks)) == 1 else None
    alone = _WORD.fullmatch(reply.strip())
    return _VERDICTS[alone.group(1).upper()] if alone else None


def truncation_warning(truncated: int, total: int, max_tokens: object) -> str:
    """A warning about replies that reached the maximum length without a verdict."""
    return (
        f"warning: {truncated} of {total} replies of llm_judge were cut off at "
        f"llm_judge_max_tokens={max_tokens} before a verdict and count as ties; raise it"
    )


def is_address(judge: str) -> bool:
    """Whether the judge is behind an HTTP address."""
    return judge.startswith(("http://", "https://"))


def local_judge(
    path: str,
    *,
    max_new_tokens: int,
    temperature: float,
    batch_size: int,
    device: torch.device,
    bf16: bool,
    log: Callable[[str], None],
) -> CompareFunction:
    """A judge that is loaded on this machine and prompted in its own chat template.

    A pair that does not fit into the model's positions has no verdict.

    Args:
        path: folder or hub id of the model.
        max_new_tokens: the longest reply.
        temperature: of the replies; 0 is greedy.
        batch_size: replies sampled at a time.
        device: where the model is loaded.
        bf16: whether its weights are in bfloat16 instead of float32.
        log: called with a warning if replies are cut off.

    Raises:
        CheckpointError: there is no model at `path`.
    """
    chat = tokenizer_of_model(path, "auto")
    model = on_device(load_policy(path, dtype=torch.bfloat16 if bf16 else torch.float32), device)

    def compare(pairs: Sequence[AnonymousPair]) -> list[str | None]:
        prompts = [judge_prompt(pair) for pair in pairs]
        room = (chat.max_positions or sys.maxsize) - max_new_tokens
        fitting = [i for i, prompt in enumerate(prompts) if len(prompt_ids(chat, prompt)) <= room]
        replies = sample_responses(
            model,
            chat,
            [prompts[i] for i in fitting],
            num_responses=1,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            seed=0,
            batch_size=batch_size,
        )
        verdicts: list[str | None] = [None] * len(pairs)
        truncated = 0
        for i, [reply] in zip(fitting, replies, strict=True):
            verdicts[i] = read_verdict(reply.text)
            truncated += verdicts[i] is None and not reply.ended_with_eos
        if truncated:
            log(truncation_warning(truncated, len(pairs), max_new_tokens))
        return verdicts

    return compare
