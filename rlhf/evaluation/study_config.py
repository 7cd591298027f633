"""Keys of recipes/evaluate.py for what costs more than a comparison: judges to ask, studies."""

from dataclasses import dataclass, field

from rlhf.errors import ConfigError
from rlhf.evaluation.config import EvaluateConfig, named_paths

COUNTS = (
    "pairs_per_prompt", "llm_max_new_tokens", "best_of_prompts", "frontier_prompts",
    "tax_texts", "tax_max_length", "lm_eval_limit",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """Each is off unless it is asked for."""

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
    llm_max_new_tokens: int = field(
        default=512, metadata={"help": "Longest reply of the judge, in tokens."}
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
        if self.llm_judge_model and not (self.llm_judge or "").startswith("http"):
            raise ConfigError(
                f"llm_judge_model={self.llm_judge_model} means nothing without an http address as "
                "llm_judge; leave it out."
            )
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
