"""One episode: the ids of all turns, which of them the model wrote, and the turns' rewards."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rlhf.data.tokenization.thoughts import with_thought
from rlhf.rollouts.environment import Step
from rlhf.types import Message, Prompt, Tools


@dataclass(kw_only=True)
class Episode:
    """One response of several turns, while it is played.

    `ids` are the tokens after the prompt: those that the model wrote, exactly as it wrote them, and
    those of the environment's messages between two turns.
    """

    row: int  # of the batch
    environment: Any
    prompt: Prompt
    messages: list[Message]  # the whole conversation
    prompt_ids: Sequence[int]
    tools: Tools
    limit: int  # of the tokens after the prompt
    ids: list[int] = field(default_factory=list)
    written: list[bool] = field(default_factory=list)  # by the model, one for each of `ids`
    logprobs: list[float] = field(default_factory=list)  # likewise; 0 for the environment's
    entropies: list[float] = field(default_factory=list)  # likewise
    rewards: list[float] = field(default_factory=list)  # likewise; of a turn at its last token
    num_turns: int = 0
    num_calls: int = 0
    thought_tokens: int = 0
    ended: bool = False  # whether the model ended its last turn
    done: bool = False  # whether the environment ended the episode
    over: bool = False  # whether no turn follows
    failure: str = ""  # why the environment gave no reward
    first_turn: int = 0  # its place in `messages`

    @property
    def left(self) -> int:
        """Tokens that the next turn may have."""
        return self.limit - len(self.ids)

    @property
    def finished(self) -> bool:
        """Whether the episode came to its own end, instead of being cut off."""
        return self.done and self.ended

    @property
    def last_turn_at(self) -> int:
        """The place of the model's last turn in `messages`."""
        roles = [message["role"] for message in self.messages]
        return len(roles) - 1 - roles[::-1].index("assistant")

    def write(
        self,
        turn: Message,
        ids: Sequence[int],
        logprobs: Sequence[float],
        entropies: Sequence[float],
        *,
        ended: bool,
        thought_tokens: int,
    ) -> None:
        """Append a turn of the model.

        Args:
            turn: its message.
            ids: its tokens, with the end of the turn, if any.
            logprobs: of the tokens.
            entropies: of the tokens.
            ended: whether the last token is an end.
            thought_tokens: of the thought in it.
        """
        self.ids += ids
        self.written += [True] * len(ids)
        self.logprobs += logprobs
        self.entropies += entropies
        self.rewards += [0.0] * len(ids)
        self.messages.append(turn)
        self.num_turns += 1
        self.num_calls += len(turn.get("tool_calls", ()))
        self.thought_tokens += thought_tokens
        self.ended = ended

    def receive(self, step: Step, *, is_last: bool) -> None:
        """Take the environment's answer to the last turn.

        is_last: whether no turn may follow.
        """
        self.rewards[-1] = step.reward
        self.done = step.done
        self.over = step.done or is_last or not self.ended
        self.messages += step.messages

    def append(self, ids: Sequence[int]) -> None:
        """Append tokens of the environment's messages; the episode is over if no turn fits then."""
        if len(ids) >= self.left:
            self.over = True
            return
        zeros = [0.0] * len(ids)
        self.ids += ids
        self.written += [False] * len(ids)
        self.logprobs += zeros
        self.entropies += zeros
        self.rewards += zeros

    def fail(self, reason: str) -> None:
        """End the episode without a reward."""
        self.failure, self.over = reason, True

    def transcript(self) -> str:
        """The turns as a text; every message but the first is after a line with its role."""
        parts: list[str] = []
        for message in self.messages[self.first_turn :]:
            header = f"[{message['role']}]\n" if parts else ""
            parts.append(header + _text(message))
        return "\n\n".join(parts)


def _text(message: Message) -> str:
    text = with_thought(message.get("reasoning_content", ""), message["content"])
    calls = [json.dumps(call, ensure_ascii=False) for call in message.get("tool_calls", ())]
    return "\n".join(filter(None, [text, *calls]))
