"""Check the inputs of rejection sampling before its first round: keys, models, prompts, reward."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rlhf.data.config import DataConfig
from rlhf.data.rows.bad_rows import BadRows
from rlhf.data.rows.load import load_prompts
from rlhf.data.tokenization.template import parse_template_kwargs
from rlhf.errors import ConfigError
from rlhf.labels.candidates import sampling_tokenizer
from rlhf.models.compatibility import check_input_model, check_same_format
from rlhf.models.config import ModelConfig
from rlhf.models.tokenizer import tokenizer_of_model
from rlhf.pipeline.recipe_stage import recipe_arguments
from rlhf.pipeline.rejection_config import RejectionConfig
from rlhf.pipeline.rejection_stages import sft_stage
from rlhf.planning.case import Assumed
from rlhf.planning.report import check_fits, lines
from rlhf.planning.target import launch_target
from rlhf.rewards.config import OF_CALLS, RewardConfig
from rlhf.rewards.scorers import check_options, check_source
from rlhf.rewards.spec import parse_rewards
from rlhf.runtime.config import parse_config
from rlhf.runtime.field_types import changed_fields
from rlhf.runtime.printing import counted, quiet_logs
from rlhf.runtime.run_folder import LATEST, RunConfig
from rlhf.training.sft.config import SFTConfig
from rlhf.training.sft.plan import plan as sft_plan
from rlhf.types import PromptRow


def check_inputs(run_config: RunConfig, config: RejectionConfig, reward: RewardConfig) -> list[str]:
    """Lines about the run, and the plan of its SFT, once everything it needs is checked.

    Raises:
        ConfigError: a key of SFT or of the reward that cannot be used; SFT that does not fit.
        CheckpointError: a policy or reward model that cannot be built on.
        DataError: prompts that cannot be used.
    """
    if run_config.resume_from_checkpoint not in (None, LATEST):
        raise ConfigError(
            "resume_from_checkpoint: this command always resumes; leave it out.",
            code="key-conflict",
        )
    quiet_logs()
    _check_reward(config, reward)
    stage = sft_stage(run_config, config, 1)
    classes = (RunConfig, ModelConfig, DataConfig, SFTConfig)
    _, model, data, sft = parse_config(*classes, description=None, argv=recipe_arguments(stage))
    length = config.sample_max_new_tokens
    chat = sampling_tokenizer(
        config.model_name_or_path,
        config.chat_template,
        length,
        template_kwargs=parse_template_kwargs(config.chat_template_kwargs),
    )
    room = data.max_length - length  # SFT reads prompt and response
    if room < 1:
        raise ConfigError(
            f"sample_max_new_tokens={length} leaves no room for a prompt in SFT's max_length="
            f"{data.max_length}; raise it with sft_keys.",
            code="key-conflict",
        )
    with BadRows(drop=config.drop_bad_rows) as bad_rows:
        rows = load_prompts(
            config.train_data, chat=chat, max_length=room, response_length=length, bad_rows=bad_rows
        ).rows
    _check_sources(reward, rows)
    target = launch_target(stage.num_processes, timed=run_config.dry_run)
    planned = sft_plan(
        replace(model, model_name_or_path=config.model_name_or_path), data, sft, target,
        rows=len(rows) * config.keep, assumed=Assumed(),
    )  # fmt: skip
    if not run_config.skip_plan and not run_config.dry_run:
        check_fits(planned)
    return [
        f"{counted(config.num_rounds, 'round')} of {config.num_responses} responses to each of "
        f"{counted(len(rows), 'prompt')}, SFT on the best {config.keep}:",
        *lines(planned),
    ]


def _check_sources(reward: RewardConfig, rows: Sequence[PromptRow]) -> None:
    """Check the sources that are no reward models, and what they read of the rows."""
    specs = parse_rewards(reward.reward)
    check_options(specs, reward.calls, changed_fields(reward, OF_CALLS))
    for spec in specs:
        if not spec.is_model:
            check_source(spec, reward.calls, None, rows)


def _check_reward(config: RejectionConfig, reward: RewardConfig) -> None:
    """Load functions, and check that reward models exist and read the policy's format."""
    specs = parse_rewards(reward.reward)
    chat = tokenizer_of_model(config.model_name_or_path, config.chat_template)
    templates = reward.templates(specs, raw=config.chat_template == "none")
    if reward.reward_aggregation == "normalized_sum":
        raise ConfigError(
            "reward_aggregation=normalized_sum standardises over the responses of an iteration, "
            "which rejection sampling has not; use sum, with weights.",
            code="unsupported",
        )
    for spec in specs:
        if spec.is_function:
            spec.function()
        if not spec.is_model:
            continue
        path = str(spec.source)
        check_input_model(Path(path))
        template = templates[spec.name]
        judge = tokenizer_of_model(
            path, template.template, template_kwargs=template.kwargs, judges=True
        )
        check_same_format(config.model_name_or_path, chat, path, judge)
