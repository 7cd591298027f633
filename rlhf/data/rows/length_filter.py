"""Length checks of typed rows; each returns the reason why a row does not fit, or None."""

import json
from collections.abc import Callable, Sequence

from rlhf.data.tokenization.chat import judged_ids, prompt_ids, training_examples
from rlhf.data.tokenization.policy_rows import token_response
from rlhf.data.tokenization.texts import text_examples
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.errors import DataError, reject_row
from rlhf.types import Demonstration, Prompt, PromptRow, Ranking, RatedResponse, SFTRow, Tools

TRANSCRIPT = "\n\nHuman:"  # how a prompt of Anthropic's HH begins


def demonstration_fits(
    chat: ChatTokenizer, max_length: int | None
) -> Callable[[Demonstration], str | None]:
    """A check that prompt, response and end of turn have at most `max_length` tokens.

    All checks of this module also compare with the model's positions, where they are known.
    """

    def reason(row: Demonstration) -> str | None:
        room = None if max_length is None else max_length - 1
        prompt = _reason(lambda: _prompt_length(chat, row.prompt, row.tools), "the prompt", room)
        return prompt or _reason(
            lambda: max(len(example.ids) for example in training_examples(chat, row)),
            "prompt and response",
            max_length,
            positions=chat.max_positions,
        )

    return reason


def sft_row_fits(chat: ChatTokenizer, max_length: int | None) -> Callable[[SFTRow], str | None]:
    """As `demonstration_fits`; a plain text fits at any length, because it is split."""
    fits = demonstration_fits(chat, max_length)

    def reason(row: SFTRow) -> str | None:
        if isinstance(row, str):
            return _reason(lambda: len(text_examples(chat, row, max_length)), "the text", None)
        return fits(row)

    return reason


def ranking_fits(chat: ChatTokenizer, max_length: int | None) -> Callable[[Ranking], str | None]:
    """A check that each response with its prompt has at most `max_length` tokens.

    The tokens are those that a reward model reads.
    """
    reasons: dict[str, str | None] = {}  # what several annotators ranked is encoded once

    def reason(row: Ranking) -> str | None:
        key = json.dumps([row.prompt, sorted(row.responses), row.tools])
        if key not in reasons:
            reasons[key] = _judged_reason(chat, row, row.responses, max_length)
        return reasons[key]

    return reason


def rated_fits(
    chat: ChatTokenizer, max_length: int | None
) -> Callable[[RatedResponse], str | None]:
    """As `ranking_fits`, of single responses."""
    reasons: dict[str, str | None] = {}  # what several annotators rated is encoded once

    def reason(row: RatedResponse) -> str | None:
        key = json.dumps([row.prompt, row.completion, row.tools])
        if key not in reasons:
            reasons[key] = _judged_reason(chat, row, [row.completion], max_length)
        return reasons[key]

    return reason


def _judged_reason(
    chat: ChatTokenizer,
    row: Ranking | RatedResponse,
    responses: Sequence[str],
    max_length: int | None,
) -> str | None:
    room = None if max_length is None else max_length - 1
    prompt = _reason(lambda: _prompt_length(chat, row.prompt, row.tools), "the prompt", room)
    return prompt or _reason(
        lambda: max(len(judged_ids(chat, row.prompt, text, row.tools)) for text in responses),
        "prompt and response",
        max_length,
        positions=chat.max_positions,
    )


def policy_ranking_fits(
    chat: ChatTokenizer, max_length: int | None
) -> Callable[[Ranking], str | None]:
    """As `ranking_fits`, of the tokens of a policy that is trained on the responses."""
    fits = response_fits(chat, max_length)

    def reason(row: Ranking) -> str | None:
        reasons = (fits(row.prompt, response, row.tools) for response in row.responses)
        return next(filter(None, reasons), None)

    return reason


def response_fits(
    chat: ChatTokenizer, max_length: int | None
) -> Callable[[Prompt, str, Tools], str | None]:
    """A check that a prompt and a response have at most `max_length` tokens for a policy."""
    reasons: dict[str, str | None] = {}  # what several annotators judged is encoded once
    room = None if max_length is None else max_length - 1

    def reason(prompt: Prompt, response: str, tools: Tools) -> str | None:
        key = json.dumps([prompt, response, list(tools)])
        if key not in reasons:
            of_prompt = _reason(lambda: _prompt_length(chat, prompt, tools), "the prompt", room)
            reasons[key] = of_prompt or _reason(
                lambda: token_response(chat, prompt, response, tools).length,
                "prompt and response",
                max_length,
                positions=chat.max_positions,
            )
        return reasons[key]

    return reason


def prompt_fits(
    chat: ChatTokenizer, max_length: int | None, response_length: int = 0
) -> Callable[[PromptRow], str | None]:
    """A check that the prompt alone, with its generation prompt, has at most `max_length` tokens.

    The model's positions have to leave room for `response_length` more tokens.
    """
    return lambda row: _reason(
        lambda: _prompt_length(chat, row.prompt, row.tools),
        "the prompt",
        max_length,
        positions=chat.max_positions,
        response_length=response_length,
    )


def text_fits(chat: ChatTokenizer, max_length: int | None) -> Callable[[str], str | None]:
    """A check that the text has at most `max_length` tokens."""
    return lambda text: _reason(
        lambda: len(chat.tokenizer(text, verbose=False)["input_ids"]),
        "the text",
        max_length,
        positions=chat.max_positions,
    )


def _prompt_length(chat: ChatTokenizer, prompt: Prompt, tools: Tools) -> int:
    if not chat.raw and isinstance(prompt, str) and not prompt.strip():
        reject_row("the prompt is empty")
    if not chat.raw and isinstance(prompt, str) and prompt.startswith(TRANSCRIPT):
        reject_row(
            "the prompt is a transcript of Human and Assistant, which would be one user message; "
            "write it as messages (`rlhf data convert --from hh` does this for pairs)"
        )
    length = len(prompt_ids(chat, prompt, tools))
    if not length:
        reject_row("the prompt is empty and the tokenizer has no start token to generate from")
    return length


def _reason(
    count_tokens: Callable[[], int],
    subject: str,
    limit: int | None,
    *,
    positions: int | None = None,
    response_length: int = 0,
) -> str | None:
    try:
        length = count_tokens()
    except DataError as error:
        return str(error)
    if limit is not None and length > limit:
        return f"{subject}: {length} tokens, {limit} is the limit"
    if positions is not None and length + response_length > positions:
        room = f" and {response_length} for the response" if response_length else ""
        return f"{subject}: {length} tokens{room}, but the model has {positions} positions"
    return None
