"""A conversation with one model, or with several side by side."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace

from rlhf.chat.detokenizer import Detokenizer, TextDelta
from rlhf.chat.engine import LENGTH, STOP, BatchEngine, GenerationRequest
from rlhf.chat.loading import LoadedModel
from rlhf.chat.prompt import fit_prompt, remaining_positions
from rlhf.chat.sampling import NUM_SEEDS, Sampling
from rlhf.data.tokenization.thoughts import with_thought
from rlhf.errors import DataError
from rlhf.types import Message

SEED_STEP = 1_000_003  # between the seeds of two successive responses


@dataclass(frozen=True, kw_only=True)
class ChatResponse:
    """The response of one model to the last prompt."""

    text: str
    ids: Sequence[int]  # without the EOS; the thought's ids are included
    cut_off: bool  # whether it reached its maximum length
    thought: str = ""
    stopped: bool = False  # whether it was stopped before its end

    @property
    def ending(self) -> str:
        """`stop` (the model ended it), `length` (its maximum length) or `stopped`."""
        return "stopped" if self.stopped else LENGTH if self.cut_off else STOP

    @property
    def full_text(self) -> str:
        """The text with the thought before it, as it is stored in a message."""
        return with_thought(self.thought, self.text)


@dataclass(frozen=True, kw_only=True)
class ResponsePiece:
    """A piece of a streamed response. The pieces of the thought precede those of the text."""

    model: int  # index of the model
    text: str
    thought: str = ""


@dataclass(kw_only=True)
class Conversation:
    """Turns with one model, or with several that get the same prompt and the same seed.

    The conversation continues with one response, the first model's unless another one is chosen,
    so that all models share every prompt. A raw model has no turns: it continues each text on its
    own. The thought of a response stays in its message; the template drops it where it drops old
    thoughts.
    """

    models: Sequence[LoadedModel]
    sampling: Sampling = field(default_factory=Sampling)
    messages: list[Message] = field(default_factory=list)
    responses: list[ChatResponse] = field(default_factory=list)  # to the last prompt, one a model
    num_prompts: int = 0  # prompts so far; each has its own noise
    dropped_turns: int = 0  # oldest turns that did not fit into the last prompt

    def send(self, text: str) -> Generator[ResponsePiece]:
        """Yields the responses to `text` piece by piece. Closing it keeps what was generated.

        Raises:
            DataError: an empty prompt, or one longer than a model's positions.
        """
        prompt: Message = {"role": "user", "content": text}
        messages = [*self.messages, prompt]
        fitted = [
            fit_prompt(model, messages, self.sampling.max_new_tokens) for model in self.models
        ]
        self.dropped_turns = max(dropped for _, dropped in fitted)
        seed = (self.sampling.seed + SEED_STEP * self.num_prompts) % NUM_SEEDS
        self.num_prompts += 1
        streams = [ResponseStream(model) for model in self.models]
        reply: Message = {"role": "assistant", "content": ""}
        self.messages += [prompt, reply]
        try:
            for stream, (ids, _) in zip(streams, fitted, strict=True):
                stream.start(ids, replace(self.sampling, seed=seed))
            yield from _interleave(streams)
        finally:
            self.responses = [stream.response() for stream in streams]
            reply["content"] = self.responses[0].full_text

    def continue_with(self, index: int) -> None:
        """Continue with the response of model `index`."""
        if self.messages and self.responses:
            self.messages[-1] = {"role": "assistant", "content": self.responses[index].full_text}

    def regenerate(self) -> Generator[ResponsePiece]:
        """Yields new responses to the last prompt, which replace the previous ones."""
        prompt = self.undo()
        if prompt is None:
            raise DataError("there is no prompt to respond to again.", code="unknown-name")
        yield from self.send(prompt)

    def undo(self) -> str | None:
        """Removes the last prompt and its response; returns the prompt, None if there is none."""
        self.responses = []
        while self.messages and self.messages[-1]["role"] == "assistant":
            self.messages.pop()
        if not self.messages or self.messages[-1]["role"] != "user":
            return None
        return str(self.messages.pop()["content"])

    def reset(self, system: str | None = None) -> None:
        """Starts over, with a system message if one is given."""
        self.responses = []
        self.messages = [] if system is None else [{"role": "system", "content": system}]


class ResponseStream:
    """One response of one model, a token at a time."""

    def __init__(self, model: LoadedModel) -> None:
        self._model = model
        self._engine = BatchEngine(model, slots=1)
        self._detokenizer = Detokenizer(model.chat)
        self._ids: list[int] = []
        self._cut_off = self.done = False

    def start(self, ids: Sequence[int], sampling: Sampling) -> None:
        """Begin the response to a prompt; its length is limited to the model's positions."""
        wanted = sampling.max_new_tokens
        limit = min(wanted, remaining_positions(self._model, len(ids), wanted))
        self._engine.add(
            GenerationRequest(ids=ids, sampling=replace(sampling, max_new_tokens=limit))
        )

    def next(self) -> TextDelta:
        """The text that one more token adds."""
        [(_, token)] = self._engine.step()
        if token.id not in self._model.chat.eos_token_ids:
            self._ids.append(token.id)
        self.done, self._cut_off = bool(token.finish), token.finish == LENGTH
        return self._detokenizer.add(token.id, last=self.done)

    def response(self) -> ChatResponse:
        """The response so far."""
        return ChatResponse(
            text=self._detokenizer.text,
            ids=tuple(self._ids),
            cut_off=self._cut_off,
            thought=self._detokenizer.thought,
            stopped=not self.done,
        )


def _interleave(streams: Sequence[ResponseStream]) -> Generator[ResponsePiece]:
    while not all(stream.done for stream in streams):
        for index, stream in enumerate(streams):
            delta = TextDelta() if stream.done else stream.next()
            if delta != TextDelta():
                yield ResponsePiece(model=index, text=delta.text, thought=delta.thought)
