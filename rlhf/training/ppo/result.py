"""The result of a PPO run, and what it leaves in a folder: policy, samples, card, manifest."""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel

from rlhf.data.tokenization.thoughts import split_thought
from rlhf.models.generation.generate import SampledResponse
from rlhf.models.save import save_policy
from rlhf.runtime.printing import rlhf_command
from rlhf.training.common.metrics import MetricsLine
from rlhf.training.common.publish import publish
from rlhf.training.common.samples import write_samples
from rlhf.training.ppo.compute import Compute
from rlhf.training.ppo.experience import make_experience
from rlhf.training.ppo.metrics import rollout_metrics
from rlhf.training.ppo.modes import PPOModels
from rlhf.training.ppo.samples import write_embeddings, write_tokens
from rlhf.training.ppo.setup import PPOSetup
from rlhf.training.ppo.state import Progress
from rlhf.types import ScoredRollouts

NUM_TOKEN_ROWS = 3  # of the best and of the worst responses, in samples/tokens.jsonl
NUM_SAMPLES = 8  # in samples/best.jsonl and samples/worst.jsonl; twice that at random


@dataclass(frozen=True, kw_only=True, repr=False)
class PPOResult:
    """A finished run. `before` and `after` hold responses to the same held-out prompts."""

    progress: Progress
    before: ScoredRollouts
    after: ScoredRollouts
    stopped_early: str  # a sentence; empty where the run went to its end
    metrics: Sequence[MetricsLine]  # the lines of metrics.jsonl

    @property
    def steps(self) -> int:
        """Iterations of the run."""
        return self.progress.step

    def __repr__(self) -> str:
        return f"PPOResult({', '.join(f'{name}: {text}' for name, text in summary(self).items())})"


def write_policy(
    folder: Path,
    setup: PPOSetup,
    policy: PreTrainedModel | PeftModel,
    weights: dict[str, Tensor] | None,
    lines: Mapping[str, str],
) -> None:
    """Write the policy with tokenizer, manifest and model card; print a table of the metrics.

    Args:
        folder: the folder to write to.
        setup: the run.
        policy: the trained policy.
        weights: its whole weights, where they are sharded.
        lines: metrics of the run for people, from `summary` or `unfinished`.
    """
    save_policy(folder, policy, setup.chat, weights)
    samples = folder / "samples"
    publish(
        folder,
        setup.manifest(folder),
        title="PPO",
        metrics=lines,
        loads_with="AutoModelForCausalLM",
        places={
            **({"responses before and after": samples} if samples.is_dir() else {}),
            "chat with it": rlhf_command("chat", folder),
        },
    )


def write_all_samples(
    setup: PPOSetup,
    models: PPOModels,
    policy: PreTrainedModel | PeftModel,
    compute: Compute,
    result: PPOResult,
) -> None:
    """samples/: the same prompts before and after; token values; embeddings of all prompts."""
    folder, after = setup.folder, result.after.scores.scores.tolist()
    ranking = sorted(range(len(after)), key=lambda row: -after[row])
    drawn = random.Random(setup.seed).sample(ranking, min(2 * NUM_SAMPLES, len(ranking)))
    _write_before_and_after(folder, "best", ranking[:NUM_SAMPLES], result)
    _write_before_and_after(folder, "worst", ranking[::-1][:NUM_SAMPLES], result)
    _write_before_and_after(folder, "random", drawn, result)
    # One response per prompt is not a group: the group estimators have no advantages of it.
    advantages = None
    if models.critic is not None:
        kl_coef = result.progress.kl_coef
        advantages = make_experience(result.after, setup.config, kl_coef=kl_coef).advantages
    rows = {"best": ranking[:NUM_TOKEN_ROWS], "worst": ranking[::-1][:NUM_TOKEN_ROWS]}
    write_tokens(folder, result.after, advantages, setup.chat, rows, after)
    with compute.autocast():
        write_embeddings(folder, policy, result.after.rollouts, after)


def summary(result: PPOResult) -> dict[str, str]:
    """The run's metrics for people, before -> after on the sampled prompts."""
    before, after = rollout_metrics(result.before), rollout_metrics(result.after)
    progress = result.progress
    lines = {
        "iterations": str(progress.step),
        "responses": str(progress.episodes),
        "score": f"{before['score']:.3f} -> {after['score']:.3f}",
        "KL from the start": f"{after['kl']:.2f} nats per response",
        "response length": (
            f"{before['response_length']:.1f} -> {after['response_length']:.1f} tokens"
        ),
        "finished": f"{before['eos_rate']:.1%} -> {after['eos_rate']:.1%}",
        "prompts sampled": str(len(result.after.rollouts.texts)),
    }
    if progress.best_step:
        best = f"{progress.best_score:.3f} at iteration {progress.best_step}, saved in best/"
        lines["best held-out score"] = best
    elif progress.best_score > -math.inf:
        lines["best held-out score"] = f"{progress.best_score:.3f} before the first iteration"
    return lines | ({"stopped early": result.stopped_early} if result.stopped_early else {})


def unfinished(progress: Progress) -> dict[str, str]:
    """As `summary`, of a run that was interrupted."""
    return {
        "iterations": str(progress.step),
        "responses": str(progress.episodes),
        "stopped early": f"interrupted in iteration {progress.step + 1}",
    }


def _write_before_and_after(
    folder: Path, name: str, rows: Sequence[int], result: PPOResult
) -> None:
    sides = {"before": result.before, "after": result.after}
    write_samples(
        folder,
        name,
        [result.after.rollouts.batch.prompts[row] for row in rows],
        {side: [_response(scored, row) for row in rows] for side, scored in sides.items()},
        {
            side: [float(scored.scores.scores[row]) for row in rows]
            for side, scored in sides.items()
        },
    )


def _response(scored: ScoredRollouts, row: int) -> SampledResponse:
    rollouts = scored.rollouts
    ids = rollouts.response_ids[row][rollouts.response_mask[row]].tolist()
    thought, text = split_thought(rollouts.texts[row])
    return SampledResponse(
        text=text,
        ids=ids,
        ended_with_eos=bool(rollouts.ended_with_eos[row]),
        thought=thought,
        thought_tokens=int(rollouts.thought_lengths[row]),
    )
