"""The evaluation of a comparison: what is sampled and judged, and what of it is done already."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rlhf.evaluation.core.records import RECORDS_FILE
from rlhf.manifest import write_atomically
from rlhf.pipeline.commands import run_module
from rlhf.pipeline.compare.config import CompareConfig
from rlhf.pipeline.compare.runs import EVALUATION, Run, chat_keys, policy_of, rewards_of
from rlhf.pipeline.fingerprint import fingerprint
from rlhf.pipeline.runner import Stage, Step
from rlhf.runtime.run_folder import RunConfig

SFT = "sft"
INPUTS, SETTINGS = "inputs.json", ".evaluation-settings.json"
SAMPLING = (
    *("max_prompts", "max_prompt_length", "max_completion_length", "temperature", "bf16"),
    "drop_bad_rows",
)


@dataclass(frozen=True, kw_only=True)
class Job:
    """Responses of one policy to all held-out prompts, with their scores and KL."""

    name: str  # key of its random numbers
    model: str
    folder: str  # where answers.jsonl and inputs.json are written
    num_generations: int
    measures_kl: bool  # from the SFT model
    sampling: Mapping[str, object]  # what the responses depend on
    judging: Mapping[str, object]  # what their scores depend on


def jobs_of(run_config: RunConfig, config: CompareConfig, runs: Sequence[Run]) -> list[Job]:
    """The SFT model, best of N from it, and the policy of every run.

    Fingerprints read the models, so the runs must be complete.
    """
    root, sft = Path(run_config.output_dir), config.model_name_or_path
    few = config.num_generations
    jobs = [_job(run_config, config, SFT, sft, root / SFT / EVALUATION, few, kl=False)]
    for method in config.best_of_n:
        most = max(few, *map(int, method.values))
        folder = root / method.name / EVALUATION
        jobs.append(_job(run_config, config, method.name, sft, folder, most, kl=False))
    for run in runs:
        folder = run.folder / EVALUATION
        model = str(policy_of(run))
        jobs.append(_job(run_config, config, run.name, model, folder, few, kl=True))
    return jobs


def evaluation_stage(run_config: RunConfig, config: CompareConfig, jobs: Sequence[Job]) -> Stage:
    """Sample and judge what is not done yet, in one process that keeps the SFT model loaded."""
    folder = Path(run_config.output_dir) / EVALUATION
    return Stage(
        name=EVALUATION,
        folder=folder,
        inputs={job.name: {"sampling": job.sampling, "judging": job.judging} for job in jobs},
        steps=[Step(name="measure", run=lambda: _measure(folder, run_config, config, jobs))],
        makes=[str((Path(job.folder) / RECORDS_FILE).resolve()) for job in jobs],
    )


def is_done(job: Job) -> bool:
    """Whether the job's responses are judged with these inputs."""
    path = Path(job.folder) / INPUTS
    if not (path.is_file() and (path.parent / RECORDS_FILE).is_file()):
        return False
    try:
        inputs = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return bool(inputs == {"sampling": job.sampling, "judging": job.judging})


def _job(
    run_config: RunConfig,
    config: CompareConfig,
    name: str,
    model: str,
    folder: Path,
    num_generations: int,
    *,
    kl: bool,
) -> Job:
    settings = {key: getattr(config, key) for key in SAMPLING} | chat_keys(config)
    settings |= {"seed": run_config.seed, "name": name, "num_generations": num_generations}
    reference = {"reference": config.model_name_or_path} if kl else {}
    return Job(
        name=name,
        model=model,
        folder=str(folder),
        num_generations=num_generations,
        measures_kl=kl,
        sampling=fingerprint(
            settings, {"model": model, "prompts": config.heldout_prompts, **reference}
        ),
        judging=fingerprint(
            {"normalize_reward": config.normalize_reward},
            {"judge": config.judge, "reward": rewards_of(run_config, config)},
        ),
    )


def _measure(
    folder: Path, run_config: RunConfig, config: CompareConfig, jobs: Sequence[Job]
) -> int:
    """Run the jobs that are not done in a process of its own; its exit status."""
    missing = [job for job in jobs if not is_done(job)]
    if not missing:
        return 0
    settings = {
        "seed": run_config.seed,
        "cpu_threads": run_config.cpu_threads,
        "rewards": rewards_of(run_config, config),
        "config": asdict(config),
        "jobs": [asdict(job) for job in missing],
    }
    path = folder.parent / SETTINGS  # a stage folder with files would be kept when inputs change
    write_atomically(path, json.dumps(settings, indent=1) + "\n")
    return run_module("rlhf.pipeline.compare.measure", [f"--settings={path}"])
