"""The steps of an evaluation on one process or several: prompts, responses, scores."""

import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

from accelerate import PartialState

from rlhf.data.files.read import Data, read_rows
from rlhf.data.rows.bad_rows import REJECTS, BadRows
from rlhf.data.rows.load import Loaded, load_prompts
from rlhf.data.rows.sources import parse_source
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.errors import ConfigError
from rlhf.evaluation.core.baselines import baseline_records
from rlhf.evaluation.core.config import EvaluateConfig
from rlhf.evaluation.core.contamination import ContaminationReport, read_training_prompts
from rlhf.evaluation.core.engine import check_engine
from rlhf.evaluation.core.metrics import MetricSpec
from rlhf.evaluation.core.nearest_prompt import NearestPrompt
from rlhf.evaluation.core.records import Record, unscored_records, write_records
from rlhf.evaluation.core.sample_models import sample_models, token_counter
from rlhf.evaluation.core.served import check_served
from rlhf.evaluation.judges.scoring import ScoringJudge, judge_records
from rlhf.models.compatibility import load_checked_tokenizer
from rlhf.rewards.function import load_function
from rlhf.rewards.kinds import kind_of
from rlhf.rewards.options import CallOptions
from rlhf.rewards.scorers import check_source
from rlhf.rewards.spec import RewardSpec
from rlhf.runtime.distributed import gathered, on_main_process
from rlhf.types import PromptRow


@dataclass(frozen=True, kw_only=True)
class PromptSet:
    """The prompts of an evaluation, and how responses to them are sampled."""

    rows: Sequence[PromptRow]
    config: EvaluateConfig
    seed: int


def load_rows(
    prompts: Data,
    config: EvaluateConfig,
    judges: Sequence[ScoringJudge],
    reject_folder: Path | None = None,
) -> Loaded[PromptRow]:
    """The held-out prompts, checked with every model's tokenizer before any weights are loaded.

    The server of a model behind an address checks the lengths of its prompts itself.

    Args:
        prompts: a file, a hub data set or rows in memory.
        config: the models and the limits of lengths.
        judges: gold functions and reward models, which are checked too.
        reject_folder: where dropped rows are listed, or None.

    Raises:
        DataError: rows that cannot be used, or a training file that does not exist.
        ConfigError: a gold or axes function that does not load, or a gold function with a
            parameter that the rows do not have.
        CheckpointError: a model or judge that does not exist, is smaller than its tokenizer, was
            altered after its manifest was written, or was trained with another chat template.
    """
    check_judges(judges, config.axes)
    for source in config.train_data:
        next(read_rows(parse_source(source).name), None)
    chats = [_checked_tokenizer(path, config) for path in config.loaded_paths.values()]
    reject_file = reject_folder / REJECTS if reject_folder else None
    with BadRows(drop=config.drop_bad_rows, reject_file=reject_file) as bad_rows:
        loaded = load_prompts(
            prompts,
            role="eval",
            max_length=config.max_prompt_length,
            response_length=config.max_completion_length,
            others=chats,
            bad_rows=bad_rows,
        )
    check_parameters(judges, loaded.rows)
    return loaded


def check_sampling(config: EvaluateConfig, row: PromptRow) -> None:
    """Check the servers that sample, before any weights are loaded. Call it on all processes.

    Args:
        config: models behind addresses, and the engine of the others.
        row: a prompt.

    Raises:
        ConfigError: a server that cannot be reached, has no such model, or cannot take the weights
            of all models.
        CheckpointError: a server with another tokenizer.
    """

    def check() -> None:
        check_served(config)
        check_engine(config, row)

    on_main_process(check)


def check_judges(judges: Sequence[ScoringJudge], axes: str | None) -> None:
    """Check that functions load and that reward models exist and match their manifests.

    Raises:
        ConfigError: a function that does not load.
        CheckpointError: see `load_rows`.
    """
    for judge in judges:
        if isinstance(judge.scorer, str) and kind_of(judge.scorer) == "function":
            load_function(judge.scorer)
    if axes is not None:
        load_function(axes)
    for judge in judges:
        if isinstance(judge.scorer, str) and kind_of(judge.scorer) == "model":
            template = judge.template
            load_checked_tokenizer(
                judge.scorer, template.template, template_kwargs=template.kwargs, judges=True
            )


def check_parameters(judges: Sequence[ScoringJudge], rows: Sequence[PromptRow]) -> None:
    """Check that the rows have what the gold function takes, and that its server answers.

    Raises:
        ConfigError: the parameter or column, and those that there may be; a server without an
            answer.
    """
    for judge in judges:
        spec = RewardSpec(judge.scorer)
        if not spec.is_model:
            check_source(spec, CallOptions(), None, rows)


def choose_rows(rows: Sequence[PromptRow], config: EvaluateConfig, seed: int) -> list[PromptRow]:
    """`max_prompts` rows drawn by seed, in their order in the file; all rows without it.

    Raises:
        ConfigError: there is only one prompt.
    """
    if len(rows) == 1 or config.max_prompts == 1:
        raise ConfigError(
            f"eval_data={config.eval_data}: confidence intervals need at least two prompts; "
            "increase eval_data or max_prompts.",
            code="bad-value",
        )
    if config.max_prompts is None or config.max_prompts >= len(rows):
        return list(rows)
    picked = random.Random(seed).sample(range(len(rows)), config.max_prompts)
    return [rows[index] for index in sorted(picked)]


def metric_spec(
    prompts: PromptSet, judges: Sequence[ScoringJudge], report: ContaminationReport
) -> MetricSpec:
    """What to compute from the records of these prompts."""
    config = prompts.config
    return MetricSpec(
        models=list(config.model_paths),
        baseline=config.baseline_name,
        judges=[judge.judge for judge in judges],
        categories=[_category(row, config.category_column) for row in prompts.rows],
        contaminated=report.flags,
        seed=prompts.seed,
        resamples=config.bootstrap_samples,
    )


def collect_records(
    prompts: PromptSet,
    judges: Sequence[ScoringJudge],
    log: Callable[[str], None],
    *,
    folder: Path | None = None,
    earlier: str | None = None,
    replaces: bool = False,
) -> list[Record]:
    """Scored responses of every model and null baseline to every prompt.

    Each process takes every n-th prompt; the records are complete on every process and do not
    depend on their number.

    Args:
        prompts: the prompts and the sampling parameters.
        judges: who scores the responses.
        log: called with the progress.
        folder: where the responses are written as they are sampled, so that they outlive an
            interruption and an error of a judge, and the log of an engine; or None. The log is
            then in a temporary folder, which is kept if there is an error.
        earlier: an earlier answers.jsonl to take the models' responses from, instead of sampling.
        replaces: whether responses of an interrupted call with other arguments are replaced; else
            they raise.

    Raises:
        ConfigError: `folder` has such responses.
        DataError: `earlier` has other prompts, or lacks responses of a model.
    """
    state, config, rows = PartialState(), prompts.config, prompts.rows
    shard = list(range(state.process_index, len(rows), state.num_processes))
    if earlier is None:
        with _log_folder(folder) as logs:
            records = sample_models(
                rows,
                shard,
                config,
                prompts.seed,
                log,
                folder=logs,
                keeps=folder is not None,
                replaces=replaces,
            )
    else:
        records = unscored_records(Path(earlier), rows, list(config.model_paths), shard)
    all_records = gathered(records)
    if earlier is None and folder is not None and state.is_main_process:
        write_records(folder, rows, all_records)
        log("all responses are saved; if a judge fails, the same command scores them again")
    sampled = [r for r in all_records if r.model == config.baseline_name]
    training = [row for source in config.train_data for row in read_training_prompts(source)]
    count_tokens = token_counter(config, sampled)
    records += baseline_records(rows, shard, sampled, NearestPrompt(training), count_tokens)
    return gathered(judge_records(records, rows, judges, axes=config.axes, device=state.device))


@contextmanager
def _log_folder(folder: Path | None) -> Iterator[Path]:
    """`folder`, or a temporary one that is deleted unless there is an error."""
    if folder is not None:
        yield folder
        return
    temporary = Path(mkdtemp(prefix="rlhf-evaluate-"))
    yield temporary
    shutil.rmtree(temporary)


def _checked_tokenizer(path: str, config: EvaluateConfig) -> ChatTokenizer:
    return load_checked_tokenizer(
        path, config.chat_template, template_kwargs=config.template_kwargs
    )[0]


def _category(row: PromptRow, column: str) -> str | None:
    value = row.columns.get(column)
    return None if value is None else str(value)
