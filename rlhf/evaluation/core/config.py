"""Keys of recipes/evaluate.py."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from rlhf.data.config import TEMPLATE_KWARGS
from rlhf.data.tokenization.template import parse_template_kwargs
from rlhf.errors import ConfigError
from rlhf.rewards.templates import KWARGS_HELP, TEMPLATE_HELP, JudgeTemplate, judge_templates

# Baselines that no model wrote, judged beside the models: rlhf/evaluation/core/baselines.py.
EMPTY, CONSTANT, COPY, LONGEST, LOOKUP = "empty", "constant", "copy", "longest", "lookup"
NULLS = (EMPTY, CONSTANT, COPY, LONGEST, LOOKUP)
AT_LEAST_ONE = (
    "max_prompts", "num_generations", "max_prompt_length", "max_completion_length",
    "per_device_eval_batch_size", "bootstrap_samples",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """What is compared, on which prompts, and who judges."""

    JSON_KEYS: ClassVar[Sequence[str]] = ("chat_template_kwargs", "reward_chat_template_kwargs")

    models: list[str] = field(
        metadata={"help": "Models to compare: folders or hub ids, each as NAME=PATH or PATH."}
    )
    eval_data: str = field(metadata={"help": "Held-out prompts: a file or `hub_id[:split]`."})
    baseline: str | None = field(
        default=None,
        metadata={"help": "Name of the model that win rates are against; default the first."},
    )
    reference: str | None = field(
        default=None,
        metadata={"help": "Name of the model that KL is measured from; default the baseline."},
    )
    gold: str | None = field(
        default=None, metadata={"help": "Judge: a reward function, `file.py:function`."}
    )
    axes: str | None = field(
        default=None,
        metadata={
            "help": "Function (prompt, completion) -> {axis: number or None}, as "
            "`file.py:function`: one figure an axis."
        },
    )
    reward_model: list[str] = field(
        default_factory=list,
        metadata={"help": "Judges: reward models, folders or hub ids, each NAME=PATH or PATH."},
    )
    train_data: list[str] = field(
        default_factory=list,
        metadata={"help": "Training files; held-out prompts that stand in them are flagged."},
    )
    category_column: str = field(
        default="category", metadata={"help": "Column of eval_data that splits the figures."}
    )
    max_prompts: int | None = field(
        default=None, metadata={"help": "Use this many prompts, drawn by seed; default all."}
    )
    num_generations: int = field(default=4, metadata={"help": "Answers per prompt and model."})
    max_prompt_length: int = field(default=512, metadata={"help": "Tokens of a prompt, at most."})
    max_completion_length: int = field(
        default=128, metadata={"help": "Tokens of an answer, at most."}
    )
    temperature: float = field(
        default=1.0, metadata={"help": "Sampling temperature, of KL too; PPO's, to compare."}
    )
    per_device_eval_batch_size: int = field(default=64, metadata={"help": "Answers at a time."})
    bootstrap_samples: int = field(default=2000, metadata={"help": "Resamples of an interval."})
    num_examples: int = field(
        default=10, metadata={"help": "Prompts in each of samples/best, worst and random."}
    )
    chat_template: str = field(default="auto", metadata={"help": "auto, none, or a file."})
    chat_template_kwargs: str | None = field(default=None, metadata=TEMPLATE_KWARGS)
    reward_chat_template: list[str] | None = field(default=None, metadata={"help": TEMPLATE_HELP})
    reward_chat_template_kwargs: str | None = field(default=None, metadata={"help": KWARGS_HELP})
    bf16: bool = field(default=False, metadata={"help": "Load the models in bfloat16."})
    drop_bad_rows: bool = field(
        default=False, metadata={"help": "Leave bad rows out and count them, instead of stopping."}
    )

    def __post_init__(self) -> None:
        parse_template_kwargs(self.chat_template_kwargs)
        names = list(named_paths(self.models, "models"))
        named_paths(self.reward_model, "reward_model")
        for key in ("baseline", "reference"):
            name = getattr(self, key)
            if name is not None and name not in names:
                raise ConfigError(f"{key}={name!r} is none of the models {', '.join(names)}.")
        if taken := sorted({*names} & {*NULLS}):
            raise ConfigError(
                f"models: {taken[0]!r} is the name of a null baseline; write another NAME=PATH."
            )
        if not self.temperature > 0:
            raise ConfigError(
                f"temperature={self.temperature}: several answers and their KL need a temperature "
                "above 0."
            )
        for key in AT_LEAST_ONE:
            value = getattr(self, key)
            if value is not None and value < 1:
                raise ConfigError(f"{key}={value}: give at least 1.")
        if self.num_examples < 0:
            raise ConfigError(f"num_examples={self.num_examples}: give 0 or more.")

    @property
    def model_paths(self) -> dict[str, str]:
        """Name -> folder or hub id, in the order given."""
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
    def template_kwargs(self) -> dict[str, Any] | None:
        """Variables of the chat template; None where none were given."""
        return parse_template_kwargs(self.chat_template_kwargs)  # type: ignore[no-any-return]

    @property
    def judge_templates(self) -> dict[str, JudgeTemplate]:
        """Each reward model's chat template; none where prompts are raw in every stage."""
        return judge_templates(
            list(named_paths(self.reward_model, "reward_model").values()),
            self.reward_chat_template,
            self.reward_chat_template_kwargs,
            default="none" if self.chat_template == "none" else "auto",
        )


def named_paths(items: list[str], key: str) -> dict[str, str]:
    """`NAME=PATH` words as name -> path; the name of a plain PATH is its last part.

    Raises:
        ConfigError: two of one name.
    """
    found: dict[str, str] = {}
    for item in items:
        name, equals, path = item.partition("=")
        if not equals or Path(item).exists():  # `runs/lr=0.1` is a path
            name, path = Path(item).name, item
        if not name or not path:
            raise ConfigError(f"{key}: {item!r} is neither NAME=PATH nor PATH.")
        if name in found:
            raise ConfigError(f"{key}: two are called {name!r}; write NAME=PATH for each.")
        found[name] = path
    return found
