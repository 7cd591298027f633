"""Checks of the prompts and responses that a program passes to a reward model."""

from collections.abc import Sequence

from rlhf.data.prompts import check_list, check_prompts, shown
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.errors import DataError
from rlhf.runtime.printing import counted
from rlhf.types import Prompt, Tools


def check_pairs(prompts: Sequence[Prompt], responses: Sequence[str]) -> None:
    """Check that there is one response, a text, for each prompt.

    Raises:
        DataError: something other than a list, lists of different lengths, or a prompt or response
            of another type, which the message names.
    """
    check_prompts(prompts)
    check_list("responses", responses)
    if len(prompts) != len(responses):
        raise DataError(
            f"{counted(len(prompts), 'prompt')} and {counted(len(responses), 'response')}; "
            "give one response for each.",
            code="bad-value",
        )
    for index, response in enumerate(responses):
        if not isinstance(response, str):
            raise DataError(
                f"responses[{index}]={shown(response)} is not a text.", code="bad-value"
            )


def check_tools(prompts: Sequence[Prompt], tools: Sequence[Tools] | None) -> None:
    """Check that there is a list of tools for each prompt; raises `DataError` otherwise."""
    if tools is not None and len(tools) != len(prompts):
        raise DataError(
            f"{len(tools)} lists of tools for {len(prompts)} prompts; give one for each, which may "
            "be empty.",
            code="bad-value",
        )


def check_templates(path: str, chat: ChatTokenizer, prompts: Sequence[Prompt]) -> None:
    """Check that prompts of messages have a chat template that renders them.

    Raises:
        DataError: the reward model has none.
    """
    if not chat.raw:
        return
    for index, prompt in enumerate(prompts):
        if not isinstance(prompt, str):
            raise DataError(
                f"prompts[{index}] is a list of messages, but the reward model {path} has no chat "
                "template; give texts, or the template that it was trained with "
                "(chat_template=FILE).",
                code="bad-value",
            )
