"""Responses of a run and their scores: of an iteration's prompts, and of the held-out ones."""

from collections.abc import Sequence
from typing import TypeAlias

from accelerate import Accelerator
from peft import PeftModel
from transformers import PreTrainedModel

from rlhf.errors import TrainingError
from rlhf.models.generation.decoder import Generated
from rlhf.rewards.reward import Reward
from rlhf.rollouts.engine import RolloutEngine
from rlhf.rollouts.play import Player
from rlhf.rollouts.played import Played
from rlhf.rollouts.trial import try_engine
from rlhf.training.common.arguments import is_temporary
from rlhf.training.ppo.ahead import Ahead
from rlhf.training.ppo.compute import Compute
from rlhf.training.ppo.diagnostics import check_finite
from rlhf.training.ppo.dynamic_sampling import replace_equal_groups
from rlhf.training.ppo.environment import load_player
from rlhf.training.ppo.gather import gather_rows, intersect_rows, select_rows, without_failures
from rlhf.training.ppo.modes import PPOModels
from rlhf.training.ppo.reward_metrics import count_metrics, take_counts
from rlhf.training.ppo.rollout import (
    as_rollouts,
    local_shard,
    one_of_each_group,
    other_prompts,
    prompts_for_step,
    sample,
)
from rlhf.training.ppo.score import score_rollouts, with_greedy_scores
from rlhf.training.ppo.setup import PPOSetup
from rlhf.types import PromptBatch, Rollouts, ScoredRollouts

Policy: TypeAlias = PreTrainedModel | PeftModel
REFERENCE = "reference"  # a version of weights
HELD_OUT = -1  # the iteration that keys held-out sampling: the same noise at every evaluation
# Largest shares of responses that may have no reward, with on_reward_error=skip.
MOST_SKIPPED, MOST_SKIPPED_HELD_OUT, MOST_SKIPPED_REPLACED = 0.01, 0.5, 0.5


class Sampler:
    """Samples responses on this process, and scores those of all processes."""

    def __init__(
        self,
        setup: PPOSetup,
        accelerator: Accelerator,
        models: PPOModels,
        reward: Reward,
        compute: Compute,
        engine: RolloutEngine,
    ) -> None:
        self.setup, self.accelerator, self.compute = setup, accelerator, compute
        self.models, self.reward = models, reward
        self.engine, self.version = engine, ""  # of the weights that the engine has
        self.ahead = Ahead()
        stops = reward.on_error == "stop"
        self.player = load_player(setup.environment, setup.chat, setup.config, stops=stops)

    def next_prompts(self, step: int) -> PromptBatch:
        """This process's prompts of iteration `step`, `num_generations` rows each."""
        setup, config = self.setup, self.setup.config
        rows = prompts_for_step(setup.prompts, step - 1, count=config.num_prompts, seed=setup.seed)
        return local_shard(
            rows, setup.chat, self.accelerator, num_generations=config.num_generations
        )

    def try_engine(self, step: int) -> None:
        """Check by a short response that a server samples from the policy after this iteration.

        Raises:
            TrainingError: it samples from other weights, or was lost.
        """
        if self.engine.name != "vllm":
            return
        with self.models.whole_policy() as policy, self.compute.autocast():
            self._give(policy, after_step(step))
            try_engine(
                self.engine,
                policy,
                self.setup.chat,
                self.setup.prompts[0],
                longest=self.setup.config.max_completion_length,
                place="before the first rollout",
            )

    def roll_out(
        self,
        policy: Policy,
        batch: PromptBatch,
        iteration: int,
        *,
        version: str = "",
        temperature: float | None = None,
    ) -> Rollouts:
        """A sampled response to every row, or an episode, with its log-probs.

        Args:
            policy: the model to sample from, with whole weights.
            batch: left-padded prompts.
            iteration: keys the noise.
            version: of the weights; an engine that has them is not given them again.
            temperature: in place of the configured one; 0 for the likeliest tokens.
        """
        self.ahead.wait()
        generated = self.ahead.take(iteration) if temperature is None else None
        played = None
        if generated is None:
            self._give(policy, version)
            if self.player is None:
                generated = self._sample(batch, iteration, temperature)
            else:
                played = self._play(self.player, batch, iteration, temperature)
                batch, generated = played.batch, played.generated
        return as_rollouts(
            generated,
            batch,
            policy,
            self.setup.config,
            self.compute,
            self.setup.chat,
            recomputes=self.setup.config.recomputes_logprobs and temperature is None,
            played=played,
        )

    def _play(
        self, player: Player, batch: PromptBatch, iteration: int, temperature: float | None
    ) -> Played:
        """An episode for every row."""

        def sample_turn(part: PromptBatch, seed: int, limits: Sequence[int]) -> Generated:
            return self._sample(part, iteration, temperature, seed=seed, row_limits=limits)

        return player.play(batch, sample_turn, seed=self.setup.seed, iteration=iteration)

    def start_next(self, policy: Policy, step: int) -> None:
        """Begin to sample the responses of iteration `step`, one ahead, with these weights."""
        batch = self.next_prompts(step)
        self._give(policy, after_step(step - 2))
        self.ahead.start(step, lambda: self._sample(batch, step, None))

    def _give(self, policy: Policy, version: str) -> None:
        """Give the engine the policy's weights, unless it has this version of them."""
        if not version or version != self.version:
            self.engine.update_weights(policy)
            self.version = version

    def _sample(
        self,
        batch: PromptBatch,
        iteration: int,
        temperature: float | None,
        *,
        seed: int | None = None,
        row_limits: Sequence[int] | None = None,
    ) -> Generated:
        setup = self.setup
        return sample(
            self.engine,
            batch,
            setup.config,
            self.compute,
            setup.chat,
            seed=setup.seed if seed is None else seed,
            iteration=iteration,
            temperature=temperature,
            row_limits=row_limits,
        )

    def close(self) -> None:
        """End the engine, the environments, and what is sampled ahead."""
        self.ahead.close()
        if self.player is not None:
            self.player.close()
        self.engine.close()

    def roll_out_greedily(self, policy: Policy, batch: PromptBatch, step: int) -> Rollouts:
        """The response of likeliest tokens to each prompt of the batch of iteration `step`."""
        prompts = one_of_each_group(batch, self.setup.config.num_generations)
        return self.roll_out(policy, prompts, step, version=after_step(step - 1), temperature=0.0)

    def replace_equal_groups(self, scored: ScoredRollouts, step: int) -> tuple[ScoredRollouts, int]:
        """The rollouts of iteration `step` after dynamic sampling; how many groups were drawn."""

        def draw(attempt: int, count: int) -> ScoredRollouts:
            return self._other_groups(step, attempt, count)

        return replace_equal_groups(scored, self.setup.config, draw)

    def _other_groups(self, step: int, attempt: int, count: int) -> ScoredRollouts:
        """Scored responses to `count` other prompts, whose ids follow those of earlier attempts.

        Each process samples at least one prompt. With fewer prompts than processes, some are
        sampled in vain, so that the number of processes does not change which are used.
        """
        setup, config = self.setup, self.setup.config
        first = attempt * config.num_prompts
        rows = other_prompts(setup.prompts, step, attempt, count=count, seed=setup.seed)
        idle = self.accelerator.num_processes - count
        batch = local_shard(
            rows + rows[:1] * idle,
            setup.chat,
            self.accelerator,
            num_generations=config.num_generations,
            first_index=first,
        )
        with self.models.whole_policy() as policy:
            rollouts = self.roll_out(policy, batch, step, version=after_step(step - 1))
        scored = self.score(rollouts, step, most_skipped=MOST_SKIPPED_REPLACED)
        used = scored.rollouts.batch.group_ids < first + count
        return select_rows(scored, used.nonzero()[:, 0])

    def score(
        self,
        rollouts: Rollouts,
        step: int,
        *,
        greedy: Rollouts | None = None,
        most_skipped: float = MOST_SKIPPED,
    ) -> ScoredRollouts:
        """Scores, log-probs of the reference and values, of the rows of all processes.

        Args:
            rollouts: of this process.
            step: the iteration, for messages.
            greedy: the likeliest response to each prompt, whose score is a baseline.
            most_skipped: share of the responses that may have no reward, with on_reward_error=skip.

        Raises:
            TrainingError: a reward that cannot be used, or too many of them; a number that is not
                finite.
        """
        try:
            local = score_rollouts(rollouts, self.models, self.reward, self.compute)
            if greedy is not None:
                local = with_greedy_scores(local, greedy, self.reward, self.setup.config)
            scored = gather_rows(local, self.accelerator.num_processes)
            if self.reward.on_error == "skip":
                scored = without_failures(scored, at_most=most_skipped)
        except TrainingError as error:
            if error.code != "no-reward":
                raise
            raise TrainingError(
                f"step {step}: {str(error).rstrip('.')}.{self._next_steps()}", code="no-reward"
            ) from error
        check_finite(scored, step)
        return scored

    def take_counts(self) -> dict[str, float]:
        """Metrics of the calls and failures of the reward's sources since the last time."""
        skips = self.reward.on_error == "skip"
        if not skips and not self.reward.is_called:
            return {}
        counts = take_counts(self.reward, self.accelerator.num_processes)
        return count_metrics(counts, skips=skips)

    def _next_steps(self) -> str:
        """What helps, apart from a correction of the reward; each sentence after a space."""
        skip = " Or set on_reward_error=skip." if self.reward.on_error != "skip" else ""
        resume = " Resume from the last checkpoint." if not is_temporary(self.setup.folder) else ""
        return skip + resume

    def score_held_out(self, step: int, *, reference: bool = False) -> ScoredRollouts:
        """One scored response to each held-out prompt, always with the same noise.

        Args:
            step: the policy is that after this iteration.
            reference: whether to sample from the reference instead.
        """
        batch = local_shard(
            self.setup.held_out, self.setup.chat, self.accelerator, num_generations=1
        )
        model = self.models.reference if reference else self.models.whole_policy
        with model() as policy:
            version = REFERENCE if reference else after_step(step)
            rollouts = self.roll_out(policy, batch, HELD_OUT, version=version)
        scored = self.score(rollouts, step, most_skipped=MOST_SKIPPED_HELD_OUT)
        self.reward.counts.take()  # which are of an iteration's responses
        return scored

    def score_before_and_after(self, step: int) -> tuple[ScoredRollouts, ScoredRollouts]:
        """Responses of the reference and of the policy to the same held-out prompts, scored."""
        before = self.score_held_out(step, reference=True)
        return intersect_rows(before, self.score_held_out(step))


def after_step(step: int) -> str:
    """The version of the policy's weights after an iteration."""
    return f"policy after step {step}"
