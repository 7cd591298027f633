"""Keys of recipes/evaluate.py for what costs more than a comparison: judges to ask, studies."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from rlhf.errors import ConfigError
from rlhf.evaluation.core.config import EvaluateConfig, named_paths

# Fields of a request to a judge, and the key that sets each; "" where none may.
OF_THE_JUDGE = {
    "model": "llm_judge_model",
    "max_tokens": "llm_judge_max_tokens",
    "max_completion_tokens": "llm_judge_max_tokens",
    "temperature": "llm_judge_temperature",
    "reasoning_effort": "llm_judge_reasoning_effort",
    "messages": "",
    "stream": "",
    "n": "",
}
COUNTS = (
    "pairs_per_prompt", "llm_judge_max_tokens", "best_of_prompts", "frontier_prompts",
    "tax_texts", "tax_max_length", "lm_eval_limit",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """Each is off unless it is asked for."""

    JSON_KEYS: ClassVar[tuple[str, ...]] = ("llm_judge_extra_body",)
    RENAMED: ClassVar[Mapping[str, str]] = {"llm_max_new_tokens": "llm_judge_max_tokens"}

    answers: str | None = field(
        default=None,
        metadata={"help": "answers.jsonl of an earlier evaluation, judged instead of sampling."},
    )
    judge: list[str] = field(
        default_factory=list,
        metadata={"help": "`human`: people compare pairs through a label store."},
    )
    human_store: str | None = field(
        default=None,
        metadata={"help": "Their label store; default human.sqlite in output_dir."},
    )
    human_gold: str | None = field(
        default=None,
        metadata={"help": "Rankings that are known, mixed in to measure the people."},
    )
    llm_judge: str | None = field(
        default=None,
        metadata={"help": "Judge: a folder, a hub id, or an OpenAI-compatible http address."},
    )
    llm_judge_model: str = field(
        default="", metadata={"help": "Name of the model behind that address."}
    )
    llm_judge_max_tokens: int = field(
        default=512, metadata={"help": "Longest reply of the judge, in tokens, with its thought."}
    )
    llm_judge_temperature: float = field(
        default=0.0, metadata={"help": "Of the judge's replies; 0 takes the likeliest tokens."}
    )
    llm_judge_reasoning_effort: str | None = field(
        default=None,
        metadata={"help": "low, medium, high, …: sent to an address as reasoning_effort."},
    )
    llm_judge_extra_body: str | None = field(
        default=None,
        metadata={
            "help": "More fields of each request to an address, as JSON, such as "
            '{"chat_template_kwargs": {"enable_thinking": false}}.',
        },
    )
    llm_judge_baselines: bool = field(
        default=True,
        metadata={"help": "llm_judge compares the null baselines too, and models with lookup."},
    )
    pairs_per_prompt: int = field(
        default=1, metadata={"help": "Pairs a prompt and model that people or an LLM judge."}
    )
    best_of: list[int] = field(
        default_factory=list,
        metadata={"help": "Sizes N of best-of-N by the first reward_model, such as 1 4 16 64."},
    )
    best_of_model: str | None = field(
        default=None, metadata={"help": "Name of the model it samples; default the baseline."}
    )
    best_of_prompts: int = field(
        default=100, metadata={"help": "Prompts that best_of answers, max(N) times each."}
    )
    frontier: str | None = field(
        default=None,
        metadata={"help": "A PPO run's folder: reward against KL over its checkpoints."},
    )
    frontier_prompts: int = field(
        default=100, metadata={"help": "Prompts that each checkpoint answers."}
    )
    tax_data: str | None = field(
        default=None,
        metadata={"help": 'Texts outside the task ({"text"}): loss in fp32 and int8.'},
    )
    tax_texts: int = field(default=200, metadata={"help": "Texts of tax_data that are read."})
    tax_max_length: int = field(default=512, metadata={"help": "Tokens of each, at most."})
    lm_eval: list[str] = field(
        default_factory=list,
        metadata={"help": "Tasks of lm-evaluation-harness to run on every model."},
    )
    lm_eval_include: str | None = field(
        default=None, metadata={"help": "Folder of task files of your own for lm_eval."}
    )
    lm_eval_limit: int | None = field(
        default=None, metadata={"help": "Questions a task, at most; default all."}
    )

    def __post_init__(self) -> None:
        for key in COUNTS:
            value = getattr(self, key)
            if value is not None and value < 1:
                raise ConfigError(f"{key}={value}: give at least 1.")
        if any(n < 1 for n in self.best_of) or len(set(self.best_of)) < len(self.best_of):
            raise ConfigError(f"best_of={self.best_of}: give different sizes of 1 or more.")
        if self.llm_judge and self.llm_judge.startswith("http") and not self.llm_judge_model:
            raise ConfigError(f"llm_judge {self.llm_judge}: name its model, --llm_judge_model.")
        for key in ("llm_judge_model", "llm_judge_reasoning_effort", "llm_judge_extra_body"):
            if (value := getattr(self, key)) and not (self.llm_judge or "").startswith("http"):
                raise ConfigError(
                    f"{key}={value} means nothing without an http address as llm_judge; leave it "
                    "out."
                )
        if not 0 <= self.llm_judge_temperature < math.inf:
            raise ConfigError(
                f"llm_judge_temperature={self.llm_judge_temperature}: give 0 (greedy) or more."
            )
        _extra_body(self.llm_judge_extra_body)
        if unknown := [name for name in self.judge if name != "human"]:
            raise ConfigError(
                f"judge {unknown[0]!r} is none; `human` asks people, and gold, reward_model and "
                "llm_judge are keys of their own."
            )
        for key in ("lm_eval_include", "lm_eval_limit"):
            if getattr(self, key) is not None and not self.lm_eval:
                raise ConfigError(f"{key} means nothing without lm_eval; leave it out.")
        for key in ("human_store", "human_gold"):
            if getattr(self, key) and "human" not in self.judge:
                raise ConfigError(f"{key} means nothing without --judge human; leave it out.")

    @property
    def llm_judge_fields(self) -> dict[str, Any]:
        """What each request to a judge's address carries besides the model and the question."""
        fields: dict[str, Any] = {
            "max_tokens": self.llm_judge_max_tokens,
            "temperature": self.llm_judge_temperature,
        }
        if self.llm_judge_reasoning_effort:
            fields["reasoning_effort"] = self.llm_judge_reasoning_effort
        return fields | _extra_body(self.llm_judge_extra_body)


def _extra_body(text: str | None) -> dict[str, Any]:
    """The fields of llm_judge_extra_body.

    Raises:
        ConfigError: it is no JSON object, or sets what has a key of its own.
    """
    try:
        body = json.loads(text or "{}")
    except ValueError as error:
        raise ConfigError(f"llm_judge_extra_body={text!r} is no JSON: {error}.") from error
    if not isinstance(body, dict):
        raise ConfigError(f"llm_judge_extra_body={text!r} is no JSON object; write {{…}}.")
    for name in body:
        if name in OF_THE_JUDGE:
            instead = f"use {OF_THE_JUDGE[name]}" if OF_THE_JUDGE[name] else "leave it out"
            raise ConfigError(f"llm_judge_extra_body sets {name}; {instead}.")
    return body


def check_studies(config: EvaluateConfig, study: StudyConfig) -> None:
    """Refuse studies that the other keys leave without a judge or a model.

    Raises:
        ConfigError: which key is missing.
    """
    rewards = len(named_paths(config.reward_model, "reward_model"))
    if study.best_of and not rewards:
        raise ConfigError("best_of chooses by a reward model; name one, --reward_model DIR.")
    if study.best_of_model is not None and study.best_of_model not in config.model_paths:
        raise ConfigError(
            f"best_of_model={study.best_of_model!r} is none of the models "
            f"{', '.join(config.model_paths)}."
        )
    if study.frontier and (not rewards or (config.gold is None and rewards < 2)):
        raise ConfigError(
            "frontier needs the reward_model that was trained on and a judge that was not: gold, "
            "or a second reward_model."
        )
    compares = bool(study.judge or study.llm_judge)
    if compares and len(config.model_paths) < 2:
        raise ConfigError("people and LLM judges compare models; give two or more.")
