"""Keys of recipes/align.py."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

import yaml

from rlhf.data.config import TEMPLATE_KWARGS
from rlhf.data.rows.parse_ranking import ScoreColumns
from rlhf.errors import ConfigError
from rlhf.pipeline.fingerprint import settings_of

SIMULATED, WEB = "simulated", "web"
SAMPLED = (SIMULATED, WEB)  # labels of answers that the chain samples itself


@dataclass(frozen=True, kw_only=True)
class AlignConfig:
    """The whole chain: which model, which prompts, whose labels, and each stage's own file."""

    JSON_KEYS: ClassVar[Sequence[str]] = ("chat_template_kwargs",)

    model_name_or_path: str = field(metadata={"help": "Pretrained model: a folder or a hub id."})
    demonstrations: str = field(metadata={"help": "Rows for SFT, and to normalise rewards with."})
    ppo_prompts: str = field(metadata={"help": "Prompts for PPO."})
    heldout_prompts: str = field(metadata={"help": "Prompts for the evaluation, in none above."})
    labels: str = field(
        default=SIMULATED,
        metadata={
            "help": "`simulated` (annotators from a file rank samples), `web` (people do, on a "
            "page that is served), or a FILE of rankings."
        },
    )
    ranking_prompts: str | None = field(
        default=None, metadata={"help": "Prompts whose sampled answers are ranked."}
    )
    annotators: str | None = field(
        default=None, metadata={"help": "YAML file of the simulated annotators."}
    )
    gold: str | None = field(
        default=None,
        metadata={
            "help": "What simulated annotators see through their noise, and the evaluation's "
            "judge, as `file.py:function`."
        },
    )
    axes: str | None = field(
        default=None, metadata={"help": "Axes of the gold score, `file.py:function`."}
    )
    num_responses: int = field(default=4, metadata={"help": "Answers to rank per prompt."})
    sample_temperature: float = field(default=1.0, metadata={"help": "Temperature of these."})
    sample_max_new_tokens: int = field(default=128, metadata={"help": "Tokens of these, at most."})
    label_overlap: int = field(default=1, metadata={"help": "Annotators who rank each prompt."})
    label_names: list[str] = field(
        default_factory=lambda: ["annotator"],
        metadata={"help": "`labels: web`: people who get a link each."},
    )
    label_quota: int | None = field(
        default=None,
        metadata={
            "help": "`labels: web`: labels after which the chain goes on; default label_overlap "
            "of each prompt. Ctrl-C on the server's line goes on with what there is."
        },
    )
    label_port: int = field(default=8000, metadata={"help": "`labels: web`: port of the page."})
    guideline: str | None = field(
        default=None, metadata={"help": "`labels: web`: text file that annotators go by."}
    )
    label_eval_fraction: float = field(
        default=0.15, metadata={"help": "Share of ranked prompts kept from the reward model."}
    )
    chat_template: str = field(default="auto", metadata={"help": "auto, none, or a file."})
    chat_template_kwargs: str | None = field(default=None, metadata=TEMPLATE_KWARGS)
    sft_config: str | None = field(default=None, metadata={"help": "YAML file of sft.py."})
    reward_model_config: str | None = field(
        default=None, metadata={"help": "YAML file of reward_model.py."}
    )
    ppo_config: str | None = field(default=None, metadata={"help": "YAML file of ppo.py."})
    evaluate_config: str | None = field(
        default=None, metadata={"help": "YAML file of evaluate.py."}
    )
    sft_keys: list[str] = field(
        default_factory=list, metadata={"help": "`key=value` over sft_config."}
    )
    reward_model_keys: list[str] = field(
        default_factory=list, metadata={"help": "`key=value` over reward_model_config."}
    )
    ppo_keys: list[str] = field(
        default_factory=list, metadata={"help": "`key=value` over ppo_config."}
    )
    evaluate_keys: list[str] = field(
        default_factory=list, metadata={"help": "`key=value` over evaluate_config."}
    )
    skip_gate: bool = field(
        default=False,
        metadata={"help": "Go on to PPO although the check of the reward model failed."},
    )
    drop_bad_rows: bool = field(
        default=False,
        metadata={"help": "Leave rows that cannot be used out of every stage, and list them."},
    )
    num_processes: int | None = field(
        default=None,
        metadata={"help": "Processes of each stage; default what this was launched with."},
    )

    def __post_init__(self) -> None:
        for key in ("sft_keys", "reward_model_keys", "ppo_keys", "evaluate_keys"):
            key_values(key, getattr(self, key))
        needed = {SIMULATED: ("ranking_prompts", "annotators", "gold"), WEB: ("ranking_prompts",)}
        for key in needed.get(self.labels, ()):
            if getattr(self, key) is None:
                raise ConfigError(f"labels: {self.labels} needs {key}; give it, or labels: FILE.")
        if self.labels == WEB and not self.label_names:
            raise ConfigError("labels: web needs label_names, one for each annotator.")


def key_values(name: str, words: list[str]) -> dict[str, Any]:
    """`key=value` words as a dictionary; values read as YAML reads them.

    Raises:
        ConfigError: a word of another shape, or a key given twice.
    """
    found: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not key or not equals:
            raise ConfigError(f"{name}: {word!r} is not key=value.")
        if key in found:
            raise ConfigError(f"{name}: {key} is given twice.")
        try:
            found[key] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            problem = str(error).splitlines()[0]
            raise ConfigError(f"{name}: {word!r} cannot be read as YAML ({problem}).") from error
    return found


def score_columns(config: AlignConfig) -> ScoreColumns:
    """What the reward model's YAML file or keys say of score_chosen and score_rejected."""
    keys = key_values("reward_model_keys", config.reward_model_keys)
    settings = settings_of(config.reward_model_config, keys)
    return cast(ScoreColumns, settings.get("score_columns", "reject"))


def drops(config: AlignConfig, recipe: str) -> bool:
    """Whether that recipe is told to leave bad rows out, here, in its YAML file or its keys."""
    name = f"{recipe}_keys"
    settings = settings_of(
        getattr(config, f"{recipe}_config"), key_values(name, getattr(config, name))
    )
    return config.drop_bad_rows or bool(settings.get("drop_bad_rows"))


def chat_keys(config: AlignConfig) -> dict[str, str]:
    """How conversations are rendered, for each stage; what is not set is left to the stage."""
    keys = {"chat_template": config.chat_template}
    if config.chat_template_kwargs is not None:
        keys["chat_template_kwargs"] = config.chat_template_kwargs
    return keys
