"""Run the studies of an evaluation, each on all processes."""

import random
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from accelerate import PartialState

from rlhf.data.rows.load import load_texts
from rlhf.errors import ConfigError
from rlhf.evaluation.core.config import EvaluateConfig
from rlhf.evaluation.core.engine import engine_of
from rlhf.evaluation.core.records import Record
from rlhf.evaluation.core.results import Result
from rlhf.evaluation.core.sampling import (
    EvaluatedModel,
    load_evaluated_model,
    same_vocabulary,
    sample_records,
)
from rlhf.evaluation.core.served import served_records
from rlhf.evaluation.judges.llm import local_judge
from rlhf.evaluation.judges.pairwise import CompareFunction, Verdict, compare_pairs
from rlhf.evaluation.judges.pairwise_metrics import pairs_to_judge, verdict_metrics
from rlhf.evaluation.judges.remote import RemoteJudge, remote_judge
from rlhf.evaluation.judges.scoring import GOLD, judge_records
from rlhf.evaluation.studies.alignment_tax import Tax, alignment_tax_metrics, measure_tax
from rlhf.evaluation.studies.best_of_n import best_of_n_metrics, best_of_name
from rlhf.evaluation.studies.checkpoints import steps_of_run
from rlhf.evaluation.studies.context import StudyContext
from rlhf.evaluation.studies.frontier import content_of, make_frontier, summary_lines
from rlhf.evaluation.studies.lm_eval import lm_eval_metrics
from rlhf.rollouts.engine import RolloutEngine
from rlhf.runtime.distributed import gathered
from rlhf.runtime.printing import counted

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class StudyResults:
    """What the studies add to evaluation.json."""

    results: Sequence[Result] = ()
    content: Mapping[str, object] = field(default_factory=dict)  # frontier, lm_eval, verdicts
    verdicts: Sequence[Verdict] = ()  # of the LLM judge


def run_studies(context: StudyContext, remote: RemoteJudge | None) -> StudyResults:
    """The studies that the keys select; complete on every process.

    Args:
        context: keys, judges and records of the evaluation.
        remote: the LLM judge if it is behind an address, after `adapt_to_server`.
    """
    study = context.study
    results: list[Result] = []
    content: dict[str, object] = {}
    verdicts: list[Verdict] = []
    if study.best_of:
        results += _best_of(context)
    if study.frontier is not None:
        content["frontier"] = _frontier(context, Path(study.frontier))
    if study.llm_judge is not None:
        verdicts = _llm_verdicts(context, study.llm_judge, remote)
        results += verdict_metrics(verdicts, context.spec)
        content["llm_verdicts"] = [
            {**asdict(v.pair), "ours_first": v.ours_first, "theirs_first": v.theirs_first}
            for v in verdicts
        ]
    if study.tax_data is not None:
        tax_results, content["tax"] = _alignment_tax(context, study.tax_data)
        results += tax_results
    if study.lm_eval:
        benchmark_results, content["lm_eval"] = _benchmarks(context)
        results += benchmark_results
    return StudyResults(results=results, content=content, verdicts=verdicts)


def _best_of(context: StudyContext) -> list[Result]:
    config, study, spec = context.config, context.study, context.spec
    name, most = study.best_of_model or config.baseline_name, max(study.best_of)
    prompts = _draw(len(context.rows), study.best_of_prompts, spec.seed)
    context.log(f"best_of: {counted(most, 'response')} of {name} to each of {len(prompts)} prompts")
    # Another name, so that the random numbers differ from those of the model's other responses.
    other_name = best_of_name(name, most)
    many = replace(config, num_generations=most)
    if (served := config.served.get(name)) is not None:
        shard = _local_shard(prompts)
        sampled = served_records(other_name, served, context.rows, shard, many, spec.seed)
    else:
        path = config.loaded_paths[name]
        evaluated = replace(_load(context, name, path), name=other_name)
        with _engine(context, evaluated, path) as engine:
            sampled = _sample(context, prompts, evaluated, None, many, engine)
    samples = _judge(context, sampled)
    chooser = next(judge for judge in spec.judges if judge.kind == "reward_model")
    renamed = [replace(record, model=name) for record in samples]
    return best_of_n_metrics(
        renamed, context.records, spec, model=name, chooser=chooser, sizes=study.best_of
    )


def _frontier(context: StudyContext, run: Path) -> dict[str, object]:
    config, spec = context.config, context.spec
    prompts = _draw(len(context.rows), context.study.frontier_prompts, spec.seed)
    assert config.reference_name is not None  # check_studies
    path = config.loaded_paths[config.reference_name]
    reference = _load(context, config.reference_name, path)
    checkpoints = [(reference.name, 0)]
    with _engine(context, reference, path) as engine:
        sampled = _sample(context, prompts, reference, reference, config, engine)
        records = _judge(context, sampled)
        for folder, step in steps_of_run(run):
            name = f"step {step}"
            context.log(f"frontier: responses of {folder} to {len(prompts)} prompts")
            evaluated = _load(context, name, str(folder))
            if not same_vocabulary(evaluated, reference):
                raise ConfigError(
                    f"frontier: {folder} has another vocabulary than {reference.name}, so their KL "
                    "is not defined; set reference to the model that PPO started from.",
                    code="tokenizer-mismatch",
                )
            engine.update_weights(evaluated.model)
            sampled = _sample(context, prompts, evaluated, reference, config, engine)
            records += _judge(context, sampled)
            checkpoints.append((name, step))
    reward_models = [judge for judge in spec.judges if judge.kind == "reward_model"]
    held_out = next((judge for judge in spec.judges if judge.key == GOLD), reward_models[-1])
    frontier = make_frontier(
        records,
        checkpoints,
        proxy=reward_models[0],
        held_out=held_out,
        num_prompts=len(context.rows),
        **spec.bootstrap,
    )
    for line in summary_lines(frontier):
        context.log(line)
    return content_of(frontier)


def _llm_verdicts(context: StudyContext, judge: str, remote: RemoteJudge | None) -> list[Verdict]:
    pairs = pairs_to_judge(
        context.records,
        context.spec,
        per_prompt=context.study.pairs_per_prompt,
        baselines=context.study.llm_judge_baselines,
    )
    context.log(f"{judge} compares {len(pairs)} pairs in both orders")
    compare = remote_judge(remote, context.log) if remote else _local_judge(context, judge)
    return gathered(compare_pairs(_local_shard(pairs), context.rows, compare))


def _local_judge(context: StudyContext, judge: str) -> CompareFunction:
    return local_judge(
        judge,
        max_new_tokens=context.study.llm_judge_max_tokens,
        temperature=context.study.llm_judge_temperature,
        batch_size=context.config.per_device_eval_batch_size,
        device=PartialState().device,
        bf16=context.config.bf16,
        log=context.log,
    )


def _alignment_tax(context: StudyContext, data: str) -> tuple[list[Result], dict[str, object]]:
    """On the main process only: there are few texts, and int8 runs on its CPU."""
    study, spec = context.study, context.spec
    state = PartialState()
    taxes: list[Tax] = []
    if state.is_main_process:
        texts = load_texts(data, role="tax").rows
        chosen = [texts[i] for i in _draw(len(texts), study.tax_texts, spec.seed)]
        fp32 = replace(context, config=replace(context.config, bf16=False))
        for name, path in context.config.model_paths.items():
            context.log(f"{name}: loss on {len(chosen)} texts of {data}, fp32 and int8")
            evaluated = _load(fp32, name, path)
            tax = measure_tax(
                evaluated.model,
                evaluated.chat,
                chosen,
                name=name,
                max_length=study.tax_max_length,
            )
            taxes.append(tax)
            context.log(f"{name}: {tax.int8_share:.0%} of its weights are rounded to int8")
    state.wait_for_everyone()
    content: dict[str, object] = {"int8_share": {tax.name: tax.int8_share for tax in taxes}}
    return alignment_tax_metrics(taxes, baseline=spec.baseline, **spec.bootstrap), content


def _benchmarks(context: StudyContext) -> tuple[list[Result], dict[str, object]]:
    study = context.study
    results: list[Result] = []
    runs: dict[str, object] = {}
    if PartialState().is_main_process:
        for name, path in context.config.model_paths.items():
            context.log(f"{name}: lm-evaluation-harness, {' '.join(study.lm_eval)}")
            model_results, runs[name] = lm_eval_metrics(
                _load(context, name, path),
                study.lm_eval,
                include=study.lm_eval_include,
                limit=study.lm_eval_limit,
                batch_size=context.config.per_device_eval_batch_size,
                seed=context.spec.seed,
            )
            results += model_results
    PartialState().wait_for_everyone()
    return results, runs


def _load(context: StudyContext, name: str, path: str) -> EvaluatedModel:
    return load_evaluated_model(name, path, context.config, PartialState().device)


def _engine(
    context: StudyContext, evaluated: EvaluatedModel, path: str
) -> AbstractContextManager[RolloutEngine]:
    """The engine of the evaluation with these weights."""
    seed, folder = context.spec.seed, context.folder
    return engine_of(evaluated, path, context.rows[0], context.config, seed=seed, folder=folder)


def _sample(
    context: StudyContext,
    prompts: Sequence[int],
    evaluated: EvaluatedModel,
    reference: EvaluatedModel | None,
    config: EvaluateConfig,
    engine: RolloutEngine,
) -> list[Record]:
    """This process's responses to `rows[i] for i in prompts`."""
    shard, seed = _local_shard(prompts), context.spec.seed
    return sample_records(evaluated, reference, context.rows, shard, config, seed, engine)


def _judge(context: StudyContext, records: list[Record]) -> list[Record]:
    """The records with their scores; complete on all processes."""
    device = PartialState().device
    return gathered(judge_records(records, context.rows, context.judges, device=device))


def _local_shard(items: Sequence[T]) -> list[T]:
    """This process's share: every n-th item."""
    state = PartialState()
    return list(items)[state.process_index :: state.num_processes]


def _draw(count: int, at_most: int, seed: int) -> list[int]:
    """Indices below `count`, at most so many, drawn by seed, in order."""
    return sorted(random.Random(seed).sample(range(count), min(count, at_most)))
