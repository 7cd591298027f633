"""The studies of an evaluation, each on all processes: more answers, more judges, other text."""

import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import gather_object

from rlhf.data.rows.load import load_texts
from rlhf.errors import ConfigError
from rlhf.evaluation.core.config import EvaluateConfig
from rlhf.evaluation.core.metrics import MetricSpec
from rlhf.evaluation.core.records import Record
from rlhf.evaluation.core.results import Result
from rlhf.evaluation.core.sampling import (
    EvaluatedModel,
    load_contender,
    same_vocabulary,
    sample_records,
)
from rlhf.evaluation.core.study_config import StudyConfig
from rlhf.evaluation.judges.llm import local_judge
from rlhf.evaluation.judges.pairwise import Judging, Verdict, compare
from rlhf.evaluation.judges.pairwise_metrics import pairs_of, verdict_metrics
from rlhf.evaluation.judges.remote import RemoteJudge, remote_judge
from rlhf.evaluation.judges.scoring import GOLD, judge_records, judges_of
from rlhf.evaluation.studies.alignment_tax import Tax, alignment_tax_metrics, measure_tax
from rlhf.evaluation.studies.best_of_n import best_of_n_metrics, best_of_name
from rlhf.evaluation.studies.checkpoints import steps_of_run
from rlhf.evaluation.studies.frontier import frontier, summary_lines
from rlhf.evaluation.studies.lm_eval import lm_eval_metrics
from rlhf.types import PromptRow

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class StudyResults:
    """What the studies add to evaluation.json."""

    results: Sequence[Result] = ()
    content: dict[str, Any] = field(default_factory=dict)  # frontier, lm_eval, verdicts


def run_studies(
    rows: Sequence[PromptRow],
    records: Sequence[Record],
    question: MetricSpec,
    config: EvaluateConfig,
    study: StudyConfig,
    remote: RemoteJudge | None,
    say: Say,
) -> StudyResults:
    """Everything that was asked for beside the comparison; complete on every process.

    remote: llm_judge, where it is behind an address, as a trial has settled it.
    """
    results: list[Result] = []
    content: dict[str, Any] = {}
    if study.best_of:
        results += _best_of(rows, records, question, config, study, say)
    if study.frontier is not None:
        content["frontier"] = _frontier(rows, question, config, study, say)
    if study.llm_judge is not None:
        verdicts = _ask_model(rows, records, question, config, study, remote, say)
        results += verdict_metrics(verdicts, question)
        content["llm_verdicts"] = [
            {**asdict(v.pair), "ours_first": v.ours_first, "theirs_first": v.theirs_first}
            for v in verdicts
        ]
    if study.tax_data is not None:
        found, content["tax"] = _tax(question, config, study, say)
        results += found
    if study.lm_eval:
        found, run = _benchmarks(question, config, study, say)
        results += found
        content["lm_eval"] = run
    return StudyResults(results=results, content=content)


def _best_of(
    rows: Sequence[PromptRow],
    records: Sequence[Record],
    question: MetricSpec,
    config: EvaluateConfig,
    study: StudyConfig,
    say: Say,
) -> list[Result]:
    model = study.best_of_model or config.baseline_name
    prompts = _some(len(rows), study.best_of_prompts, question.seed)
    say(f"best of {max(study.best_of)}: {model} answers {len(prompts)} prompts")
    device = PartialState().device
    contender = load_contender(model, config.model_paths[model], config, device)
    # A name of its own: its noise is not that of the model's ordinary answers.
    contender = replace(contender, name=best_of_name(model, max(study.best_of)))
    many = replace(config, num_generations=max(study.best_of))
    samples = _shared_out(rows, prompts, contender, None, many, question.seed)
    judges = [judge for judge in question.judges if judge.kind == "reward_model"]
    renamed = [replace(record, model=model) for record in samples]
    return best_of_n_metrics(
        renamed, records, question, model=model, chooser=judges[0], sizes=study.best_of
    )


def _frontier(
    rows: Sequence[PromptRow],
    question: MetricSpec,
    config: EvaluateConfig,
    study: StudyConfig,
    say: Say,
) -> dict[str, Any]:
    assert study.frontier is not None
    prompts = _some(len(rows), study.frontier_prompts, question.seed)
    device = PartialState().device
    path = config.model_paths[config.reference_name]
    reference = load_contender(config.reference_name, path, config, device)
    found = [(reference.name, 0)]
    records = _shared_out(rows, prompts, reference, reference, config, question.seed)
    for folder, step in steps_of_run(Path(study.frontier)):
        name = f"step {step}"
        say(f"frontier: {folder} answers {len(prompts)} prompts")
        contender = load_contender(name, str(folder), config, device)
        if not same_vocabulary(contender, reference):
            raise ConfigError(
                f"frontier: {folder} has other tokens than {reference.name}, so there is no KL "
                "between them; name the model that PPO started from as reference."
            )
        records += _shared_out(rows, prompts, contender, reference, config, question.seed)
        found.append((name, step))
    judges = judges_of(config)
    rewards = [judge for judge in judges if judge.kind == "reward_model"]
    held_out = next((judge for judge in judges if judge.key == GOLD), rewards[-1])
    made = frontier(
        records,
        found,
        proxy=rewards[0],
        held_out=held_out,
        num_prompts=len(rows),
        seed=question.seed,
        resamples=question.resamples,
    )
    for line in summary_lines(made):
        say(line)
    return asdict(made)


def _ask_model(
    rows: Sequence[PromptRow],
    records: Sequence[Record],
    question: MetricSpec,
    config: EvaluateConfig,
    study: StudyConfig,
    remote: RemoteJudge | None,
    say: Say,
) -> list[Verdict]:
    pairs = pairs_of(
        records,
        question,
        per_prompt=study.pairs_per_prompt,
        baselines=study.llm_judge_baselines,
    )
    say(f"{study.llm_judge} compares {len(pairs)} pairs in both orders")
    state = PartialState()
    mine = pairs[state.process_index :: state.num_processes]
    asks = remote_judge(remote, say) if remote else _local(config, study, state.device, say)
    verdicts = compare(mine, rows, asks)
    return gather_object(verdicts) if state.num_processes > 1 else verdicts


def _local(config: EvaluateConfig, study: StudyConfig, device: torch.device, say: Say) -> Judging:
    assert study.llm_judge is not None
    return local_judge(
        study.llm_judge,
        max_new_tokens=study.llm_judge_max_tokens,
        temperature=study.llm_judge_temperature,
        batch_size=config.per_device_eval_batch_size,
        device=device,
        say=say,
    )


def _tax(
    question: MetricSpec, config: EvaluateConfig, study: StudyConfig, say: Say
) -> tuple[list[Result], dict[str, Any]]:
    """On the main process: a few texts, and int8 runs on its CPU."""
    assert study.tax_data is not None
    state = PartialState()
    taxes: list[Tax] = []
    if state.is_main_process:
        texts = load_texts(study.tax_data, role="tax").rows
        chosen = [texts[i] for i in _some(len(texts), study.tax_texts, question.seed)]
        for name, path in config.model_paths.items():
            say(f"{name}: loss on {len(chosen)} texts of {study.tax_data}, fp32 and int8")
            contender = load_contender(name, path, replace(config, bf16=False), state.device)
            taxes.append(
                measure_tax(
                    contender.model,
                    contender.chat,
                    chosen,
                    name=name,
                    max_length=study.tax_max_length,
                )
            )
            say(f"{name}: int8 means {taxes[-1].int8_share:.0%} of its weights")
    state.wait_for_everyone()
    how = {"seed": question.seed, "resamples": question.resamples}
    content = {
        "int8_share": {tax.name: tax.int8_share for tax in taxes},
    }
    return alignment_tax_metrics(taxes, baseline=question.baseline, **how), content


def _benchmarks(
    question: MetricSpec, config: EvaluateConfig, study: StudyConfig, say: Say
) -> tuple[list[Result], dict[str, Any]]:
    found: list[Result] = []
    runs: dict[str, Any] = {}
    if PartialState().is_main_process:
        for name, path in config.model_paths.items():
            say(f"{name}: lm-evaluation-harness, {' '.join(study.lm_eval)}")
            results, runs[name] = lm_eval_metrics(
                load_contender(name, path, config, PartialState().device),
                study.lm_eval,
                include=study.lm_eval_include,
                limit=study.lm_eval_limit,
                batch_size=config.per_device_eval_batch_size,
                seed=question.seed,
            )
            found += results
    PartialState().wait_for_everyone()
    return found, runs


def _shared_out(
    rows: Sequence[PromptRow],
    prompts: Sequence[int],
    contender: EvaluatedModel,
    reference: EvaluatedModel | None,
    config: EvaluateConfig,
    seed: int,
) -> list[Record]:
    """Judged answers to `rows[i] for i in prompts`, each process a share; complete on all."""
    state = PartialState()
    mine = list(prompts)[state.process_index :: state.num_processes]
    records = sample_records(contender, reference, rows, mine, config, seed)
    judged = judge_records(records, rows, replace(config, axes=None), state.device)
    return gather_object(judged) if state.num_processes > 1 else judged


def _some(count: int, at_most: int, seed: int) -> list[int]:
    """Indices below `count`, at most so many, drawn by seed, in order."""
    return sorted(random.Random(seed).sample(range(count), min(count, at_most)))
