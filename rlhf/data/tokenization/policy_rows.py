"""A prompt and a response as the token ids that a policy reads and writes."""

from dataclasses import dataclass

from rlhf.data.tokenization.chat import training_examples
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.errors import reject_row
from rlhf.types import Demonstration, Prompt, Tools


@dataclass(frozen=True)
class TokenResponse:
    """A prompt and a response as token ids; one that was not cut off ends with the end token."""

    prompt_ids: tuple[int, ...]
    response_ids: tuple[int, ...]

    @property
    def length(self) -> int:
        """Number of all tokens."""
        return len(self.prompt_ids) + len(self.response_ids)


def token_response(
    chat: ChatTokenizer, prompt: Prompt, response: str, tools: Tools = (), *, cut: bool = False
) -> TokenResponse:
    """The ids of SFT on this response: its trained tokens are the response.

    What a template writes after the end token is left out: it has no loss, and no token follows it.
    So is the end token of a response that was cut off (`cut`).

    Raises:
        DataError: the response cannot be rendered or trained on, or its first token begins in the
            prompt, and no token before it could predict it.
    """
    [example] = training_examples(
        chat, Demonstration(prompt=prompt, completion=response, fields={"cut": cut}, tools=tools)
    )
    start = example.trained.index(True)
    end = len(example.trained) - example.trained[::-1].index(True)
    if start == 0:
        reject_row(
            "the prompt and the beginning of the response are one token; end it with a space"
        )
    return TokenResponse(tuple(example.ids[:start]), tuple(example.ids[start:end]))
