"""Episodes of a batch of prompts: the model's turns by an engine, the answers by environments."""

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from rlhf.data.collate import left_pad
from rlhf.data.tokenization.chat import prompt_ids
from rlhf.data.tokenization.decode import thought_length
from rlhf.data.tokenization.rendering import as_messages
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.data.tokenization.turns import ids_between_turns, written_turn
from rlhf.errors import DataError, TrainingError
from rlhf.models.generation.decoder import Generated
from rlhf.rollouts.calls import Calls
from rlhf.rollouts.environment import (
    EnvironmentSpec,
    Unusable,
    read_start,
    read_step,
    reset_arguments,
)
from rlhf.rollouts.episode import Episode
from rlhf.rollouts.played import Played, as_played
from rlhf.types import Prompt, PromptBatch, tools_in

Sample = Callable[[PromptBatch, int, Sequence[int]], Generated]
"""(prompts, seed, longest response of each row) -> a response to each row."""


class Player:
    """Plays episodes.

    Args:
        spec: the environments' class.
        chat: the policy's tokenizer.
        max_turns: turns of the model after which an episode is cut off.
        max_prompt_length: longest conversation before the first turn, in tokens.
        max_completion_length: longest episode after it, in tokens, with the environment's messages.
        stops: whether an environment that raises, or returns no usable reward, ends the run; else
            the episode has no reward.
    """

    def __init__(
        self,
        spec: EnvironmentSpec,
        chat: ChatTokenizer,
        *,
        max_turns: int,
        max_prompt_length: int,
        max_completion_length: int,
        stops: bool,
    ) -> None:
        self.spec, self.chat, self.stops = spec, chat, stops
        self.max_turns, self.max_prompt_length = max_turns, max_prompt_length
        self.max_completion_length = max_completion_length
        self.calls = Calls()

    def play(self, batch: PromptBatch, sample: Sample, *, seed: int, iteration: int) -> Played:
        """An episode for every row.

        The noise of a token depends on seed, iteration, row, turn and place; the environments of
        one group get the same seed.

        Args:
            batch: prompts and columns; environments may begin with other conversations.
            sample: samples a turn of some rows.
            seed: of the run.
            iteration: see above.

        Raises:
            TrainingError: an environment that cannot be used.
        """
        environments: list[Any] = [self._made() for _ in batch.prompts]
        has_entropies = True
        closed: list[object] = []
        try:
            episodes = self._begin(batch, environments, seed=seed, iteration=iteration)
            for turn in range(self.max_turns):
                playing = [episode for episode in episodes if not episode.over]
                if not playing:
                    break
                has_entropies &= self._sample_turn(batch, playing, sample, turn_seed(seed, turn))
                self._answer(playing, is_last=turn + 1 == self.max_turns)
        finally:
            closed = self.calls.run([each.close for each in environments if hasattr(each, "close")])
        for error in closed:
            if isinstance(error, Exception):
                raise self._broken("close", error) from error
        return as_played(batch, episodes, self.chat.pad_token_id, has_entropies=has_entropies)

    def close(self) -> None:
        """End what async environments run in."""
        self.calls.close()

    def _made(self) -> Any:
        try:
            return self.spec.make()
        except Exception as error:
            raise self._broken("__init__", error) from error

    def _broken(self, place: str, error: Exception) -> TrainingError:
        return TrainingError(
            f"environment {self.spec.name}, {place} {_reason(error)}; correct the environment.",
            code="bad-environment",
        )

    def _begin(
        self, batch: PromptBatch, environments: Sequence[Any], *, seed: int, iteration: int
    ) -> list[Episode]:
        """The episodes after `reset`."""
        groups = batch.group_ids.tolist()
        functions = []
        for row, environment in enumerate(environments):
            arguments = reset_arguments(
                self.spec,
                batch.prompts[row],
                batch.columns[row],
                environment_seed(seed, iteration, groups[row]),
            )
            functions.append(partial(environment.reset, **arguments))
        results = self.calls.run(functions)
        return [
            self._episode(row, environments[row], batch, result)
            for row, result in enumerate(results)
        ]

    def _episode(
        self, row: int, environment: object, batch: PromptBatch, result: object
    ) -> Episode:
        """The episode that begins with what `reset` returned.

        Raises:
            TrainingError: it raised, or returned no conversation, or too long a one.
        """
        prompt, tools = batch.prompts[row], [*self.spec.tools, *tools_in(batch.columns[row])]
        try:
            if isinstance(result, Exception):
                raise result
            start = read_start(result, prompt)
            ids = prompt_ids(self.chat, start, tools)
        except Exception as error:
            raise self._broken(_place("reset", prompt), error) from error
        if len(ids) > self.max_prompt_length:
            raise TrainingError(
                f"environment {self.spec.name}, {_place('reset', prompt)} begins with {len(ids)} "
                f"tokens, more than max_prompt_length={self.max_prompt_length}; raise it, or "
                "shorten the conversation and the tools.",
                code="too-long",
            )
        messages = as_messages(start)
        return Episode(
            row=row,
            environment=environment,
            prompt=start,
            messages=messages,
            first_turn=len(messages),
            prompt_ids=ids,
            tools=tools,
            limit=self.max_completion_length,
        )

    def _sample_turn(
        self, batch: PromptBatch, playing: Sequence[Episode], sample: Sample, seed: int
    ) -> bool:
        """Sample the next turn of these episodes; whether the engine computed entropies."""
        part = _batch_of(batch, playing, self.chat.pad_token_id)
        generated = sample(part, seed, [episode.left for episode in playing])
        entropies = generated.entropies
        for number, episode in enumerate(playing):
            length = int(generated.response_mask[number].sum())
            ids = generated.response_ids[number, :length].tolist()
            before = [*episode.prompt_ids, *episode.ids]
            episode.write(
                written_turn(self.chat, before, ids, episode.tools),
                ids,
                generated.logprobs[number, :length].tolist(),
                [0.0] * length if entropies is None else entropies[number, :length].tolist(),
                ended=bool(generated.ended_with_eos[number]),
                thought_tokens=thought_length(self.chat, ids),
            )
        return entropies is not None

    def _answer(self, playing: Sequence[Episode], *, is_last: bool) -> None:
        """Have the environments answer the last turn of these episodes."""
        results = self.calls.run(
            [
                partial(episode.environment.step, [message.copy() for message in episode.messages])
                for episode in playing
            ]
        )
        for episode, result in zip(playing, results, strict=True):
            turn = episode.messages[-1]
            try:
                if isinstance(result, Exception):
                    raise result
                step = read_step(result)
                episode.receive(step, is_last=is_last)
                if not episode.over:
                    episode.append(ids_between_turns(self.chat, turn, step.messages))
            except Exception as error:
                self._fail(episode, error)

    def _fail(self, episode: Episode, error: Exception) -> None:
        """End the episode without a reward, or the run.

        Raises:
            TrainingError: the reason, where the run stops.
        """
        place = _place(f"step of turn {episode.num_turns}", episode.prompt)
        reason = f"environment {self.spec.name}, {place} {_reason(error)}"
        if self.stops:
            raise TrainingError(
                f"{reason}; correct the environment, or set on_reward_error=skip.",
                code="no-reward",
            ) from error
        episode.fail(reason)


def turn_seed(seed: int, turn: int) -> int:
    """The seed of the noise of a turn, from 0; the first has that of the run."""
    if turn == 0:
        return seed
    return int.from_bytes(hashlib.sha256(f"{seed} turn {turn}".encode()).digest()[:7])


def environment_seed(seed: int, iteration: int, group: int) -> int:
    """The seed that the environments of a group get, below 2^32."""
    text = f"{seed} {iteration} {group}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4])


def _place(method: str, prompt: Prompt) -> str:
    return f"{method} (prompt {str(prompt)[:80]!r})"


def _reason(error: Exception) -> str:
    """What was wrong: a check's own sentence, or the exception of the user's code."""
    if isinstance(error, DataError | Unusable):
        return str(error).rstrip(".")
    return f"raised {type(error).__name__}: {str(error).rstrip('.')}"


def _batch_of(batch: PromptBatch, playing: Sequence[Episode], pad_token_id: int) -> PromptBatch:
    """The conversations of these episodes; neighbours with equal ids are a group."""
    ids = [[*episode.prompt_ids, *episode.ids] for episode in playing]
    starts = [number == 0 or ids[number] != ids[number - 1] for number in range(len(ids))]
    input_ids, mask = left_pad(ids, pad_token_id)
    device = batch.input_ids.device
    rows = [episode.row for episode in playing]
    return PromptBatch(
        input_ids=input_ids.to(device),
        attention_mask=mask.to(device),
        prompts=[episode.messages for episode in playing],
        group_ids=torch.tensor(starts, device=device).cumsum(0),
        row_ids=batch.row_ids[rows],
        columns=[batch.columns[row] for row in rows],
    )
