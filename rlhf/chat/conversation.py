"""A conversation: what was said, and the next answer of one model or of several side by side."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace

from rlhf.chat.detokenizer import Detokenizer, Said
from rlhf.chat.engine import LENGTH, BatchEngine, GenerationRequest
from rlhf.chat.loading import ChatModel
from rlhf.chat.sampling import SEEDS, Sampling
from rlhf.data.tokenization.chat import prompt_ids
from rlhf.data.tokenization.thoughts import with_thought
from rlhf.errors import DataError
from rlhf.types import Message, Prompt, Tools

SHORTEST_ANSWER = 32  # tokens of room below which old turns are let go
BETWEEN_ANSWERS = 1_000_003  # from one answer's seed to the next one's


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What one model has said to the last question."""

    text: str
    ids: Sequence[int]  # without the EOS; those of the thought too
    cut_off: bool  # ended by its length
    thought: str = ""

    @property
    def whole(self) -> str:
        """The text with the thought before it, as a message of the conversation has it."""
        return with_thought(self.thought, self.text)


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A piece of an answer. Its thought comes before its text."""

    model: int  # whose it is, counted from 0
    text: str
    thought: str = ""


@dataclass(kw_only=True)
class Conversation:
    """Turns with one model, or with several that get the same prompt and the same seed.

    The conversation goes on with one answer, the first model's unless another is preferred, so
    that every prompt is one for all. A raw model has no turns: it continues each text by itself.
    An answer's thought stays in its message; the template drops it where it drops old ones.
    """

    models: Sequence[ChatModel]
    sampling: Sampling = field(default_factory=Sampling)
    messages: list[Message] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)  # to the last question, one a model
    asked: int = 0  # questions so far; each gets noise of its own
    forgotten: int = 0  # oldest turns that no longer fitted the last prompt

    def ask(self, text: str) -> Generator[Piece]:
        """The answers to `text`, piece by piece. They are kept, however far they came.

        Raises:
            DataError: nothing to answer, or more than a model's positions hold.
        """
        question = {"role": "user", "content": text}
        asked = [*self.messages, question]
        fitted = [fit(model, asked, self.sampling.max_new_tokens) for model in self.models]
        self.forgotten = max(left_out for _, left_out in fitted)
        seed = (self.sampling.seed + BETWEEN_ANSWERS * self.asked) % SEEDS
        self.asked += 1
        writers = [_OneAnswer(model) for model in self.models]
        answer = {"role": "assistant", "content": ""}
        self.messages += [question, answer]
        try:
            for index, one in enumerate(writers):
                one.start(fitted[index][0], replace(self.sampling, seed=seed))
            yield from _in_turns(writers)
        finally:
            self.answers = [one.answer() for one in writers]
            answer["content"] = self.answers[0].whole

    def prefer(self, index: int) -> None:
        """Go on with the answer of model `index`."""
        if self.messages and self.answers:
            self.messages[-1] = {"role": "assistant", "content": self.answers[index].whole}

    def regenerate(self) -> Generator[Piece]:
        """Other answers to the last question, in place of those it got."""
        question = self.undo()
        if question is None:
            raise DataError("there is nothing to answer again; ask something first.")
        yield from self.ask(question)

    def undo(self) -> str | None:
        """Take the last question and its answer back; the question, or None if there is none."""
        self.answers = []
        while self.messages and self.messages[-1]["role"] == "assistant":
            self.messages.pop()
        if not self.messages or self.messages[-1]["role"] != "user":
            return None
        return str(self.messages.pop()["content"])

    def reset(self, system: str | None = None) -> None:
        """Begin anew, with a system message where one is given and the template knows of it."""
        self.answers = []
        self.messages = [] if system is None else [{"role": "system", "content": system}]


class _OneAnswer:
    """One model writing."""

    def __init__(self, model: ChatModel) -> None:
        self._model = model
        self._decoder = BatchEngine(model, slots=1)
        self._writer = Detokenizer(model.chat)
        self._ids: list[int] = []
        self._cut_off = self.done = False

    def start(self, ids: list[int], sampling: Sampling) -> None:
        longest = min(sampling.max_new_tokens, room(self._model, len(ids), sampling.max_new_tokens))
        self._decoder.add(
            GenerationRequest(ids=ids, sampling=replace(sampling, max_new_tokens=longest))
        )

    def next(self) -> Said:
        """What one more token adds."""
        [(_, token)] = self._decoder.step()
        if token.id not in self._model.chat.eos_token_ids:
            self._ids.append(token.id)
        self.done, self._cut_off = bool(token.finish), token.finish == LENGTH
        return self._writer.add(token.id, last=self.done)

    def answer(self) -> Answer:
        return Answer(
            text=self._writer.text,
            ids=tuple(self._ids),
            cut_off=self._cut_off,
            thought=self._writer.thought,
        )


def _in_turns(writers: Sequence[_OneAnswer]) -> Generator[Piece]:
    while not all(one.done for one in writers):
        for index, one in enumerate(writers):
            said = Said() if one.done else one.next()
            if said != Said():
                yield Piece(model=index, text=said.text, thought=said.thought)


def fit(
    model: ChatModel, messages: Sequence[Message], max_new_tokens: int
) -> tuple[list[int], int]:
    """Ids of the conversation and how many oldest turns were left out, where they do not fit.

    Raises:
        DataError: the last question alone is longer than the model's positions.
    """
    kept = list(messages)
    system = 1 if kept[0]["role"] == "system" else 0
    ids = encode(model, kept)
    wanted = min(max_new_tokens, SHORTEST_ANSWER)
    while room(model, len(ids), max_new_tokens) < wanted and len(kept) - system > 2:
        del kept[system : system + 2]
        ids = encode(model, kept)
    check_room(model, len(ids))
    return ids, len(messages) - len(kept)


def encode(model: ChatModel, messages: Sequence[Message], tools: Tools = ()) -> list[int]:
    """Ids of the prompt that these turns make; of a raw model the last one alone.

    Raises:
        DataError: nothing in the last turn (a tool may return nothing), text that is no UTF-8, or
            turns that the template refuses.
    """
    for message in messages:
        _refuse_broken_text(message["content"])
    asked = messages[-1]["content"]
    prompt: Prompt = asked if model.chat.raw else list(messages)
    ids = prompt_ids(model.chat, prompt, tools)
    if not ids or not (asked.strip() or messages[-1]["role"] == "tool"):
        raise DataError("the prompt is empty; type something.")
    return ids


def check_room(model: ChatModel, length: int) -> None:
    """Refuse a prompt that leaves no position for an answer.

    Raises:
        DataError: both numbers.
    """
    if room(model, length, 1) < 1:
        raise DataError(
            f"the prompt has {length} tokens and the model {model.positions} "
            "positions; ask something shorter."
        )


def room(model: ChatModel, length: int, wanted: int) -> int:
    """Tokens that an answer may have after a prompt of `length`; `wanted` where nothing limits."""
    return wanted if model.positions is None else model.positions - length


def _refuse_broken_text(text: str) -> None:
    # A terminal or pipe hands on bytes that are no UTF-8 as lone surrogates.
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(
            f"the text is not UTF-8 at character {error.start + 1}; write it again."
        ) from None
