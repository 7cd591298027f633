"""Check keys, functions and data files of all stages before the first stage runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rlhf.data.config import DataConfig
from rlhf.data.rows.bad_rows import BadRows
from rlhf.data.rows.load import load_demonstrations, load_prompts, load_rankings
from rlhf.data.tokenization.template import parse_template_kwargs
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.errors import ConfigError
from rlhf.evaluation.core.config import EvaluateConfig
from rlhf.evaluation.core.study_config import StudyConfig
from rlhf.labels.candidates import sampling_tokenizer
from rlhf.labels.simulate import load_annotators
from rlhf.models.config import ModelConfig
from rlhf.models.memory import count_parameters
from rlhf.models.shape import GIB
from rlhf.models.tokenizer import tokenizer_of_model
from rlhf.pipeline.compare.config import CompareConfig
from rlhf.pipeline.config import SAMPLED, SIMULATED, AlignConfig
from rlhf.pipeline.recipe_stage import RecipeStage, recipe_arguments
from rlhf.pipeline.rejection_config import RejectionConfig
from rlhf.pipeline.rounds import FIRST
from rlhf.pipeline.rounds_config import ONE_ROUND, VOTES, RoundsConfig
from rlhf.pipeline.stages import (
    WEIGHT,
    evaluation_stage,
    ppo_stage,
    processes,
    reward_model_stage,
    sft_stage,
)
from rlhf.planning.case import Assumed, Target
from rlhf.planning.plan import Plan
from rlhf.planning.report import summary
from rlhf.planning.target import launch_target
from rlhf.rewards.config import RewardConfig
from rlhf.rewards.function import load_function
from rlhf.runtime.config import parse_config
from rlhf.runtime.printing import counted, quiet_logs
from rlhf.runtime.run_folder import LATEST, RunConfig
from rlhf.training.dpo.config import DPOConfig
from rlhf.training.kto.config import KTOConfig
from rlhf.training.ppo.config import PPOConfig
from rlhf.training.ppo.plan import plan as ppo_plan
from rlhf.training.ppo.settings import PPO_CLASSES
from rlhf.training.ppo.settings import settings_of as ppo_settings
from rlhf.training.reward.config import RewardModelConfig
from rlhf.training.reward.plan import plan as reward_plan
from rlhf.training.sft.config import SFTConfig
from rlhf.training.sft.plan import plan as sft_plan

CLASSES: Mapping[str, tuple[type, ...]] = {
    "sft": (RunConfig, ModelConfig, DataConfig, SFTConfig),
    "reward_model": (RunConfig, ModelConfig, DataConfig, RewardModelConfig),
    "dpo": (RunConfig, ModelConfig, DataConfig, DPOConfig),
    "kto": (RunConfig, ModelConfig, DataConfig, KTOConfig),
    "ppo": PPO_CLASSES,
    "evaluate": (RunConfig, EvaluateConfig, StudyConfig),
    "rejection_sampling": (RunConfig, RejectionConfig, RewardConfig),
    "compare": (RunConfig, CompareConfig),
}


@dataclass(frozen=True, kw_only=True)
class CheckedInputs:
    """The configuration of each recipe, and the number of usable rows in each file."""

    configs: Mapping[str, tuple[Any, ...]]  # by recipe
    rows: Mapping[str, int]  # of demonstrations, labels, ppo_prompts, heldout_prompts


def check_inputs(
    run_config: RunConfig,
    config: AlignConfig,
    rounds: RoundsConfig = ONE_ROUND,
    number: int = FIRST,
) -> CheckedInputs:
    """Check the inputs of all stages, so that a bad row of the last stage does not show up late.

    Args:
        run_config: of the pipeline.
        config: the keys of the round.
        rounds: of the pipeline.
        number: of the round.

    Raises:
        ConfigError: an unknown key, or a stage's file, an annotator file or a function that cannot
            be loaded.
        CheckpointError: the base model does not exist, or is smaller than its tokenizer.
        DataError: a file that does not exist, or rows that cannot be used, listed for all files.
    """
    if run_config.resume_from_checkpoint not in (None, LATEST):
        raise ConfigError(
            "resume_from_checkpoint: the pipeline always resumes; leave it out.",
            code="key-conflict",
        )
    quiet_logs()
    configs = parsed_stages(run_config, config, rounds, number)
    ppo, evaluate = ppo_settings(configs["ppo"]), configs["evaluate"][1]
    data, reward = configs["reward_model"][2:]
    _check_weights(reward, number)
    if reward.objective != "rankings":
        raise ConfigError(
            f"reward_model: objective={reward.objective}, but the labels of the pipeline are "
            "rankings; train that model by `rlhf reward` and name it in `reward` of `rlhf ppo`.",
            code="key-conflict",
        )
    _check_judges(config, evaluate)
    variables = parse_template_kwargs(config.chat_template_kwargs)
    chat = tokenizer_of_model(
        config.model_name_or_path, config.chat_template, template_kwargs=variables
    )
    with BadRows() as bad_rows:
        rows = {
            "demonstrations": _demonstrations(config, configs["sft"][2], chat, bad_rows),
            "labels": _labels(config, data, reward, chat, bad_rows),
            "ppo_prompts": _prompts(
                config.ppo_prompts, ppo.ppo, chat, _collector(ppo.data.drop_bad_rows, bad_rows)
            ),
            "heldout_prompts": _prompts(
                config.heldout_prompts, evaluate, chat, _collector(evaluate.drop_bad_rows, bad_rows)
            ),
        }
    return CheckedInputs(configs=configs, rows=rows)


def plan(config: AlignConfig, checked: CheckedInputs) -> list[str]:
    """A line per stage: rows, parameters and memory."""
    base, rows, configs = config.model_name_or_path, checked.rows, checked.configs
    stages = {name: summary(stage) for name, stage in stage_plans(config, configs).items()}
    evaluate: EvaluateConfig = configs["evaluate"][1]
    prompts = min(rows["heldout_prompts"], evaluate.max_prompts or rows["heldout_prompts"])
    weights = count_parameters(base, "CAUSAL_LM") * (2 if evaluate.bf16 else 4) / GIB
    labels = f"{rows['labels']} rankings"
    if config.labels == VOTES:
        labels = "votes of chats"
    elif config.labels in SAMPLED:
        labels = f"{config.num_responses} responses to each of {rows['labels']} prompts"
    return [
        f"sft: {rows['demonstrations']} demonstrations; {stages['sft']}",
        f"labels: {labels}",
        f"reward_model: the labels except for {config.label_eval_fraction:.0%}; "
        f"{stages['reward_model']}",
        f"ppo: {rows['ppo_prompts']} prompts; {stages['ppo']}",
        f"evaluation: {len(evaluate.models)} models, one at a time, x {evaluate.num_generations} "
        f"responses to {prompts} prompts; about {weights:,.2f} GiB per device before activations",
    ]


def stage_plans(
    config: AlignConfig,
    configs: Mapping[str, tuple[Any, ...]],
    target: Target | None = None,
    assumed: Assumed | None = None,
) -> dict[str, Plan]:
    """The plans of the three trainings. Models that do not exist yet have the base's sizes.

    Args:
        config: the pipeline.
        configs: of each recipe.
        target: the devices; None for those of this machine, one for each process.
        assumed: what the keys do not say.
    """
    target = target or launch_target(processes(config))
    assumed = assumed or Assumed(model=config.model_name_or_path)
    responses = config.num_responses if config.labels in SAMPLED else 2
    _, model, data, sft = configs["sft"]
    _, reward_base, rankings, reward = configs["reward_model"]
    return {
        "sft": sft_plan(model, data, sft, target, assumed=assumed),
        "reward_model": reward_plan(
            reward_base, rankings, reward, target, responses=responses, assumed=assumed
        ),
        "ppo": ppo_plan(ppo_settings(configs["ppo"]), target, assumed),
    }


def parsed_stages(
    run_config: RunConfig,
    config: AlignConfig,
    rounds: RoundsConfig = ONE_ROUND,
    number: int = FIRST,
) -> dict[str, tuple[Any, ...]]:
    """The configuration of each recipe in a round.

    Raises:
        ConfigError: an unknown key, or a file that cannot be read.
    """
    stages = [
        sft_stage(run_config, config),
        reward_model_stage(run_config, config, rounds, number),
        ppo_stage(run_config, config, rounds, number),
        evaluation_stage(run_config, config, number),
    ]
    return {stage.recipe: _parsed(stage) for stage in stages}


def _parsed(stage: RecipeStage) -> tuple[Any, ...]:
    try:
        return parse_config(*CLASSES[stage.recipe], description=None, argv=recipe_arguments(stage))
    except ConfigError as error:
        name = f"{stage.recipe}_config, {stage.recipe}_keys"
        raise ConfigError(f"{name}: {error}", code=error.code) from error


def _check_weights(reward: RewardModelConfig, number: int) -> None:
    """Check that the pipeline alone sets weights: it writes the file of rankings."""
    if reward.probability_column is not None:
        raise ConfigError(
            f"probability_column={reward.probability_column}: the pipeline writes the rankings "
            "that the reward model reads, one per annotator; leave it out, or run `rlhf reward` on "
            "your own file.",
            code="key-conflict",
        )
    if reward.weight_column not in (None, WEIGHT) or (reward.weight_column and number == FIRST):
        raise ConfigError(
            f"weight_column={reward.weight_column}: the pipeline writes the rankings that the "
            "reward model reads, without such a column; set round_decay for weights by round, or "
            "run `rlhf reward` on your own file.",
            code="key-conflict",
        )


def _check_judges(config: AlignConfig, evaluate: EvaluateConfig) -> None:
    if config.labels == SIMULATED:
        count = len(load_annotators(str(config.annotators)))
        if config.label_overlap > count:
            raise ConfigError(
                f"label_overlap={config.label_overlap}, but {config.annotators} has "
                f"{counted(count, 'annotator')}; lower it, or add annotators.",
                code="bad-value",
            )
        load_function(str(config.gold))
    for source in (evaluate.gold, evaluate.axes):
        if source is not None:
            load_function(source)


def _demonstrations(
    config: AlignConfig, data: DataConfig, chat: ChatTokenizer, bad_rows: BadRows
) -> int:
    """The number of demonstrations that can be used with a recipe's keys."""
    loaded = load_demonstrations(
        config.demonstrations,
        chat=chat,
        max_length=data.max_length,
        bad_rows=_collector(data.drop_bad_rows, bad_rows),
    )
    return len(loaded.rows)


def _labels(
    config: AlignConfig,
    data: DataConfig,
    reward: RewardModelConfig,
    chat: ChatTokenizer,
    bad_rows: BadRows,
) -> int:
    """The number of rankings in a file, or of prompts whose responses will be ranked."""
    _demonstrations(config, data, chat, bad_rows)  # read again, to normalise rewards
    if config.labels == VOTES:
        return 0
    if config.labels not in SAMPLED:
        bad_rows = _collector(data.drop_bad_rows, bad_rows)
        loaded_rankings = load_rankings(
            config.labels,
            chat=chat,
            max_length=data.max_length,
            bad_rows=bad_rows,
            keep_tied=reward.ties != "out",
            scores=reward.score_columns,
        )
        return len(loaded_rankings.rows)
    length = config.sample_max_new_tokens
    loaded = load_prompts(
        str(config.ranking_prompts),
        chat=sampling_tokenizer(
            config.model_name_or_path,
            config.chat_template,
            length,
            template_kwargs=parse_template_kwargs(config.chat_template_kwargs),
        ),
        response_length=length,
        bad_rows=_collector(config.drop_bad_rows, bad_rows),
    )
    return len(loaded.rows)


def _prompts(
    source: str, recipe: PPOConfig | EvaluateConfig, chat: ChatTokenizer, bad_rows: BadRows
) -> int:
    loaded = load_prompts(
        source,
        chat=chat,
        max_length=recipe.max_prompt_length,
        response_length=recipe.max_completion_length,
        bad_rows=bad_rows,
    )
    return len(loaded.rows)


def _collector(drop: bool, bad_rows: BadRows) -> BadRows:
    """Where bad rows go: dropped if the recipe drops them, else into the list of errors."""
    return BadRows(drop=True) if drop else bad_rows
