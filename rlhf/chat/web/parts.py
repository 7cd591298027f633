"""Tokens of a request -> parts of its answers, as the API sends them."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from rlhf.chat.decoder import STOP, Token
from rlhf.chat.worker import Group
from rlhf.chat.writer import Writer
from rlhf.data.tokenizer import ChatTokenizer


@dataclass(frozen=True, kw_only=True)
class Part:
    """What is new of one answer."""

    index: int  # of the answer
    text: str
    tokens: Sequence[Token]  # of that text; neither EOS nor what a stop text cut off
    finish: str  # "" while the answer goes on
    end: Token | None = None  # the EOS, where one ended the answer


class _Answer:
    """One answer's text, with the tokens that are not given out yet."""

    def __init__(self, chat: ChatTokenizer, stop: Sequence[str]) -> None:
        self._chat, self._writer = chat, Writer(chat, stop)
        self._held: list[tuple[Token, int]] = []  # and where each begins in the text

    def add(self, index: int, token: Token) -> Part | None:
        """The part that the token completes; None where it has to wait for the next one."""
        writer = self._writer
        if token.id not in self._chat.eos_token_ids:
            self._held.append((token, writer.length))
        text = writer.add(token.id)
        finish = STOP if writer.stopped else token.finish
        if finish:
            text += writer.finish()
        if writer.stopped:
            self._held = [(one, at) for one, at in self._held if at < len(writer.text)]
        elif not finish and len(writer.text) < writer.length:
            return None
        held, self._held = self._held, []
        tokens = [one for one, _ in held]
        ended = token.id in self._chat.eos_token_ids and not writer.stopped
        return Part(
            index=index, text=text, tokens=tokens, finish=finish, end=token if ended else None
        )


async def parts(group: Group, chat: ChatTokenizer, stop: Sequence[str]) -> AsyncIterator[Part]:
    """The answers of a group as they come, cut at the stop texts; raises as the group does."""
    answers = [_Answer(chat, stop) for _ in group.questions]
    async for index, token in group:
        part = answers[index].add(index, token)
        if part is None:
            continue
        if part.finish and not token.finish:
            group.drop(index)
        yield part
