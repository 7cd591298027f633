"""What can be found out before the first stage runs: keys, functions and every data file."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
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
from rlhf.models.memory import GIB, model_size
from rlhf.models.tokenizer import tokenizer_of_model
from rlhf.pipeline.config import SAMPLED, SIMULATED, AlignConfig
from rlhf.pipeline.recipe_stage import RecipeStage, recipe_words
from rlhf.pipeline.stages import evaluation_stage, ppo_stage, reward_model_stage, sft_stage
from rlhf.rewards.function import load_function
from rlhf.runtime.config import parse_config
from rlhf.runtime.printing import quiet_logs
from rlhf.runtime.run_folder import RunConfig
from rlhf.training.ppo.config import PPO_CLASSES, PPOConfig
from rlhf.training.ppo.config import settings_of as ppo_settings
from rlhf.training.ppo.memory_plan import ppo_memory
from rlhf.training.reward.config import RewardModelConfig
from rlhf.training.sft.config import SFTConfig

CLASSES: Mapping[str, tuple[type, ...]] = {
    "sft": (RunConfig, ModelConfig, DataConfig, SFTConfig),
    "reward_model": (RunConfig, ModelConfig, DataConfig, RewardModelConfig),
    "ppo": PPO_CLASSES,
    "evaluate": (RunConfig, EvaluateConfig, StudyConfig),
}


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What each recipe will run with, and how many rows of each file can be used."""

    configs: Mapping[str, tuple[Any, ...]]  # by recipe
    rows: Mapping[str, int]  # of demonstrations, labels, ppo_prompts, heldout_prompts


def check_inputs(run_config: RunConfig, config: AlignConfig) -> Checked:
    """Refuse what cannot be run, so that a bad row of the last stage is not found after the first.

    Raises:
        ConfigError: a key that means nothing, here or to a stage, a stage's file, an annotator's
            or a function that cannot be read.
        CheckpointError: a model to start from that is none, or smaller than its tokenizer.
        DataError: a file that is not there, or rows that cannot be used, of all files in one list.
    """
    if run_config.resume_from_checkpoint not in (None, "latest"):
        raise ConfigError("resume_from_checkpoint: align.py always goes on; leave it out.")
    quiet_logs()
    makers = (sft_stage, reward_model_stage, ppo_stage, evaluation_stage)
    stages = [make(run_config, config) for make in makers]
    configs = {stage.recipe: _parsed(stage) for stage in stages}
    ppo, evaluate = ppo_settings(configs["ppo"]), configs["evaluate"][1]
    data, reward = configs["reward_model"][2:]
    _check_judges(config, evaluate)
    variables = parse_template_kwargs(config.chat_template_kwargs)
    chat = tokenizer_of_model(
        config.model_name_or_path, config.chat_template, template_kwargs=variables
    )
    with BadRows() as refused:
        rows = {
            "demonstrations": _demonstrations(config, configs["sft"][2], chat, refused),
            "labels": _labels(config, data, reward, chat, refused),
            "ppo_prompts": _prompts(
                config.ppo_prompts, ppo.ppo, chat, _bad_rows(ppo.data.drop_bad_rows, refused)
            ),
            "heldout_prompts": _prompts(
                config.heldout_prompts, evaluate, chat, _bad_rows(evaluate.drop_bad_rows, refused)
            ),
        }
    return Checked(configs=configs, rows=rows)


def plan(config: AlignConfig, checked: Checked) -> list[str]:
    """A line a stage: rows, parameters and memory."""
    base, rows, configs = config.model_name_or_path, checked.rows, checked.configs
    # The later models start from a copy of the first.
    sft = model_size(configs["sft"][1], "CAUSAL_LM")
    scorer = replace(configs["reward_model"][1], model_name_or_path=base)
    policy = model_size(ModelConfig(model_name_or_path=base), "CAUSAL_LM")
    evaluate: EvaluateConfig = configs["evaluate"][1]
    prompts = min(rows["heldout_prompts"], evaluate.max_prompts or rows["heldout_prompts"])
    weights = policy.parameters * (2 if evaluate.bf16 else 4) / GIB
    labels = f"{rows['labels']} rankings"
    if config.labels in SAMPLED:
        labels = f"{config.num_responses} answers to each of {rows['labels']} prompts"
    return [
        f"sft: {rows['demonstrations']} demonstrations; {sft}",
        f"labels: {labels}",
        f"reward_model: the labels but {config.label_eval_fraction:.0%}; "
        f"{model_size(scorer, 'SEQ_CLS')}",
        f"ppo: {rows['ppo_prompts']} prompts; policy: {policy}; "
        f"with critic, reference and reward model {ppo_memory(ppo_settings(configs['ppo']), base)}",
        f"evaluation: {len(evaluate.models)} models, one at a time, x {evaluate.num_generations} "
        f"answers to {prompts} prompts; about {weights:,.2f} GiB a device before activations",
    ]


def _parsed(stage: RecipeStage) -> tuple[Any, ...]:
    try:
        return parse_config(*CLASSES[stage.recipe], description=None, argv=recipe_words(stage))
    except ConfigError as error:
        name = f"{stage.recipe}_config, {stage.recipe}_keys"
        raise ConfigError(f"{name}: {error}") from error


def _check_judges(config: AlignConfig, evaluate: EvaluateConfig) -> None:
    if config.labels == SIMULATED:
        load_annotators(str(config.annotators))
        load_function(str(config.gold))
    for source in (evaluate.gold, evaluate.axes):
        if source is not None:
            load_function(source)


def _demonstrations(
    config: AlignConfig, data: DataConfig, chat: ChatTokenizer, refused: BadRows
) -> int:
    """How many rows of them can be used with a recipe's keys."""
    loaded = load_demonstrations(
        config.demonstrations,
        chat=chat,
        max_length=data.max_length,
        bad_rows=_bad_rows(data.drop_bad_rows, refused),
    )
    return len(loaded.rows)


def _labels(
    config: AlignConfig,
    data: DataConfig,
    reward: RewardModelConfig,
    chat: ChatTokenizer,
    refused: BadRows,
) -> int:
    """How many rankings a file has, or prompts whose answers will be ranked."""
    _demonstrations(config, data, chat, refused)  # read again, to normalise rewards
    if config.labels not in SAMPLED:
        bad_rows = _bad_rows(data.drop_bad_rows, refused)
        loaded_rankings = load_rankings(
            config.labels,
            chat=chat,
            max_length=data.max_length,
            bad_rows=bad_rows,
            keep_tied=reward.ties != "out",
            scores=reward.score_columns,
        )
        return len(loaded_rankings.rows)
    answer = config.sample_max_new_tokens
    loaded = load_prompts(
        str(config.ranking_prompts),
        chat=sampling_tokenizer(
            config.model_name_or_path,
            config.chat_template,
            answer,
            template_kwargs=parse_template_kwargs(config.chat_template_kwargs),
        ),
        answer_length=answer,
        bad_rows=_bad_rows(config.drop_bad_rows, refused),
    )
    return len(loaded.rows)


def _prompts(
    source: str, recipe: PPOConfig | EvaluateConfig, chat: ChatTokenizer, bad_rows: BadRows
) -> int:
    loaded = load_prompts(
        source,
        chat=chat,
        max_length=recipe.max_prompt_length,
        answer_length=recipe.max_completion_length,
        bad_rows=bad_rows,
    )
    return len(loaded.rows)


def _bad_rows(drop: bool, refused: BadRows) -> BadRows:
    """Those of a recipe that leaves them out are no reason to refuse."""
    return BadRows(drop=True) if drop else refused
