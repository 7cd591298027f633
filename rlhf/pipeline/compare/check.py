"""Check everything that a comparison needs before its first stage: keys, models, rows, rewards."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from rlhf.data.rows.bad_rows import BadRows
from rlhf.data.rows.load import load_prompts, load_rankings
from rlhf.data.rows.split import prompt_key
from rlhf.data.tokenization.template import parse_template_kwargs
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.errors import ConfigError
from rlhf.evaluation.core.contamination import check_contamination
from rlhf.models.compatibility import check_same_format, load_checked_tokenizer
from rlhf.pipeline.compare.budget import limits_of
from rlhf.pipeline.compare.config import CompareConfig
from rlhf.pipeline.compare.labels import score_columns
from rlhf.pipeline.compare.runs import Run, by_strength, reward_model_stage, training_runs
from rlhf.pipeline.compare.training import Parsed, parsed_run, parsed_stage
from rlhf.pipeline.rejection_stages import sft_stage
from rlhf.rewards.function import check_columns
from rlhf.rewards.spec import RewardSpec, parse_rewards
from rlhf.runtime.printing import counted, quiet_logs
from rlhf.runtime.run_folder import LATEST, RunConfig
from rlhf.types import PromptRow


@dataclass(frozen=True, kw_only=True)
class Checked:
    """The configurations of all strengths, and what was counted."""

    runs: Sequence[Run]  # one of each strength
    configs: Sequence[Parsed]  # of these runs, with the budget's limits
    reward_model: Parsed | None  # None: it is given
    rankings: int
    label_prompts: int
    responses: int  # of the labelled prompt with the most
    prompts: int
    heldout: int
    contamination: str


def check_inputs(run_config: RunConfig, config: CompareConfig) -> Checked:
    """Check the inputs of all stages, so that a mistake in the last run does not show up late.

    Raises:
        ConfigError: a key, file or function that cannot be used; the message names the run.
        CheckpointError: a model that does not exist or that cannot be built on.
        DataError: rows that cannot be used, listed for all files.
    """
    _check_run_keys(run_config)
    quiet_logs()
    runs = [group[0] for group in by_strength(training_runs(run_config, config)).values()]
    configs = [_limited(run, run_config, config) for run in runs]
    reward = None
    if config.reward_model is None:
        reward = parsed_stage(reward_model_stage(run_config, config))
        _check_objective(reward)
    chat, _ = load_checked_tokenizer(
        config.model_name_or_path,
        config.chat_template,
        template_kwargs=parse_template_kwargs(config.chat_template_kwargs),
    )
    _check_scorers(config, chat)
    with BadRows(drop=config.drop_bad_rows) as bad_rows:
        rankings, by_prompt = _labels(config, runs, configs, chat, bad_rows)
        prompts = _prompts(config, runs, configs, chat, bad_rows)
        heldout = load_prompts(
            config.heldout_prompts,
            role="eval",
            chat=chat,
            max_length=config.max_prompt_length,
            response_length=config.max_completion_length,
            bad_rows=bad_rows,
        ).rows
    _check_functions(config, heldout, prompts)
    count = min(len(heldout), config.max_prompts or len(heldout))
    if count < 2:
        raise ConfigError(
            f"heldout_prompts={config.heldout_prompts}: intervals need at least two prompts.",
            code="bad-value",
        )
    return Checked(
        runs=runs,
        configs=configs,
        reward_model=reward,
        rankings=rankings,
        label_prompts=len(by_prompt),
        responses=max(map(len, by_prompt.values())),
        prompts=len(prompts),
        heldout=count,
        contamination=check_contamination(heldout, [config.labels, config.prompts]).summary,
    )


def _check_run_keys(run_config: RunConfig) -> None:
    if run_config.resume_from_checkpoint not in (None, LATEST):
        raise ConfigError(
            "resume_from_checkpoint: the comparison always resumes; leave it out.",
            code="key-conflict",
        )
    if run_config.push_to_hub:
        raise ConfigError(
            "push_to_hub: a comparison makes many policies; upload the one that you take.",
            code="key-conflict",
        )


def _limited(run: Run, run_config: RunConfig, config: CompareConfig) -> Parsed:
    """The run's configuration under the budget; seconds are not known yet."""
    free = parsed_run(run, run_config, config)
    if run.method.recipe == "rejection_sampling":
        rejection = free[1]
        parsed_stage(sft_stage(replace(run_config, output_dir=str(run.folder)), rejection, 1))
    limits = limits_of(run, config, free, {})
    return parsed_run(run, run_config, config, limits) if limits else free


def _check_objective(reward: Parsed) -> None:
    """Check that the reward model reads what the split of the labels writes."""
    columns = reward[3].weight_column or reward[3].probability_column
    if reward[3].objective != "rankings" or columns:
        raise ConfigError(
            "reward_model_config: a comparison trains its reward model on rankings without weights "
            "and probabilities; leave objective, weight_column and probability_column out, or name "
            "a finished reward_model.",
            code="key-conflict",
        )


def _check_scorers(config: CompareConfig, chat: ChatTokenizer) -> None:
    """Check that functions load, and that reward models exist and read the policy's format."""
    models = [config.reward_model] if config.reward_model else []
    for spec in [*parse_rewards(config.judge), *_specs([*models, *config.extra_rewards])]:
        if spec.is_function:
            spec.function()
        if not spec.is_model:
            continue
        path = str(spec.source)
        template = "none" if config.chat_template == "none" else "auto"
        reading, _ = load_checked_tokenizer(path, template, judges=True)
        check_same_format(config.model_name_or_path, chat, path, reading)


def _specs(sources: list[str]) -> list[RewardSpec]:
    return parse_rewards(sources) if sources else []


def _check_functions(
    config: CompareConfig, heldout: Sequence[PromptRow], prompts: Sequence[PromptRow]
) -> None:
    """Check that the rows have the columns that functions take."""
    extra = [spec for spec in _specs(config.extra_rewards) if spec.is_function]
    for spec in (*extra, *parse_rewards(config.judge)):
        if spec.is_function:
            _check_columns(spec, heldout)
    for spec in extra if prompts else ():
        _check_columns(spec, prompts)


def _check_columns(spec: RewardSpec, rows: Sequence[PromptRow]) -> None:
    check_columns(spec.function(), spec.name, {name for row in rows for name in row.columns})


def _labels(
    config: CompareConfig,
    runs: Sequence[Run],
    configs: Sequence[Parsed],
    chat: ChatTokenizer,
    bad_rows: BadRows,
) -> tuple[int, Mapping[str, set[str]]]:
    """The number of rankings, and the responses to each prompt.

    Lengths are those of the methods that train on labels; the reward model checks its own, whose
    tokenizer may be another one.
    """
    lengths = {
        parsed[2].max_length
        for run, parsed in zip(runs, configs, strict=True)
        if not run.method.uses_reward
    }
    rows = load_rankings(
        config.labels,
        chat=chat if lengths else None,
        max_length=min(lengths, default=None),
        bad_rows=bad_rows,
        scores=score_columns(config),
        for_policy=True,
    ).rows
    responses: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        responses[prompt_key(row.prompt)].update(row.responses)
    if len(responses) < 2:
        raise ConfigError(
            f"labels={config.labels}: some prompts are trained on and some are held out; "
            f"{counted(len(responses), 'prompt')} cannot be split.",
            code="no-rows",
        )
    return len(rows), responses


def _prompts(
    config: CompareConfig,
    runs: Sequence[Run],
    configs: Sequence[Parsed],
    chat: ChatTokenizer,
    bad_rows: BadRows,
) -> Sequence[PromptRow]:
    """The prompts of the methods that sample, checked with their lengths; else unchecked."""
    limits: set[tuple[int | None, int]] = set()
    for run, parsed in zip(runs, configs, strict=True):
        if run.method.recipe == "ppo":
            limits.add((parsed[4].max_prompt_length, parsed[4].max_completion_length))
        elif run.method.recipe == "rejection_sampling":
            limits.add((None, parsed[1].sample_max_new_tokens))
    rows: Sequence[PromptRow] = []
    for longest, response in sorted(limits, key=str):
        rows = load_prompts(
            config.prompts,
            chat=chat,
            max_length=longest,
            response_length=response,
            bad_rows=bad_rows,
        ).rows
    return rows


def policies(config: CompareConfig) -> int:
    """Policies that are evaluated: of all runs, the SFT model, and best of N from it."""
    trained = sum(len(m.values) for m in config.parsed_methods if m.trains) * len(config.seeds)
    return trained + 1 + len(config.best_of_n)
