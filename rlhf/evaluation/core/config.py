"""Keys of `rlhf evaluate`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from rlhf.data.config import TEMPLATE_KWARGS
from rlhf.data.tokenization.template import parse_template_kwargs
from rlhf.errors import ConfigError
from rlhf.rewards.templates import KWARGS_HELP, TEMPLATE_HELP, JudgeTemplate, judge_templates
from rlhf.runtime.field_types import check_field_types

# Null baselines, judged next to the models: rlhf/evaluation/core/baselines.py.
EMPTY, CONSTANT, COPY, LONGEST, LOOKUP = "empty", "constant", "copy", "longest", "lookup"
NULL_BASELINES = (EMPTY, CONSTANT, COPY, LONGEST, LOOKUP)
AT_LEAST_ONE = (
    "max_prompts", "num_generations", "max_prompt_length", "max_completion_length",
    "per_device_eval_batch_size", "bootstrap_samples",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Which models are compared, on which prompts, by which judges."""

    JSON_KEYS: ClassVar[Sequence[str]] = ("chat_template_kwargs", "reward_chat_template_kwargs")

    models: list[str] = field(
        metadata={"help": "Models to compare: folders or hub ids, each as NAME=PATH or PATH."}
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
    bf16: bool = field(default=False, metadata={"help": "Load the models in bfloat16."})
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

    @property
    def model_paths(self) -> dict[str, str]:
        """Name -> folder or hub id, in the order of `models`."""
        return named_paths(self.models, "models")

    @property
    def baseline_name(self) -> str:
        """The model that win rates are against."""
        return self.baseline or next(iter(self.model_paths))

    @property
    def reference_name(self) -> str:
        """The model that KL is measured from."""
        return self.reference or self.baseline_name

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

    Raises:
        ConfigError: two items have the same name, or one has no name or no path.
    """
    paths: dict[str, str] = {}
    for item in items:
        name, equals, path = item.partition("=")
        if not equals or Path(item).exists():  # `runs/lr=0.1` is a path
            name, path = Path(item).name, item
        if not name or not path:
            raise ConfigError(f"{key}: {item!r} is neither NAME=PATH nor PATH.", code="bad-value")
        if name in paths:
            raise ConfigError(
                f"{key}: two have the name {name!r}; write NAME=PATH for each.", code="repeated-key"
            )
        paths[name] = path
    return paths
