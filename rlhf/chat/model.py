"""Chat with a policy from Python.

chat = ChatModel("runs/pocket/ppo")
print(chat("What is 3 plus 4?"))
for piece in chat.stream("Name three animals."):
    print(piece, end="")
session = chat.conversation(system="Be brief.")
print(session.send("Hi"))
"""

import contextlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from os import PathLike

from rlhf.chat.conversation import Conversation, ResponseStream
from rlhf.chat.loading import LoadedModel, load_chat_model
from rlhf.chat.prompt import check_prompt_length, encode_prompt, messages_of_prompt
from rlhf.chat.sampling import Sampling
from rlhf.errors import DataError
from rlhf.types import Message


class ChatModel:
    """A policy that responds to prompts.

    Args:
        path: a model, LoRA adapter, run or pipeline folder, checkpoint, or hub id.
        chat_template: `auto`, `none` (the model continues the prompt), or a Jinja file.
        chat_template_kwargs: variables of the chat template.
        base: base of a LoRA adapter, if it is not where the adapter's configuration says.
        int8: hold the weights of linear layers in 8 bits.

    Raises:
        CheckpointError: `path` holds no policy that can be loaded.

    The model runs on the GPU in bfloat16 if there is one, else on the CPU in float32. `warnings`
    lists differences from how it was trained, such as another chat template.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        chat_template: str = "auto",
        chat_template_kwargs: Mapping[str, object] | None = None,
        base: str | PathLike[str] | None = None,
        int8: bool = False,
    ) -> None:
        self.loaded: LoadedModel = load_chat_model(
            str(path),
            chat_template=chat_template,
            template_kwargs=chat_template_kwargs,
            base=None if base is None else str(base),
            int8=int8,
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """Differences from how the model was trained."""
        return self.loaded.warnings

    def __call__(
        self,
        prompt: str | Sequence[Message],
        *,
        temperature: float = 0.7,
        top_p: float = 1.0,
        max_new_tokens: int = 256,
        seed: int = 0,
    ) -> str:
        """The response to a prompt, without its thought.

        Args:
            prompt: a text, or messages with `role` and `content`.
            temperature: sampling temperature; 0 is greedy.
            top_p: sample from the likeliest tokens whose probabilities reach this sum.
            max_new_tokens: maximum length of the response, in tokens.
            seed: seed of the sampling; the same seed gives the same response.

        Raises:
            DataError: a prompt that is empty, longer than the model's positions, or neither a text
                nor messages.
            ConfigError: a sampling setting of another type or out of range.
        """
        return "".join(
            self.stream(
                prompt,
                temperature=temperature,
                top_p=top_p,
                max_new_tokens=max_new_tokens,
                seed=seed,
            )
        )

    def stream(
        self,
        prompt: str | Sequence[Message],
        *,
        temperature: float = 0.7,
        top_p: float = 1.0,
        max_new_tokens: int = 256,
        seed: int = 0,
    ) -> Iterator[str]:
        """The response to a prompt in pieces, as it is generated. The pieces join to the response.

        Arguments and errors are those of `__call__`. They are checked when `stream` is called,
        before the first piece.
        """
        sampling = Sampling(
            temperature=temperature, top_p=top_p, max_new_tokens=max_new_tokens, seed=seed
        )
        ids = encode_prompt(self.loaded, messages_of_prompt(prompt))
        check_prompt_length(self.loaded, len(ids))
        response = ResponseStream(self.loaded)
        response.start(ids, sampling)
        return _texts(response)

    def conversation(
        self,
        system: str | None = None,
        *,
        temperature: float = 0.7,
        top_p: float = 1.0,
        max_new_tokens: int = 256,
        seed: int = 0,
    ) -> "ChatSession":
        """A conversation that keeps its history.

        Args:
            system: the system message, if any.
            temperature: sampling temperature; 0 is greedy.
            top_p: sample from the likeliest tokens whose probabilities reach this sum.
            max_new_tokens: maximum length of a response, in tokens.
            seed: seed of the sampling; each response gets noise of its own from it.

        Raises:
            DataError: a system message that is not a text.
            ConfigError: a sampling setting of another type or out of range.
        """
        sampling = Sampling(
            temperature=temperature, top_p=top_p, max_new_tokens=max_new_tokens, seed=seed
        )
        return ChatSession(self.loaded, sampling, system)


class ChatSession:
    """A conversation with one model; see `ChatModel.conversation`.

    If the history no longer fits into the model's positions, the oldest turns are left out of the
    prompt; `dropped_turns` counts them. They stay in `messages`.
    """

    def __init__(self, model: LoadedModel, sampling: Sampling, system: str | None = None) -> None:
        if system is not None and not isinstance(system, str):
            raise DataError(
                f"system={system!r} is a {type(system).__name__}, not a text.", code="bad-value"
            )
        self._conversation = Conversation(models=[model], sampling=sampling)
        self._conversation.reset(system)

    @property
    def messages(self) -> list[Message]:
        """The history. A response's thought is in its message, as `<think>…</think>`."""
        return list(self._conversation.messages)

    @property
    def dropped_turns(self) -> int:
        """How many of the oldest turns did not fit into the last prompt."""
        return self._conversation.dropped_turns

    def send(self, text: str) -> str:
        """The response to a message, without its thought.

        Raises:
            DataError: a message that is empty, longer than the model's positions, or not a text.
        """
        return "".join(self.stream(text))

    def stream(self, text: str) -> Generator[str]:
        """The response to a message in pieces. Closing it keeps what was generated so far.

        Raises:
            DataError: at the first piece, as `send`.
        """
        if not isinstance(text, str):
            raise DataError(
                f"the message is a {type(text).__name__}, not a text.", code="bad-value"
            )
        with contextlib.closing(self._conversation.send(text)) as pieces:
            for piece in pieces:
                if piece.text:
                    yield piece.text


def _texts(response: ResponseStream) -> Iterator[str]:
    while not response.done:
        if text := response.next().text:
            yield text
