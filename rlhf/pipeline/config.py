"""Keys of `rlhf align`."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, cast

import yaml

from rlhf.data.config import TEMPLATE_KWARGS
from rlhf.data.rows.parse_ranking import ScoreColumns
from rlhf.errors import ConfigError
from rlhf.pipeline.fingerprint import settings_of
from rlhf.runtime.field_types import check_field_types

SIMULATED, WEB = "simulated", "web"
SAMPLED = (SIMULATED, WEB)  # labels of responses that the pipeline samples
AT_LEAST = {
    "num_responses": 2,  # a ranking compares two or more
    "sample_max_new_tokens": 1,
    "sample_batch_size": 1,
    "label_overlap": 1,
    "label_quota": 1,
    "num_processes": 1,
}


@dataclass(frozen=True, kw_only=True)
class AlignConfig:
    """The whole pipeline: model, prompts, labels, and the file of each stage."""

    JSON_KEYS: ClassVar[Sequence[str]] = ("chat_template_kwargs",)

    model_name_or_path: str = field(metadata={"help": "Pretrained model: a folder or a hub id."})
    demonstrations: str = field(
        metadata={"help": "Demonstrations for SFT and for the normalization of rewards."}
    )
    ppo_prompts: str = field(metadata={"help": "Prompts for PPO."})
    heldout_prompts: str = field(
        metadata={"help": "Prompts for the evaluation; they must not occur in the other files."}
    )
    labels: str = field(
        default=SIMULATED,
        metadata={
            "help": "`simulated` (simulated annotators rank samples), `web` (people rank them on a "
            "web page), or a FILE of rankings."
        },
    )
    ranking_prompts: str | None = field(
        default=None, metadata={"help": "Prompts whose sampled responses are ranked."}
    )
    annotators: str | None = field(
        default=None, metadata={"help": "YAML file of the simulated annotators."}
    )
    gold: str | None = field(
        default=None,
        metadata={
            "help": "Score on which simulated annotators base their rankings, and judge of the "
            "evaluation, as `file.py:function`."
        },
    )
    axes: str | None = field(
        default=None, metadata={"help": "Axes of the gold score, `file.py:function`."}
    )
    num_responses: int = field(default=4, metadata={"help": "Responses to rank per prompt."})
    sample_temperature: float = field(
        default=1.0, metadata={"help": "Temperature of these responses."}
    )
    sample_max_new_tokens: int = field(
        default=128, metadata={"help": "Longest of these responses, in tokens."}
    )
    sample_batch_size: int = field(
        default=128, metadata={"help": "Number of these responses that are sampled at a time."}
    )
    label_overlap: int = field(default=1, metadata={"help": "Number of annotators per prompt."})
    label_names: list[str] = field(
        default_factory=lambda: ["annotator"],
        metadata={"help": "`labels: web`: annotators; each gets a link."},
    )
    label_quota: int | None = field(
        default=None,
        metadata={
            "help": "`labels: web`: number of labels after which the pipeline continues. Default: "
            "label_overlap per prompt. The page's administrator can continue earlier."
        },
    )
    label_port: int = field(default=8000, metadata={"help": "`labels: web`: port of the page."})
    guideline: str | None = field(
        default=None,
        metadata={"help": "`labels: web`: text file with the guideline for annotators."},
    )
    label_eval_fraction: float = field(
        default=0.15, metadata={"help": "Share of ranked prompts held out from the reward model."}
    )
    chat_template: str = field(default="auto", metadata={"help": "auto, none, or a file."})
    chat_template_kwargs: str | None = field(default=None, metadata=TEMPLATE_KWARGS)
    sft_config: str | None = field(
        default=None, metadata={"help": "YAML file with the keys of `rlhf sft`."}
    )
    reward_model_config: str | None = field(
        default=None, metadata={"help": "YAML file with the keys of `rlhf reward`."}
    )
    ppo_config: str | None = field(
        default=None, metadata={"help": "YAML file with the keys of `rlhf ppo`."}
    )
    evaluate_config: str | None = field(
        default=None, metadata={"help": "YAML file with the keys of `rlhf evaluate`."}
    )
    sft_keys: list[str] = field(
        default_factory=list, metadata={"help": "`key=value` items that override sft_config."}
    )
    reward_model_keys: list[str] = field(
        default_factory=list,
        metadata={"help": "`key=value` items that override reward_model_config."},
    )
    ppo_keys: list[str] = field(
        default_factory=list, metadata={"help": "`key=value` items that override ppo_config."}
    )
    evaluate_keys: list[str] = field(
        default_factory=list, metadata={"help": "`key=value` items that override evaluate_config."}
    )
    skip_gate: bool = field(
        default=False,
        metadata={"help": "Continue to PPO even if the gate of the reward model fails."},
    )
    drop_bad_rows: bool = field(
        default=False,
        metadata={"help": "Drop rows that cannot be used in every stage, and list them."},
    )
    num_processes: int | None = field(
        default=None,
        metadata={
            "help": "Processes of each stage. With fewer GPUs fewer processes run and sum up more "
            "batches, so that steps stay the same. Default: as many as `rlhf align` runs on."
        },
    )

    def __post_init__(self) -> None:
        check_field_types(self)
        for key in ("sft_keys", "reward_model_keys", "ppo_keys", "evaluate_keys"):
            key_values(key, getattr(self, key))
        _check_numbers(self)
        needed = {SIMULATED: ("ranking_prompts", "annotators", "gold"), WEB: ("ranking_prompts",)}
        for key in needed.get(self.labels, ()):
            if getattr(self, key) is None:
                raise ConfigError(
                    f"labels={self.labels} needs {key}; set it, or use labels=FILE.",
                    code="missing-key",
                )
        if self.labels == WEB and not self.label_names:
            raise ConfigError(
                "labels=web needs label_names, one for each annotator.", code="missing-key"
            )


def _check_numbers(config: AlignConfig) -> None:
    """Check the numbers that only a later stage would read.

    Raises:
        ConfigError: a number out of range.
    """
    for key, least in AT_LEAST.items():
        value = getattr(config, key)
        if value is not None and value < least:
            raise ConfigError(f"{key}={value}; use {least} or more.", code="bad-value")
    if not 0 < config.sample_temperature < math.inf:
        raise ConfigError(
            f"sample_temperature={config.sample_temperature}: responses to rank have to differ; "
            "use a finite number above 0.",
            code="bad-value",
        )
    if not 0 < config.label_eval_fraction < 1:
        raise ConfigError(
            f"label_eval_fraction={config.label_eval_fraction}: the reward model is trained on "
            "some prompts and measured on others; use a number above 0 and below 1.",
            code="bad-value",
        )
    if not 0 <= config.label_port < 1 << 16:
        raise ConfigError(
            f"label_port={config.label_port} is out of range; use 1 to 65535, or 0 for a free "
            "port.",
            code="bad-value",
        )


def key_values(name: str, items: list[str]) -> dict[str, object]:
    """`key=value` items as a dictionary; values are YAML.

    Raises:
        ConfigError: an item has another form, or a key occurs twice.
    """
    values: dict[str, object] = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not key or not equals:
            raise ConfigError(f"{name}: {item!r} is not key=value.", code="bad-value")
        if key in values:
            raise ConfigError(f"{name}: {key} occurs twice.", code="repeated-key")
        try:
            values[key] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            problem = str(error).splitlines()[0]
            raise ConfigError(
                f"{name}: {item!r} cannot be read as YAML ({problem}).", code="bad-value"
            ) from error
    return values


def score_columns(config: AlignConfig) -> ScoreColumns:
    """The use of score_chosen and score_rejected, from the reward model's YAML file or keys."""
    keys = key_values("reward_model_keys", config.reward_model_keys)
    settings = settings_of(config.reward_model_config, keys)
    return cast(ScoreColumns, settings.get("score_columns", "reject"))


def drops_bad_rows(config: AlignConfig, recipe: str) -> bool:
    """Whether this recipe drops bad rows, by a key here, in its YAML file or in its own keys."""
    name = f"{recipe}_keys"
    settings = settings_of(
        getattr(config, f"{recipe}_config"), key_values(name, getattr(config, name))
    )
    return config.drop_bad_rows or bool(settings.get("drop_bad_rows"))


def chat_keys(config: AlignConfig) -> dict[str, str]:
    """The chat template keys for each stage; keys that are not set are left to the stage."""
    keys = {"chat_template": config.chat_template}
    if config.chat_template_kwargs is not None:
        keys["chat_template_kwargs"] = config.chat_template_kwargs
    return keys
