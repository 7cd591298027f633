"""Sample and judge responses of the policies of a comparison.

    python -m rlhf.pipeline.compare.measure --settings SETTINGS.json

One process loads the SFT model, the judge and the reward once for all policies. Each policy's
answers.jsonl is written when it is complete, so that an interrupted evaluation goes on with the
next policy. The records are those of `rlhf evaluate`; their scores are `judge` and `reward`.
"""

import argparse
import gc
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from accelerate import PartialState

from rlhf.evaluation.core.config import EvaluateConfig
from rlhf.evaluation.core.records import (
    RECORDS_FILE,
    Record,
    read_records,
    write_records,
)
from rlhf.evaluation.core.sampling import EvaluatedModel, load_evaluated_model, sample_records
from rlhf.evaluation.run import choose_rows, load_rows
from rlhf.manifest import write_atomically
from rlhf.pipeline.compare.config import CompareConfig
from rlhf.pipeline.compare.evaluation import INPUTS, SFT, Job
from rlhf.rewards.config import RewardConfig
from rlhf.rewards.reward import Reward, load_reward
from rlhf.rewards.spec import parse_rewards
from rlhf.runtime.distributed import print_once, start_processes
from rlhf.runtime.entrypoint import run
from rlhf.runtime.printing import counted, quiet_logs
from rlhf.types import PromptRow

JUDGE, REWARD = "judge", "reward"


@dataclass(frozen=True, kw_only=True)
class Evaluator:
    """What all jobs share."""

    config: EvaluateConfig
    rows: Sequence[PromptRow]
    reference: EvaluatedModel  # the SFT model
    rewards: dict[str, Reward]  # judge, reward
    seed: int


def evaluate_config(config: CompareConfig) -> EvaluateConfig:
    """The keys of the evaluation that sampling reads."""
    return EvaluateConfig(
        models=[f"{SFT}={config.model_name_or_path}"],
        eval_data=config.heldout_prompts,
        max_prompts=config.max_prompts,
        num_generations=config.num_generations,
        max_prompt_length=config.max_prompt_length,
        max_completion_length=config.max_completion_length,
        temperature=config.temperature,
        per_device_eval_batch_size=config.per_device_eval_batch_size,
        chat_template=config.chat_template,
        chat_template_kwargs=config.chat_template_kwargs,
        bf16=config.bf16,
        drop_bad_rows=config.drop_bad_rows,
    )


def run_job(job: Job, evaluator: Evaluator) -> None:
    """Sample (or read earlier responses of the same model), judge, write."""
    folder = Path(job.folder)
    records = earlier_records(job)
    if records is None:
        number = counted(job.num_generations, "response")
        print_once(f"{job.name}: {number} to each of {len(evaluator.rows)} prompts")
        records = sampled(job, evaluator)
    for key, reward in evaluator.rewards.items():
        records = scored(records, evaluator.rows, reward, key)
    (folder / INPUTS).unlink(missing_ok=True)  # until the new records are complete
    write_records(folder, evaluator.rows, records)
    inputs = {"sampling": job.sampling, "judging": job.judging}
    write_atomically(folder / INPUTS, json.dumps(inputs, indent=1) + "\n")


def earlier_records(job: Job) -> list[Record] | None:
    """The records of an earlier evaluation with other judges; None if the sampling differs."""
    folder = Path(job.folder)
    try:
        inputs = json.loads((folder / INPUTS).read_text(encoding="utf-8"))
        if inputs["sampling"] != job.sampling:
            return None
        return [replace(record, scores={}) for record in read_records(folder / RECORDS_FILE)]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def sampled(job: Job, evaluator: Evaluator) -> list[Record]:
    """Responses of the job's model to all prompts."""
    config = replace(evaluator.config, num_generations=job.num_generations)
    indices = range(len(evaluator.rows))
    if job.model == config.model_paths[SFT]:
        evaluated = replace(evaluator.reference, name=job.name)
    else:
        device = PartialState().device
        evaluated = load_evaluated_model(job.name, job.model, config, device)
    reference = evaluator.reference if job.measures_kl else None
    records = sample_records(evaluated, reference, evaluator.rows, indices, config, evaluator.seed)
    del evaluated
    gc.collect()  # models are in reference cycles, and the next one needs the memory
    return records


def scored(
    records: Sequence[Record], rows: Sequence[PromptRow], reward: Reward, key: str
) -> list[Record]:
    """The records with their scores. Equal responses to a prompt are scored once: they tie."""
    places: dict[tuple[int, str], int] = {}
    for record in records:
        places.setdefault((record.prompt_index, record.response), len(places))
    scores = reward.score(
        [rows[index].prompt for index, _ in places],
        [text for _, text in places],
        [rows[index].columns for index, _ in places],
    ).scores.tolist()
    return [
        replace(
            record,
            scores={**record.scores, key: scores[places[record.prompt_index, record.response]]},
        )
        for record in records
    ]


def make_evaluator(
    config: CompareConfig, rewards: list[str], seed: int, device: torch.device
) -> Evaluator:
    """Load the prompts, the SFT model, the judge and the reward.

    Raises:
        ConfigError, DataError, CheckpointError: one of them cannot be used.
    """
    evaluate = evaluate_config(config)
    rows = choose_rows(load_rows(config.heldout_prompts, evaluate, []).rows, evaluate, seed)
    raw = config.chat_template == "none"

    def loaded(sources: list[str]) -> Reward:
        keys = RewardConfig(reward=sources, normalize_reward=config.normalize_reward)
        templates = keys.templates(parse_rewards(sources), raw=raw)
        return load_reward(
            sources, normalize=config.normalize_reward, templates=templates, device=device
        )

    return Evaluator(
        config=evaluate,
        rows=rows,
        reference=load_evaluated_model(SFT, config.model_name_or_path, evaluate, device),
        rewards={JUDGE: loaded([config.judge]), REWARD: loaded(rewards)},
        seed=seed,
    )


def main() -> None:
    """Run the jobs in a JSON file."""
    parser = argparse.ArgumentParser(prog="rlhf.pipeline.compare.measure", allow_abbrev=False)
    parser.add_argument("--settings", required=True)
    content = json.loads(Path(parser.parse_args().settings).read_text(encoding="utf-8"))
    quiet_logs()
    start_processes(content["cpu_threads"])
    device = PartialState().device
    config = CompareConfig(**content["config"])
    evaluator = make_evaluator(config, content["rewards"], content["seed"], device)
    for job in content["jobs"]:
        run_job(Job(**job), evaluator)


if __name__ == "__main__":
    run(main, name="rlhf compare")
