"""Reinforcement learning from a reward: proximal policy optimization (PPO).

    accelerate launch --config_file accelerate_config.yaml recipes/ppo.py \\
        --config recipes/pocket/ppo.yaml

Rows are prompts ({"prompt"}, more columns go to reward functions). The reward is a reward model,
a Python function, or a weighted sum. A step is one iteration of rollout_batch_size responses.
The output folder loads with plain AutoModelForCausalLM; samples/ shows the same prompts answered
before and after: the best, the worst and random ones by the reward.
"""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.progress import Progress as Bar
from torch import Tensor

from rlhf.data.held_out import load_train_and_held_out_prompts
from rlhf.data.rows.bad_rows import REJECTS, BadRows
from rlhf.data.rows.load import load_prompts, load_texts
from rlhf.data.rows.sources import split_weight
from rlhf.data.show import introduce
from rlhf.data.tokenization.thoughts import split_thought
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.manifest import DataUse, Manifest, write_manifest
from rlhf.models.context_length import beyond_training
from rlhf.models.generation.generate import Answer
from rlhf.models.lineage import MERGED_BASE
from rlhf.models.save import rehearse_saving, save_policy
from rlhf.report.write import write_report
from rlhf.rewards.function import check_columns, is_function
from rlhf.runtime.config import parse_config
from rlhf.runtime.distributed import is_main_process, on_main_process, print_once
from rlhf.runtime.entrypoint import run
from rlhf.runtime.printing import plain_console, rlhf_command
from rlhf.runtime.run_folder import RunConfig, begin_run, open_run_folder
from rlhf.training.common.adapter_base import keep_own_base
from rlhf.training.common.checkpoint import checkpoint_of_run
from rlhf.training.common.provenance import check_same_base, stage_manifest
from rlhf.training.common.publish import publish, push_to_hub
from rlhf.training.common.samples import write_samples
from rlhf.training.ppo.config import PPOConfig
from rlhf.training.ppo.memory_plan import plan
from rlhf.training.ppo.metrics import rollout_metrics
from rlhf.training.ppo.models import autocast, check_models, computes_in_bf16
from rlhf.training.ppo.samples import write_embeddings, write_tokens
from rlhf.training.ppo.trainer import PPOResult, PPOTrainer
from rlhf.types import PromptRow, ScoredRollouts

TOKENS_SHOWN = 3  # answers each of the best and the worst in samples/tokens.jsonl
SHOWN = 8  # answers each in samples/best.jsonl and samples/worst.jsonl; twice that at random


def main() -> None:
    """Check, load, train, answer the same prompts before and after, save."""
    configs = parse_config(RunConfig, PPOConfig, description=__doc__)
    run_config, config = configs
    world_size = begin_run(run_config, sharding="own")
    folder = Path(run_config.output_dir)

    chat, built_on = check_models(config)
    longest = config.max_prompt_length + config.max_completion_length
    positions = beyond_training(config.model_name_or_path, longest)
    data = load_data(config, chat, folder, run_config.seed)
    print_once(
        *chat.notes, *positions, f"{len(data.prompts)} prompts, {len(data.held_out)} to look at"
    )
    if run_config.dry_run:
        print_once(*plan(config, world_size))
        return

    checkpoint, remarks = checkpoint_of_run(run_config)
    print_once(*remarks)
    if checkpoint is not None:
        base = config.model_name_or_path
        on_main_process(lambda: check_same_base(checkpoint, base))

    def manifest_of(target: Path, stage: str = "ppo") -> Manifest:
        return stage_manifest(
            target,
            stage=stage,
            base_model=config.model_name_or_path,
            chat=chat,
            seed=run_config.seed,
            world_size=world_size,
            data=data.uses,
            configs=configs,
            built_on=built_on,
        )

    with Bar(console=plain_console(stderr=True), disable=not is_main_process()) as bar:
        trainer = PPOTrainer(
            run_config,
            config,
            chat,
            data.prompts,
            data.held_out,
            checkpoint=checkpoint,
            write_manifest=lambda target: write_manifest(target, manifest_of(target)),
            report=reporter(bar, config.num_steps),
            texts=data.texts,
        )
        print_once(*trainer.notes)
        on_main_process(lambda: rehearse_saving(trainer.models.policy, chat))
        # Now that nothing is refused any more: an earlier run is deleted here, where one is.
        on_main_process(
            lambda: introduce(open_run_folder(*configs), chat, data.prompts, count=config.show_rows)
        )
        keep_own_base(
            trainer.models.policy,
            config.model_name_or_path,
            folder,
            chat,
            dtype=torch.float32,
            manifest_of=lambda target: manifest_of(target, MERGED_BASE),
        )
        result = trainer.train()

    weights = trainer.models.policy_weights()
    with trainer.models.whole_policy() as policy:
        on_main_process(lambda: save(run_config, trainer, policy, result, weights, manifest_of))


@dataclass(frozen=True, kw_only=True)
class Data:
    """Prompts to train on, and the ones that are answered before and after."""

    prompts: Sequence[PromptRow]
    held_out: Sequence[PromptRow]
    texts: Sequence[str]  # of ptx_data
    uses: Sequence[DataUse]


def load_data(config: PPOConfig, chat: ChatTokenizer, folder: Path, seed: int) -> Data:
    """All prompts, checked. Without eval_data the first training prompts are looked at."""

    with BadRows(drop=config.drop_bad_rows, reject_file=folder / REJECTS) as bad_rows:
        load = partial(
            load_prompts,
            chat=chat,
            max_length=config.max_prompt_length,
            answer_length=config.max_completion_length,
            bad_rows=bad_rows,
        )
        prompts = load_train_and_held_out_prompts(load, config, seed=seed)
        texts = None
        if config.ptx_data is not None:
            texts = load_texts(config.ptx_data, role="ptx", bad_rows=bad_rows)
    for source in (split_weight(source)[1] for source in config.reward):
        for rows in (prompts.train, prompts.held_out):
            if is_function(source) and rows:
                check_columns(source, {name for row in rows for name in row.columns})
    return Data(
        prompts=prompts.train,
        held_out=(prompts.held_out or prompts.train)[: config.num_eval_prompts],
        texts=texts.rows if texts is not None else [],
        uses=[*prompts.uses, *([texts.use] if texts is not None else [])],
    )


def reporter(bar: Bar, num_steps: int) -> Callable[[int, dict[str, float]], None]:
    """What the trainer calls after each step: moves the bar, prints a line now and then."""
    task = bar.add_task("ppo", total=num_steps)
    every = max(1, num_steps // 20)

    def report(step: int, figures: dict[str, float]) -> None:
        names = ("score", "kl", "response_length", "eos_rate")
        words = "  ".join(f"{name} {figures[name]:.2f}" for name in names)
        bar.update(task, completed=step, description=f"ppo {words}")
        if is_main_process() and (step % every == 0 or step == num_steps):
            bar.console.print(f"step {step}/{num_steps}  {words}", highlight=False)

    return report


def save(
    run_config: RunConfig,
    trainer: PPOTrainer,
    policy: Any,
    result: PPOResult,
    weights: dict[str, Tensor] | None,
    manifest_of: Callable[[Path], Manifest],
) -> None:
    """Samples, model, card and manifest."""
    folder = Path(run_config.output_dir)
    save_samples(folder, trainer, policy, result, run_config.seed)
    save_policy(folder, trainer.models.policy, trainer.chat, weights)
    publish(
        folder,
        manifest_of(folder),
        title="PPO",
        figures=figures(result),
        loads_with="AutoModelForCausalLM",
        places={
            "answers before and after": folder / "samples",
            "talk to it": rlhf_command("chat", folder),
        },
    )
    print_once(f"report: {write_report(folder)}")
    push_to_hub(folder, run_config.push_to_hub)


def save_samples(
    folder: Path, trainer: PPOTrainer, policy: Any, result: PPOResult, seed: int
) -> None:
    """samples/: the same prompts before and after; the tokens of some answers; all prompts."""
    after = result.after.scores.scores.tolist()
    ranking = sorted(range(len(after)), key=lambda row: -after[row])
    picked = random.Random(seed).sample(ranking, min(2 * SHOWN, len(ranking)))
    for name, rows in (
        ("best", ranking[:SHOWN]),
        ("worst", ranking[::-1][:SHOWN]),
        ("random", picked),
    ):
        prompts = [result.after.rollouts.batch.prompts[row] for row in rows]
        sides = {"before": result.before, "after": result.after}
        answers = {side: [answer(of, row) for row in rows] for side, of in sides.items()}
        scores = {
            side: [float(of.scores.scores[row]) for row in rows] for side, of in sides.items()
        }
        write_samples(folder, name, prompts, answers, scores)
    shown = {"best": ranking[:TOKENS_SHOWN], "worst": ranking[::-1][:TOKENS_SHOWN]}
    # One answer a prompt is no group: estimators without a critic have nothing to say of it.
    advantages = None
    if trainer.config.has_critic:
        advantages = trainer.experience(result.after).advantages
    write_tokens(folder, result.after, advantages, trainer.chat, shown, after)
    with autocast(trainer.device, computes_in_bf16(trainer.config)):
        write_embeddings(folder, policy, result.after.rollouts, after)


def answer(evaluated: ScoredRollouts, row: int) -> Answer:
    """One row's answer."""
    rollouts = evaluated.rollouts
    ids = rollouts.response_ids[row][rollouts.response_mask[row]].tolist()
    thought, text = split_thought(rollouts.texts[row])
    return Answer(
        text=text,
        ids=ids,
        ended_with_eos=bool(rollouts.ended_with_eos[row]),
        thought=thought,
        thought_tokens=int(rollouts.thought_lengths[row]),
    )


def figures(result: PPOResult) -> dict[str, str]:
    """The run's figures in words, before -> after on the prompts looked at."""
    before, after = rollout_metrics(result.before), rollout_metrics(result.after)
    lines = {
        "iterations": str(result.progress.step),
        "responses": str(result.progress.episodes),
        "score": f"{before['score']:.3f} -> {after['score']:.3f}",
        "KL from the start": f"{after['kl']:.2f} nats per sequence",
        "response length": (
            f"{before['response_length']:.1f} -> {after['response_length']:.1f} tokens"
        ),
        "finished": f"{before['eos_rate']:.1%} -> {after['eos_rate']:.1%}",
        "prompts looked at": str(len(result.after.rollouts.texts)),
    }
    if result.progress.best_step:
        step, score = result.progress.best_step, result.progress.best_score
        lines["best held-out score"] = f"{score:.3f} at iteration {step}, kept in best/"
    elif result.progress.best_score > -math.inf:
        lines["best held-out score"] = (
            f"{result.progress.best_score:.3f} before the first iteration"
        )
    return lines | ({"stopped early": result.stopped_early} if result.stopped_early else {})


if __name__ == "__main__":
    run(main)
