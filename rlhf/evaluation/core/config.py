"""Keys of `rlhf evaluate`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from rlhf.data.config import TEMPLATE_KWARGS
from rlhf.data.tokenization.template import parse_template_kwargs
from rlhf.errors import ConfigError
from rlhf.rewards.templates import KWARGS_HELP, TEMPLATE_HELP, JudgeTemplate, judge_templates
from rlhf.rollouts.chat_server import ServedModel, is_address, parse_served
from rlhf.rollouts.config import RolloutConfig, check_rollouts
from rlhf.runtime.field_types import check_field_types

# Null baselines, judged next to the models: rlhf/evaluation/core/baselines.py.
EMPTY, CONSTANT, COPY, LONGEST, LOOKUP = "empty", "constant", "copy", "longest", "lookup"
NULL_BASELINES = (EMPTY, CONSTANT, COPY, LONGEST, LOOKUP)
AT_LEAST_ONE = (
    "max_prompts", "num_generations", "max_prompt_length", "max_completion_length",
    "per_device_eval_batch_size", "bootstrap_samples",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(RolloutConfig):
    """Which models are compared, on which prompts, by which judges, and what samples."""

    JSON_KEYS: ClassVar[Sequence[str]] = ("chat_template_kwargs", "reward_chat_template_kwargs")

    models: list[str] = field(
        metadata={
            "help": "Models to compare: folders, hub ids or addresses (http://HOST:PORT/v1#MODEL), "
            "each as NAME=PATH or PATH."
        }
    )
    eval_data: str = field(metadata={"help": "Held-out prompts: a file or `hub_id[:split]`."})
    baseline: str | None = field(
        default=None,
        metadata={"help": "Name of the model that win rates are against. Default: the first."},
    )
    reference: str | None = field(
        default=None,
        metadata={"help": "Name of the model that KL is measured from. Default: the baseline."},
    )
    gold: str | None = field(
        default=None,
        metadata={
            "help": "Judge: a reward function, `file.py:function`, or another source of rewards "
            "that is no reward model: an address, judge:FILE.yaml, verifier:NAME."
        },
    )
    axes: str | None = field(
        default=None,
        metadata={
            "help": "Function (prompt, completion) -> {axis: number or None}, as "
            "`file.py:function`: one metric per axis."
        },
    )
    reward_model: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Judges: reward models, folders, hub ids or addresses, each NAME=PATH or PATH."
        },
    )
    train_data: list[str] = field(
        default_factory=list,
        metadata={"help": "Training files; held-out prompts that occur in them are flagged."},
    )
    category_column: str = field(
        default="category",
        metadata={"help": "Column of eval_data by which metrics are also split."},
    )
    max_prompts: int | None = field(
        default=None, metadata={"help": "Use this many prompts, drawn by seed. Default: all."}
    )
    num_generations: int = field(default=4, metadata={"help": "Responses per prompt and model."})
    max_prompt_length: int = field(default=512, metadata={"help": "Longest prompt, in tokens."})
    max_completion_length: int = field(
        default=128, metadata={"help": "Longest response, in tokens."}
    )
    temperature: float = field(
        default=1.0,
        metadata={
            "help": "Temperature of sampling and KL. Use that of PPO, so that the KLs are "
            "comparable."
        },
    )
    per_device_eval_batch_size: int = field(
        default=64, metadata={"help": "Responses sampled at a time."}
    )
    bootstrap_samples: int = field(
        default=2000, metadata={"help": "Bootstrap resamples of each interval."}
    )
    num_examples: int = field(
        default=10, metadata={"help": "Prompts in each of samples/best, worst and random."}
    )
    chat_template: str = field(default="auto", metadata={"help": "auto, none, or a file."})
    chat_template_kwargs: str | None = field(default=None, metadata=TEMPLATE_KWARGS)
    reward_chat_template: list[str] | None = field(default=None, metadata={"help": TEMPLATE_HELP})
    reward_chat_template_kwargs: str | None = field(default=None, metadata={"help": KWARGS_HELP})
    bf16: bool = field(
        default=False, metadata={"help": "Load the models and a local llm_judge in bfloat16."}
    )
    drop_bad_rows: bool = field(
        default=False, metadata={"help": "Drop and count bad rows instead of stopping."}
    )

    def __post_init__(self) -> None:
        check_field_types(self)
        parse_template_kwargs(self.chat_template_kwargs)
        names = list(named_paths(self.models, "models"))
        named_paths(self.reward_model, "reward_model")
        for key in ("baseline", "reference"):
            name = getattr(self, key)
            if name is not None and name not in names:
                raise ConfigError(
                    f"{key}={name!r} is not the name of a model; use one of {', '.join(names)}.",
                    code="bad-value",
                )
        if taken := sorted({*names} & {*NULL_BASELINES}):
            raise ConfigError(
                f"models: {taken[0]!r} is a null baseline; use another name, NAME=PATH.",
                code="bad-value",
            )
        if not self.temperature > 0:
            raise ConfigError(
                f"temperature={self.temperature}: sampling several responses and their KL need a "
                "temperature above 0.",
                code="bad-value",
            )
        for key in AT_LEAST_ONE:
            value = getattr(self, key)
            if value is not None and value < 1:
                raise ConfigError(f"{key}={value}; use at least 1.", code="bad-value")
        if self.num_examples < 0:
            raise ConfigError(f"num_examples={self.num_examples}; use 0 or more.", code="bad-value")
        self._check_sampling()

    def _check_sampling(self) -> None:
        """Check the keys of the engine, and what a model behind an address cannot have."""
        check_rollouts(self)
        if not self.served:
            return
        name = next(iter(self.served))
        if self.rollout_engine != "native" and not self.loaded_paths:
            raise ConfigError(
                f"rollout_engine={self.rollout_engine} samples from models that are loaded, and "
                "all of these are behind addresses; leave it out.",
                code="key-conflict",
            )
        if self.reference in self.served:
            raise ConfigError(
                f"reference={self.reference} is behind an address: the KL from it cannot be "
                "measured. Name a model that is loaded.",
                code="unsupported",
            )
        if self.chat_template == "none":
            raise ConfigError(
                f"chat_template=none: {name} is behind an address, whose server renders prompts "
                "with its own template; leave the key or the model out.",
                code="key-conflict",
            )

    @property
    def model_paths(self) -> dict[str, str]:
        """Name -> folder, hub id or address, in the order of `models`."""
        return named_paths(self.models, "models")

    @property
    def served(self) -> dict[str, ServedModel]:
        """Name -> model behind an address, which is sampled from and never loaded."""
        parsed = {name: parse_served(path) for name, path in self.model_paths.items()}
        return {name: model for name, model in parsed.items() if model is not None}

    @property
    def loaded_paths(self) -> dict[str, str]:
        """Name -> folder or hub id of the models that are loaded."""
        return {name: path for name, path in self.model_paths.items() if not is_address(path)}

    @property
    def baseline_name(self) -> str:
        """The model that win rates are against."""
        return self.baseline or next(iter(self.model_paths))

    @property
    def reference_name(self) -> str | None:
        """The model that KL is measured from; None if that is behind an address."""
        name = self.reference or self.baseline_name
        return None if name in self.served else name

    @property
    def template_kwargs(self) -> dict[str, object] | None:
        """Variables of the chat template, or None."""
        return parse_template_kwargs(self.chat_template_kwargs)

    @property
    def judge_templates(self) -> dict[str, JudgeTemplate]:
        """Each reward model's chat template; none if prompts are raw in every stage."""
        return judge_templates(
            list(named_paths(self.reward_model, "reward_model").values()),
            self.reward_chat_template,
            self.reward_chat_template_kwargs,
            default="none" if self.chat_template == "none" else "auto",
        )


def named_paths(items: list[str], key: str) -> dict[str, str]:
    """`NAME=PATH` items as name -> path; the name of a plain PATH is its last part.

    That of an address with a model, http://HOST:PORT/v1#ORG/MODEL, is the model's last part.

    Raises:
        ConfigError: two items have the same name, or one has no name or no path.
    """
    paths: dict[str, str] = {}
    for item in items:
        name, equals, path = item.partition("=")
        if not equals or "://" in name or Path(item).exists():  # `runs/lr=0.1` is a path
            place = item.rpartition("#")[2] if is_address(item) else item
            name, path = Path(place).name, item
        if not name or not path:
            raise ConfigError(f"{key}: {item!r} is neither NAME=PATH nor PATH.", code="bad-value")
        if name in paths:
            raise ConfigError(
                f"{key}: two have the name {name!r}; write NAME=PATH for each.", code="repeated-key"
            )
        paths[name] = path
    return paths
