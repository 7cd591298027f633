"""An evaluation from the models to the records, on one process or several."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.utils import gather_object

from rlhf.data.files.read import read_rows
from rlhf.data.rows.bad_rows import REJECTS, BadRows
from rlhf.data.rows.load import Loaded, load_prompts
from rlhf.data.rows.sources import parse_source
from rlhf.errors import ConfigError
from rlhf.evaluation.core.baselines import null_records
from rlhf.evaluation.core.config import EvaluateConfig
from rlhf.evaluation.core.contamination import (
    Contamination,
    contamination,
    flagged,
    seen_rows,
)
from rlhf.evaluation.core.examples import write_examples
from rlhf.evaluation.core.metrics import MetricSpec, all_metrics
from rlhf.evaluation.core.nearest_prompt import NearestPrompt
from rlhf.evaluation.core.records import ANSWERS, Record, kept_records, write_records
from rlhf.evaluation.core.results import Result, write_results
from rlhf.evaluation.core.sampling import load_contender, sample_records
from rlhf.evaluation.judges.scoring import judge_records, judges_of
from rlhf.manifest import MANIFEST, DataUse, hash_file
from rlhf.models.compatibility import load_checked_tokenizer
from rlhf.rewards.function import load_function
from rlhf.types import PromptRow


def load_rows(config: EvaluateConfig, folder: Path) -> Loaded[PromptRow]:
    """The held-out prompts, checked with every model's tokenizer before a weight is loaded.

    Raises:
        DataError: rows that cannot be used, or a training file that is not there.
        ConfigError: a gold or axes function that does not load.
        CheckpointError: a model or judge that is none, is smaller than its tokenizer, was altered
            after its manifest, or was trained with another chat template.
    """
    for source in (config.gold, config.axes):
        if source is not None:
            load_function(source)
    for judge, its in config.judge_templates.items():
        load_checked_tokenizer(judge, its.template, template_kwargs=its.kwargs, judges=True)
    for source in config.train_data:
        next(read_rows(parse_source(source).name), None)
    chats = [
        load_checked_tokenizer(model, config.chat_template, template_kwargs=config.template_kwargs)[
            0
        ]
        for model in config.model_paths.values()
    ]
    with BadRows(drop=config.drop_bad_rows, reject_file=folder / REJECTS) as bad_rows:
        return load_prompts(
            config.eval_data,
            role="eval",
            max_length=config.max_prompt_length,
            answer_length=config.max_completion_length,
            others=chats,
            bad_rows=bad_rows,
        )


def choose_rows(rows: Sequence[PromptRow], config: EvaluateConfig, seed: int) -> list[PromptRow]:
    """`max_prompts` rows drawn by seed, in their order in the file; all without it.

    Raises:
        ConfigError: a single prompt.
    """
    if len(rows) == 1 or config.max_prompts == 1:
        raise ConfigError(
            f"one prompt of {config.eval_data} says nothing of others: every interval is over "
            "prompts; give two or more, in eval_data and max_prompts."
        )
    if config.max_prompts is None or config.max_prompts >= len(rows):
        return list(rows)
    picked = random.Random(seed).sample(range(len(rows)), config.max_prompts)
    return [rows[index] for index in sorted(picked)]


def collect_records(
    rows: Sequence[PromptRow],
    config: EvaluateConfig,
    seed: int,
    say: Callable[[str], None],
    folder: Path,
    answers: str | None = None,
) -> list[Record]:
    """Answers of every model and null baseline to every prompt, judged; complete on every process.

    Each process takes every n-th prompt; what is sampled does not depend on their number. What
    was sampled is in `folder` before anybody judges it: a judge that fails costs no samples.
    answers: an earlier answers.jsonl to take the models' answers from.

    Raises:
        DataError: `answers` is of other prompts, or lacks answers of a model.
    """
    state = PartialState()
    mine = list(range(state.process_index, len(rows), state.num_processes))
    if answers is None:
        records = _sample(rows, mine, config, seed, say)
    else:
        records = kept_records(Path(answers), rows, list(config.model_paths), mine)
    everybodys = _everybodys(records)
    if answers is None and state.is_main_process:
        write_records(folder, rows, everybodys)
        say(
            "answers are kept; should a judge fail, the same command judges them again with "
            f"--answers {folder / ANSWERS} --resume_from_checkpoint latest"
        )
    sampled = [r for r in everybodys if r.model == config.baseline_name]
    lookup = NearestPrompt([seen for source in config.train_data for seen in seen_rows(source)])
    path = config.model_paths[config.baseline_name]
    chat = load_checked_tokenizer(
        path, config.chat_template, template_kwargs=config.template_kwargs
    )[0]
    records += null_records(rows, mine, sampled, lookup, chat)
    return _everybodys(judge_records(records, rows, config, state.device))


def _sample(
    rows: Sequence[PromptRow],
    mine: Sequence[int],
    config: EvaluateConfig,
    seed: int,
    say: Callable[[str], None],
) -> list[Record]:
    """Every model's answers to `rows[i] for i in mine`, one model after the other."""
    state, paths = PartialState(), config.model_paths
    reference = load_contender(
        config.reference_name, paths[config.reference_name], config, state.device
    )
    records: list[Record] = []
    for name, path in paths.items():
        say(f"{name}: {config.num_generations} answers to each of {len(rows)} prompts")
        if name == reference.name:
            records += sample_records(reference, reference, rows, mine, config, seed)
        else:
            contender = load_contender(name, path, config, state.device)
            records += sample_records(contender, reference, rows, mine, config, seed)
            del contender
    return records


def _everybodys(records: list[Record]) -> list[Record]:
    """Those of all processes."""
    return gather_object(records) if PartialState().num_processes > 1 else records


@dataclass(frozen=True, kw_only=True)
class ContaminationReport:
    """What the training files hold of the prompts."""

    found: Sequence[Contamination]
    flagged: Sequence[bool]  # of each prompt; empty where nobody looked

    @property
    def says(self) -> str:
        """How many there are, in a few words."""
        if not self.flagged:
            return "without train_data to look for them in: some may have been trained on"
        return f"{sum(self.flagged)} of them in the training data"


def find_leaks(rows: Sequence[PromptRow], config: EvaluateConfig) -> ContaminationReport:
    """Held-out prompts that stand in `train_data`."""
    found = contamination(rows, config.train_data)
    return ContaminationReport(
        found=found, flagged=flagged(found, len(rows)) if config.train_data else ()
    )


def question_of(
    rows: Sequence[PromptRow], config: EvaluateConfig, seed: int, leaks: ContaminationReport
) -> MetricSpec:
    """What is asked of the records."""
    return MetricSpec(
        models=list(config.model_paths),
        baseline=config.baseline_name,
        judges=judges_of(config),
        categories=[_category(row, config.category_column) for row in rows],
        contaminated=leaks.flagged,
        seed=seed,
        resamples=config.bootstrap_samples,
    )


def _category(row: PromptRow, column: str) -> str | None:
    value = row.columns.get(column)
    return None if value is None else str(value)


def write_evaluation(
    folder: Path,
    rows: Sequence[PromptRow],
    records: Sequence[Record],
    question: MetricSpec,
    leaks: ContaminationReport,
    more: Sequence[Result],
    content: Mapping[str, Any],
    num_examples: int,
) -> list[Result]:
    """Write evaluation.json, answers.jsonl and samples/; all figures, for the table.

    more, content: figures and other parts of evaluation.json, of studies and provenance.
    """
    results = [*all_metrics(records, question), *more]
    write_records(folder, rows, records)
    write_examples(
        folder,
        rows,
        records,
        models=question.models,
        baseline=question.baseline,
        judge=question.judges[0].key if question.judges else None,
        count=num_examples,
        seed=question.seed,
    )
    counted = {
        "prompts": len(rows),
        "contaminated_prompts": sum(question.contaminated) if question.contaminated else None,
        "contamination": [asdict(leak) for leak in leaks.found],
    }
    write_results(folder, results, {**counted, **content})
    return results


def provenance_of(config: EvaluateConfig, seed: int, use: DataUse) -> dict[str, Any]:
    """What the figures rest on: models and the manifests they came with, data, seed, sampling."""
    manifests = {name: Path(path) / MANIFEST for name, path in config.model_paths.items()}
    return {
        "models": config.model_paths,
        "manifests": {name: hash_file(path) for name, path in manifests.items() if path.is_file()},
        "baseline": config.baseline_name,
        "reference": config.reference_name,
        "data": asdict(use),
        "seed": seed,
        "num_generations": config.num_generations,
        "temperature": config.temperature,
        "max_completion_length": config.max_completion_length,
    }
