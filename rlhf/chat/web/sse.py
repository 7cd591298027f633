"""Tokens of a request -> parts of its answers, as the API sends them."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from rlhf.chat.detokenizer import Detokenizer
from rlhf.chat.engine import STOP, Token
from rlhf.chat.scheduler import Group
from rlhf.data.tokenization.tokenizer import ChatTokenizer


@dataclass(frozen=True, kw_only=True)
class Part:
    """What is new of one answer."""

    index: int  # of the answer
    text: str
    tokens: Sequence[Token]  # of that text; neither EOS nor what a stop text cut off
    finish: str  # "" while the answer goes on
    end: Token | None = None  # the EOS, where one ended the answer
    thought: str = ""  # comes before the text
    before: Sequence[Token] = ()  # of the thought, and of the tags and headers around it
    retracted: bool = False  # whether what came as a thought is the text after all


class _Answer:
    """One answer's text, with the tokens that are not given out yet."""

    def __init__(self, chat: ChatTokenizer, stop: Sequence[str], begun: Sequence[int]) -> None:
        self._chat, self._writer = chat, Detokenizer(chat, stop, begun=begun)
        self._held: list[tuple[Token, int]] = []  # and where each begins in thought and text
        self._before = 0  # of those held, how many precede the response
        form = None if chat.raw else chat.format
        self._thinks = bool(form and (form.renders_thoughts or form.prompt_opens_thought))

    def add(self, index: int, token: Token) -> Part | None:
        """The part that the token completes; None where it has to wait for the next one."""
        writer = self._writer
        if token.id not in self._chat.eos_token_ids:
            self._held.append((token, writer.length))
        said = writer.add(token.id, last=bool(token.finish))
        finish = STOP if writer.stopped else token.finish
        if not writer.responds:
            self._before = len(self._held)
        given = len(writer.thought) + len(writer.text)
        if writer.stopped:
            self._held = [(one, at) for one, at in self._held if at < given]
        elif not finish and (given < writer.length or (self._thinks and not given)):
            return None
        before, tokens = self._taken()
        ended = token.id in self._chat.eos_token_ids and not writer.stopped
        return Part(
            index=index,
            text=said.text,
            tokens=tokens,
            finish=finish,
            end=token if ended else None,
            thought=said.thought,
            before=before,
            retracted=writer.retracted,
        )

    def _taken(self) -> tuple[list[Token], list[Token]]:
        """The tokens held, those before the response apart where it may have a thought."""
        tokens = [token for token, _ in self._held]
        first = self._before if self._thinks or self._writer.thought else 0
        self._held, self._before = [], 0
        return tokens[:first], tokens[first:]


async def parts(
    group: Group, chat: ChatTokenizer, stop: Sequence[str], begun: Sequence[int] = ()
) -> AsyncIterator[Part]:
    """The answers of a group as they come, cut at the stop texts; raises as the group does.

    begun: tokens that each answer begins with, and which are no part of any.
    """
    answers = [_Answer(chat, stop, begun) for _ in group.questions]
    async for index, token in group:
        part = answers[index].add(index, token)
        if part is None:
            continue
        if part.finish and not token.finish:
            group.drop(index)
        yield part
