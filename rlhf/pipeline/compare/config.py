"""Keys of `rlhf compare`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

from rlhf.data.config import TEMPLATE_KWARGS
from rlhf.data.rows.sources import split_weight
from rlhf.errors import ConfigError
from rlhf.pipeline.compare.methods import BEST_OF_N, Method, parse_methods
from rlhf.pipeline.config import key_values
from rlhf.rewards.config import Normalization
from rlhf.runtime.field_types import check_field_types

AT_LEAST_ONE = (
    *("max_prompts", "num_generations", "max_prompt_length", "max_completion_length"),
    *("per_device_eval_batch_size", "budget_responses", "num_processes"),
)


@dataclass(frozen=True, kw_only=True)
class CompareConfig:
    """One SFT model, one file of labels, one judge, several methods with sweeps and seeds."""

    JSON_KEYS: ClassVar[Sequence[str]] = ("methods", "chat_template_kwargs")

    model_name_or_path: str = field(
        metadata={
            "help": "SFT model: a folder or a hub id. All methods start from it; win rates and KL "
            "are against it."
        }
    )
    labels: str = field(
        metadata={"help": "Rankings or pairs that all methods train on: a file or hub data set."}
    )
    prompts: str = field(
        metadata={"help": "Prompts for the methods that sample while they train (ppo, …)."}
    )
    heldout_prompts: str = field(
        metadata={"help": "Prompts for the evaluation; they must not occur in the other files."}
    )
    judge: str = field(
        metadata={
            "help": "Judge of the evaluation: `file.py:function`, or a reward model that was "
            "trained on other labels (a folder or hub id)."
        }
    )
    methods: str = field(
        metadata={
            "help": "Methods by name, as a mapping: {NAME: {recipe, config, keys, sweep}}. recipe "
            "is ppo, dpo, kto, rejection_sampling or best_of_n; default: the name. sweep has one "
            "key with the values of the method's strength."
        }
    )
    seeds: list[int] = field(
        default_factory=lambda: [0, 1, 2],
        metadata={"help": "Seeds of the runs: each method runs at each strength with each seed."},
    )
    budget_responses: int | None = field(
        default=None,
        metadata={
            "help": "Responses that a run may sample while it trains, at most. Default: as in the "
            "methods' own keys."
        },
    )
    budget_seconds: float | None = field(
        default=None,
        metadata={
            "help": "Seconds of training steps per run. A short run of each method measures its "
            "speed first. Default: as in the methods' own keys."
        },
    )
    reward_model: str | None = field(
        default=None,
        metadata={"help": "Reward model for all methods. Default: train one on the labels."},
    )
    reward_model_config: str | None = field(
        default=None, metadata={"help": "YAML file with the keys of `rlhf reward`."}
    )
    reward_model_keys: list[str] = field(
        default_factory=list,
        metadata={"help": "`key=value` items that override reward_model_config."},
    )
    extra_rewards: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Rewards that are added to that of the reward model: `file.py:function`, "
            "each may be WEIGHT*SOURCE."
        },
    )
    normalize_reward: Normalization = field(
        default="mean_std",
        metadata={
            "help": "mean: subtract the reward model's mean on the demonstrations. mean_std: also "
            "divide by its standard deviation there. none: use the raw logits."
        },
    )
    normalization_data: str | None = field(
        default=None, metadata={"help": "Demonstrations for the normalization of rewards."}
    )
    label_eval_fraction: float = field(
        default=0.15,
        metadata={"help": "Share of labelled prompts held out from all trainings on labels."},
    )
    skip_gate: bool = field(
        default=False, metadata={"help": "Continue even if the gate of the reward model fails."}
    )
    keep_checkpoints: bool = field(
        default=False, metadata={"help": "Keep the checkpoints of complete runs, too."}
    )
    max_prompts: int | None = field(
        default=None, metadata={"help": "Held-out prompts to use, drawn by seed. Default: all."}
    )
    num_generations: int = field(
        default=4, metadata={"help": "Responses per held-out prompt and policy."}
    )
    max_prompt_length: int = field(
        default=512, metadata={"help": "Longest held-out prompt, in tokens."}
    )
    max_completion_length: int = field(
        default=128, metadata={"help": "Longest response in the evaluation, in tokens."}
    )
    temperature: float = field(
        default=1.0,
        metadata={"help": "Temperature of sampling and KL in the evaluation; use that of PPO."},
    )
    per_device_eval_batch_size: int = field(
        default=64, metadata={"help": "Responses sampled at a time in the evaluation."}
    )
    chat_template: str = field(default="auto", metadata={"help": "auto, none, or a file."})
    chat_template_kwargs: str | None = field(default=None, metadata=TEMPLATE_KWARGS)
    bf16: bool = field(
        default=False, metadata={"help": "Load the models of the evaluation in bfloat16."}
    )
    drop_bad_rows: bool = field(
        default=False,
        metadata={"help": "Drop rows that cannot be used in every stage, and list them."},
    )
    num_processes: int | None = field(
        default=None,
        metadata={"help": "Processes of each training. Default: as many as the command runs on."},
    )

    def __post_init__(self) -> None:
        check_field_types(self)
        key_values("reward_model_keys", self.reward_model_keys)
        _check_ranges(self)
        _check_uses(self, self.parsed_methods)

    @cached_property
    def parsed_methods(self) -> list[Method]:
        """The methods, in their order."""
        return parse_methods(self.methods)

    @property
    def best_of_n(self) -> list[Method]:
        """The methods that train nothing."""
        return [method for method in self.parsed_methods if method.recipe == BEST_OF_N]


def _check_ranges(config: CompareConfig) -> None:
    for name in AT_LEAST_ONE:
        value = getattr(config, name)
        if value is not None and value < 1:
            raise ConfigError(f"{name}={value}; use 1 or more.", code="bad-value")
    if config.budget_seconds is not None and not 0 < config.budget_seconds < float("inf"):
        raise ConfigError(
            f"budget_seconds={config.budget_seconds}; use a number above 0.", code="bad-value"
        )
    if not config.temperature > 0:
        raise ConfigError(
            f"temperature={config.temperature}: KL and several responses need a temperature above "
            "0.",
            code="bad-value",
        )
    if not 0 < config.label_eval_fraction < 1:
        raise ConfigError(
            f"label_eval_fraction={config.label_eval_fraction}; use a number above 0 and below 1.",
            code="bad-value",
        )
    if not config.seeds or any(not 0 <= seed < 1 << 32 for seed in config.seeds):
        raise ConfigError(
            f"seeds={config.seeds}; give one or several, 0 to {(1 << 32) - 1}.", code="bad-value"
        )
    if len(set(config.seeds)) < len(config.seeds):
        raise ConfigError(f"seeds={config.seeds} has one twice.", code="repeated-key")


def _check_uses(config: CompareConfig, methods: Sequence[Method]) -> None:
    if config.budget_responses is not None and config.budget_seconds is not None:
        raise ConfigError(
            "budget_responses and budget_seconds: one budget can be matched at a time; set one.",
            code="key-conflict",
        )
    optimized = [config.reward_model, *(split_weight(each)[1] for each in config.extra_rewards)]
    if config.judge in optimized:
        raise ConfigError(
            f"judge={config.judge} is a reward that methods optimize; judge by another function, "
            "or by a reward model that was trained on other labels.",
            code="key-conflict",
        )
    for name in ("reward_model_config", "reward_model_keys", "normalization_data"):
        if config.reward_model is not None and getattr(config, name):
            raise ConfigError(
                f"{name} is for the training of a reward model, but reward_model="
                f"{config.reward_model} is one; leave {name} out.",
                code="key-conflict",
            )
    sampling = [method.name for method in methods if method.recipe == "rejection_sampling"]
    if config.budget_seconds is not None and sampling:
        raise ConfigError(
            f"budget_seconds: the time of {sampling[0]} (rejection_sampling) is not bounded by a "
            "number of steps; use budget_responses, or leave the method out.",
            code="unsupported",
        )
