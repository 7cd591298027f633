"""A language model as judge: what it is asked, what its reply means, and one of this machine."""

import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch

from rlhf.data.tokenization.chat import as_messages, prompt_ids
from rlhf.evaluation.judges.pairwise import FIRST, SECOND, TIE, Judging, Shown
from rlhf.models.generation.generate import sample_responses
from rlhf.models.load import load_policy
from rlhf.models.tokenizer import tokenizer_of_model

QUESTION = """Two assistants answered the same user. Decide which answer is better: does it do \
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
_MEANS = {"A": FIRST, "B": SECOND, "C": TIE, "TIE": TIE}
# Marks of a thought in a reply, where the server does not tell it apart.
_THOUGHT = re.compile(r"\s*(<think(ing)?>|\[THINK\])")
_THOUGHT_END = re.compile(r"</think(?:ing)?>|\[/THINK\]")


def question_of(shown: Shown) -> str:
    """What the judge is asked."""
    turns = as_messages(shown.prompt)
    said = "\n".join(f"{turn['role']}: {turn['content']}" for turn in turns)
    return QUESTION.format(prompt=said, first=shown.first, second=shown.second)


def read_verdict(reply: str) -> str | None:
    """first, second or tie of [[A]], [[B]] or [[C]], or of a reply of that word alone.

    Of several that differ the last counts if it is alone on the last line, as was asked for: a
    judge that thinks aloud names others before. None for any other reply: a guess would be worse
    than a tie. A thought before the reply, <think>…</think>, is not read.
    """
    reply = without_thought(reply)
    marks = _MARK.findall(reply)
    last = reply.strip().rpartition("\n")[2]
    if alone := _MARK_ALONE.fullmatch(last):
        return _MEANS[alone.group(1)]
    if marks:
        return _MEANS[marks[-1]] if len(set(marks)) == 1 else None
    alone = _WORD.fullmatch(reply.strip())
    return _MEANS[alone.group(1).upper()] if alone else None


def without_thought(reply: str) -> str:
    """What follows the thought; "" where it has no end.

    Some templates write <think> into the prompt, so that only its end is in the reply.
    """
    if ends := list(_THOUGHT_END.finditer(reply)):
        return reply[ends[-1].end() :]
    return "" if _THOUGHT.match(reply) else reply


def cut_off_warning(cut: int, asked: int, max_tokens: int) -> str:
    """What to print where replies ended at their length without a verdict."""
    return (
        f"warning: {cut} of {asked} replies of llm_judge were cut off at "
        f"llm_judge_max_tokens={max_tokens} before a verdict and count as ties; raise it"
    )


def is_address(judge: str) -> bool:
    """Whether the judge is asked over HTTP."""
    return judge.startswith(("http://", "https://"))


def local_judge(
    path: str,
    *,
    max_new_tokens: int,
    temperature: float,
    batch_size: int,
    device: torch.device,
    say: Callable[[str], None],
) -> Judging:
    """A model of this machine, asked in its own chat template.

    A question longer than the model's positions has no verdict.

    Raises:
        CheckpointError: no model at `path`.
    """
    chat = tokenizer_of_model(path, "auto")
    model: Any = load_policy(path)
    model = model.to(device).eval()

    def judge(shown: Sequence[Shown]) -> list[str | None]:
        questions = [question_of(one) for one in shown]
        room = (chat.max_positions or sys.maxsize) - max_new_tokens
        fits = [index for index, q in enumerate(questions) if len(prompt_ids(chat, q)) <= room]
        answers = sample_responses(
            model,
            chat,
            [questions[index] for index in fits],
            num_responses=1,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            seed=0,
            batch_size=batch_size,
        )
        said: list[str | None] = [None] * len(shown)
        cut = 0
        for index, answer in zip(fits, answers, strict=True):
            said[index] = read_verdict(answer[0].text)
            cut += said[index] is None and not answer[0].ended_with_eos
        if cut:
            say(cut_off_warning(cut, len(shown), max_new_tokens))
        return said

    return judge
