"""Keys of `rlhf evaluate` for pairwise judges and for studies, which cost extra time."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from rlhf.errors import ConfigError
from rlhf.evaluation.core.config import EvaluateConfig, named_paths

# Fields of a request to a judge, and the key that sets each; "" if no key may set it.
KEY_OF_FIELD = {
    "model": "llm_judge_model",
    "max_tokens": "llm_judge_max_tokens",
    "max_completion_tokens": "llm_judge_max_tokens",
    "temperature": "llm_judge_temperature",
    "reasoning_effort": "llm_judge_reasoning_effort",
    "messages": "",
    "stream": "",
    "n": "",
}
HUMAN, HUMAN_LLM = "human", "human+llm"  # values of the key judge
COUNTS = (
    "pairs_per_prompt", "human_budget", "llm_judge_max_tokens", "best_of_prompts",
    "frontier_prompts", "tax_texts", "tax_max_length", "lm_eval_limit",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """Pairwise judges and studies; each is off by default."""

    JSON_KEYS: ClassVar[tuple[str, ...]] = ("llm_judge_extra_body",)
    RENAMED: ClassVar[Mapping[str, str]] = {"llm_max_new_tokens": "llm_judge_max_tokens"}

    answers: str | None = field(
        default=None,
        metadata={"help": "answers.jsonl of an earlier evaluation to judge, instead of sampling."},
    )
    judge: list[str] = field(
        default_factory=list,
        metadata={
            "help": "`human`: annotators compare pairs through a label store. `human+llm`: also "
            "a win rate from their labels and the verdicts of llm_judge on all prompts."
        },
    )
    human_budget: int | None = field(
        default=None,
        metadata={
            "help": "Ask annotators about this many prompts, drawn with known probabilities, more "
            "often where llm_judge is uncertain. Default: all."
        },
    )
    annotator_groups: str | None = field(
        default=None,
        metadata={"help": "YAML file of `annotator: group`, for win rates by group."},
    )
    human_store: str | None = field(
        default=None,
        metadata={"help": "Label store of the annotators. Default: human.sqlite in output_dir."},
    )
    human_gold: str | None = field(
        default=None,
        metadata={"help": "File of gold rankings, mixed in to measure the annotators."},
    )
    llm_judge: str | None = field(
        default=None,
        metadata={"help": "Judge: a folder, a hub id, or an OpenAI-compatible http address."},
    )
    llm_judge_model: str = field(
        default="", metadata={"help": "Name of the model at the address llm_judge."}
    )
    llm_judge_max_tokens: int = field(
        default=512,
        metadata={"help": "Longest reply of the LLM judge in tokens, including its thought."},
    )
    llm_judge_temperature: float = field(
        default=0.0, metadata={"help": "Temperature of the LLM judge's replies; 0 is greedy."}
    )
    llm_judge_reasoning_effort: str | None = field(
        default=None,
        metadata={"help": "reasoning_effort of requests to an address: low, medium, high, …"},
    )
    llm_judge_extra_body: str | None = field(
        default=None,
        metadata={
            "help": "Additional fields of each request to an address, as JSON, such as "
            '{"chat_template_kwargs": {"enable_thinking": false}}.',
        },
    )
    llm_judge_baselines: bool = field(
        default=True,
        metadata={"help": "llm_judge also compares the null baselines, and models with lookup."},
    )
    pairs_per_prompt: int = field(
        default=1, metadata={"help": "Pairs per prompt and model for annotators or an LLM judge."}
    )
    best_of: list[int] = field(
        default_factory=list,
        metadata={"help": "Sizes N of best-of-N by the first reward_model, such as 1 4 16 64."},
    )
    best_of_model: str | None = field(
        default=None,
        metadata={"help": "Name of the model that best_of samples from. Default: the baseline."},
    )
    best_of_prompts: int = field(
        default=100, metadata={"help": "Prompts of best_of; each gets max(N) responses."}
    )
    frontier: str | None = field(
        default=None,
        metadata={"help": "Folder of a PPO run. Plots score against KL over its checkpoints."},
    )
    frontier_prompts: int = field(
        default=100, metadata={"help": "Prompts for each checkpoint of frontier."}
    )
    tax_data: str | None = field(
        default=None,
        metadata={
            "help": 'Texts outside the task (rows with "text"), to measure the loss in fp32 '
            "and int8."
        },
    )
    tax_texts: int = field(default=200, metadata={"help": "Number of texts of tax_data to use."})
    tax_max_length: int = field(
        default=512, metadata={"help": "Tokens of each text; the rest is cut off."}
    )
    lm_eval: list[str] = field(
        default_factory=list,
        metadata={"help": "Tasks of lm-evaluation-harness to run on every model."},
    )
    lm_eval_include: str | None = field(
        default=None, metadata={"help": "Folder of your own task files for lm_eval."}
    )
    lm_eval_limit: int | None = field(
        default=None, metadata={"help": "Questions per task. Default: all."}
    )

    plan: bool = field(
        default=False,
        metadata={
            "help": "Print how many prompts and responses detect win rates of 0.53, 0.55 and 0.60, "
            "and stop."
        },
    )
    pilot: str | None = field(
        default=None,
        metadata={
            "help": "Folder of an earlier evaluation whose variance plan uses. Default: output_dir."
        },
    )

    def __post_init__(self) -> None:
        for key in COUNTS:
            value = getattr(self, key)
            if value is not None and value < 1:
                raise ConfigError(f"{key}={value}; use at least 1.", code="bad-value")
        if any(n < 1 for n in self.best_of) or len(set(self.best_of)) < len(self.best_of):
            raise ConfigError(
                f"best_of={self.best_of}; use different sizes of 1 or more.", code="bad-value"
            )
        if self.llm_judge and self.llm_judge.startswith("http") and not self.llm_judge_model:
            raise ConfigError(
                f"llm_judge {self.llm_judge} is an address; set llm_judge_model to its model.",
                code="missing-key",
            )
        for key in ("llm_judge_model", "llm_judge_reasoning_effort", "llm_judge_extra_body"):
            if (value := getattr(self, key)) and not (self.llm_judge or "").startswith("http"):
                raise ConfigError(
                    f"{key}={value} is only for a judge behind an address; set llm_judge to "
                    f"an http address, or leave {key} out.",
                    code="key-conflict",
                )
        if not 0 <= self.llm_judge_temperature < math.inf:
            raise ConfigError(
                f"llm_judge_temperature={self.llm_judge_temperature}; use 0 (greedy) or more.",
                code="bad-value",
            )
        _extra_body(self.llm_judge_extra_body)
        self._check_people()
        for key in ("lm_eval_include", "lm_eval_limit"):
            if getattr(self, key) is not None and not self.lm_eval:
                raise ConfigError(f"{key} needs lm_eval; leave it out.", code="key-conflict")
        if self.pilot is not None and not self.plan:
            raise ConfigError("pilot needs --plan; leave it out.", code="key-conflict")

    def _check_people(self) -> None:
        if unknown := [name for name in self.judge if name not in (HUMAN, HUMAN_LLM)]:
            raise ConfigError(
                f"judge={unknown[0]!r} is unknown; use human or human+llm, or the keys gold, "
                "reward_model and llm_judge.",
                code="bad-value",
            )
        if HUMAN_LLM in self.judge and self.llm_judge is None:
            raise ConfigError(
                "judge human+llm needs the verdicts of a language model; set llm_judge.",
                code="missing-key",
            )
        for key in ("human_store", "human_gold", "human_budget", "annotator_groups"):
            if getattr(self, key) and not self.judge:
                raise ConfigError(f"{key} needs --judge human; leave it out.", code="key-conflict")

    @property
    def llm_judge_fields(self) -> dict[str, object]:
        """Fields of each request to a judge's address, in addition to model and messages."""
        fields: dict[str, object] = {
            "max_tokens": self.llm_judge_max_tokens,
            "temperature": self.llm_judge_temperature,
        }
        if self.llm_judge_reasoning_effort:
            fields["reasoning_effort"] = self.llm_judge_reasoning_effort
        return fields | _extra_body(self.llm_judge_extra_body)


def _extra_body(text: str | None) -> dict[str, object]:
    """The fields of llm_judge_extra_body.

    Raises:
        ConfigError: it is not a JSON object, or sets a field that has its own key.
    """
    try:
        body = json.loads(text or "{}")
    except ValueError as error:
        raise ConfigError(
            f"llm_judge_extra_body={text!r} is not JSON: {error}.", code="bad-value"
        ) from error
    if not isinstance(body, dict):
        raise ConfigError(
            f"llm_judge_extra_body={text!r} is not a JSON object; write {{…}}.", code="bad-value"
        )
    for name in body:
        if name in KEY_OF_FIELD:
            instead = f"use {KEY_OF_FIELD[name]}" if KEY_OF_FIELD[name] else "leave it out"
            raise ConfigError(f"llm_judge_extra_body sets {name}; {instead}.", code="key-conflict")
    return body


def check_studies(config: EvaluateConfig, study: StudyConfig) -> None:
    """Check that the studies have the judges and models that they need.

    Raises:
        ConfigError: a key is missing, or a model whose weights a study needs is behind an address.
    """
    for name in config.served if study.tax_data or study.lm_eval else ():
        raise ConfigError(
            f"{'tax_data' if study.tax_data else 'lm_eval'} needs the weights of every model, and "
            f"{name} is behind an address; evaluate it in a run of its own.",
            code="unsupported",
        )
    if study.frontier and config.reference_name is None:
        raise ConfigError(
            f"frontier measures the KL from the reference, and {config.baseline_name} is behind an "
            "address; set reference to the model that PPO started from.",
            code="unsupported",
        )
    num_reward_models = len(named_paths(config.reward_model, "reward_model"))
    if study.best_of and not num_reward_models:
        raise ConfigError(
            "best_of selects by a reward model; set reward_model.", code="missing-key"
        )
    if study.best_of_model is not None and study.best_of_model not in config.model_paths:
        raise ConfigError(
            f"best_of_model={study.best_of_model!r} is not one of the models "
            f"{', '.join(config.model_paths)}.",
            code="bad-value",
        )
    has_held_out_judge = config.gold is not None or num_reward_models > 1
    if study.frontier and not (num_reward_models and has_held_out_judge):
        raise ConfigError(
            "frontier needs the reward_model that PPO was trained on and a judge that it was not "
            "trained on: gold, or a second reward_model.",
            code="missing-key",
        )
    if (study.judge or study.llm_judge) and len(config.model_paths) < 2:
        raise ConfigError(
            "models: annotators and LLM judges compare models; use two or more.",
            code="key-conflict",
        )
