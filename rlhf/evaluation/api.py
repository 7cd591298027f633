"""Evaluate models from Python: the steps of `rlhf evaluate` as one function."""

from collections.abc import Callable, Sequence
from pathlib import Path

from rlhf.data.files.read import Data, source_name
from rlhf.errors import ConfigError
from rlhf.evaluation.arguments import (
    JudgeLike,
    Models,
    named_models,
    several_judges,
    training_files,
)
from rlhf.evaluation.core.config import EvaluateConfig
from rlhf.evaluation.core.contamination import check_contamination
from rlhf.evaluation.core.metrics import all_metrics
from rlhf.evaluation.evaluation import Evaluation, provenance_of
from rlhf.evaluation.judges.scoring import ScoringJudge, judges_of_objects
from rlhf.evaluation.run import (
    PromptSet,
    check_sampling,
    choose_rows,
    collect_records,
    load_rows,
    metric_spec,
)
from rlhf.manifest import DataUse
from rlhf.rewards.templates import JudgeTemplate
from rlhf.rollouts.config import EngineName
from rlhf.runtime.distributed import start_processes


def evaluate(
    models: Models,
    prompts: Data,
    *,
    judge: JudgeLike | Sequence[JudgeLike] | None = None,
    baseline: str | None = None,
    reference: str | None = None,
    axes: str | None = None,
    train_data: str | Path | Sequence[str | Path] = (),
    max_prompts: int | None = None,
    num_generations: int = 4,
    max_prompt_length: int = 512,
    max_completion_length: int = 128,
    temperature: float = 1.0,
    per_device_eval_batch_size: int = 64,
    bootstrap_samples: int = 2000,
    category_column: str = "category",
    chat_template: str = "auto",
    bf16: bool = False,
    drop_bad_rows: bool = False,
    rollout_engine: EngineName = "native",
    rollout_server: str | None = None,
    rollout_python: str | None = None,
    rollout_tensor_parallel: int = 1,
    rollout_memory_fraction: float = 0.3,
    seed: int = 0,
    log: Callable[[str], None] | None = None,
) -> Evaluation:
    """Sample responses from every model to held-out prompts, judge them, compute all metrics.

        results = evaluate({"sft": "runs/sft", "ppo": "runs/ppo"}, prompts="heldout.jsonl",
                           judge="gold.py:score")
        results["win_rate"].value, results.find(metric="score", model="ppo").low
        print(results)
        results.write("runs/evaluation")

    It samples the same responses as `rlhf evaluate` with the same keys, and its arguments have the
    names of those keys. Intervals resample prompts.

    Args:
        models: folders, hub ids or addresses (http://HOST:PORT/v1#MODEL, which are only sampled
            from) by name; of a list, the last part of each path is the name. One of them is a list
            of one.
        prompts: a file, a hub data set, a list of strings or of rows with a `prompt`, or a
            `datasets.Dataset`.
        judge: one or several: `file.py:function` or a Python function with TRL's reward signature
            (the gold score, at most one), a reward model's folder or hub id, a loaded RewardModel.
        baseline: name of the model that win rates are against; default the first.
        reference: name of the model that KL is measured from; default the baseline.
        axes: `file.py:function` from (prompt, completion) to {axis: number or None}.
        train_data: training files, one or several; held-out prompts that occur in them are flagged.
        max_prompts: number of prompts to draw by seed; default all.
        num_generations: responses per prompt and model.
        max_prompt_length: longest prompt in tokens.
        max_completion_length: longest response in tokens.
        temperature: of sampling and KL.
        per_device_eval_batch_size: responses sampled at a time; it does not change them.
        bootstrap_samples: resamples of each interval.
        category_column: column of the prompts by which metrics are also split.
        chat_template: auto, none, or a file.
        bf16: whether to load the models in bfloat16.
        drop_bad_rows: whether to drop and count bad rows instead of raising an error.
        rollout_engine: what samples from models that are loaded: native, vllm or transformers.
        rollout_server: address of a running vLLM server; default: one is started for each model.
        rollout_python: Python of the environment with vLLM; default: that of this program.
        rollout_tensor_parallel: GPUs that a started server splits a model over.
        rollout_memory_fraction: share of the memory that a started server may use.
        seed: of the prompts and responses.
        log: called with the progress; default silent.

    Raises:
        ConfigError: an argument out of range, a function that does not load, or a server that
            cannot be used.
        DataError: prompts that cannot be used.
        CheckpointError: a model that does not exist or does not match its manifest.
        TrainingError: a judge raised an error or returned something other than a number.
    """
    config = EvaluateConfig(
        models=named_models(models),
        eval_data=source_name(prompts),
        baseline=baseline,
        reference=reference,
        axes=axes,
        train_data=training_files(train_data),
        max_prompts=max_prompts,
        num_generations=num_generations,
        max_prompt_length=max_prompt_length,
        max_completion_length=max_completion_length,
        temperature=temperature,
        per_device_eval_batch_size=per_device_eval_batch_size,
        bootstrap_samples=bootstrap_samples,
        category_column=category_column,
        chat_template=chat_template,
        bf16=bf16,
        drop_bad_rows=drop_bad_rows,
        rollout_engine=rollout_engine,
        rollout_server=rollout_server,
        rollout_python=rollout_python,
        rollout_tensor_parallel=rollout_tensor_parallel,
        rollout_memory_fraction=rollout_memory_fraction,
    )
    judges = _judges(judge, config)
    start_processes()
    prompt_set, use = _prompt_set(prompts, config, judges, seed)
    return _evaluation(prompt_set, use, judges, log or _ignore)


def _judges(
    judge: JudgeLike | Sequence[JudgeLike] | None, config: EvaluateConfig
) -> list[ScoringJudge]:
    template = JudgeTemplate(template="none" if config.chat_template == "none" else "auto")
    return judges_of_objects(several_judges(judge), template)


def _prompt_set(
    prompts: Data, config: EvaluateConfig, judges: Sequence[ScoringJudge], seed: int
) -> tuple[PromptSet, DataUse]:
    """The checked prompts, and the use of their file."""
    if config.max_prompts == 1:
        raise ConfigError(
            "max_prompts=1: confidence intervals need at least two prompts.", code="bad-value"
        )
    loaded = load_rows(prompts, config, judges)
    rows = choose_rows(loaded.rows, config, seed)
    check_sampling(config, rows[0])
    return PromptSet(rows=rows, config=config, seed=seed), loaded.use


def _evaluation(
    prompts: PromptSet,
    use: DataUse,
    judges: Sequence[ScoringJudge],
    log: Callable[[str], None],
) -> Evaluation:
    """Sample, judge, measure."""
    contamination = check_contamination(prompts.rows, prompts.config.train_data)
    records = collect_records(prompts, judges, log)
    spec = metric_spec(prompts, judges, contamination)
    return Evaluation(
        rows=prompts.rows,
        records=records,
        spec=spec,
        contamination=contamination,
        results=all_metrics(records, spec),
        content=provenance_of(prompts.config, prompts.seed, use),
    )


def _ignore(message: str) -> None:
    """Log nothing."""
