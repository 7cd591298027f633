"""Keys of a benchmark of a reward or judge."""

from dataclasses import dataclass, field
from typing import Literal, get_args

from rlhf.errors import ConfigError
from rlhf.runtime.field_types import check_field_types

BenchmarkName = Literal[
    "rewardbench2",
    "rewardbench",
    "rewordbench",
    "rm_bench",
    "ppe_preference",
    "ppe_correctness",
    "judgebench",
    "llmbar",
]
NAMES: tuple[BenchmarkName, ...] = get_args(BenchmarkName)
LENGTH = "length"  # a reward: the number of characters


@dataclass(frozen=True, kw_only=True)
class BenchmarkConfig:
    """A public benchmark in place of held-out labels, and what it measures."""

    benchmark: BenchmarkName | None = field(
        default=None, metadata={"help": f"The benchmark: {', '.join(NAMES)}."}
    )
    data: list[str] = field(
        default_factory=list,
        metadata={"help": "Files of the benchmark: JSON, JSONL, CSV or Parquet, .gz too."},
    )
    policy: str | None = field(
        default=None,
        metadata={
            "help": "In place of reward_model: a policy, whose implicit reward (DPO) is measured."
        },
    )
    reference: str | None = field(
        default=None,
        metadata={
            "help": "The policy's reference model, or `none`. Default: the model that the policy's "
            "DPO run started from."
        },
    )
    per_token: bool | None = field(
        default=None,
        metadata={
            "help": "Divide the policy's log-probs by the response's tokens. Default: as the loss "
            "of its DPO run does."
        },
    )
    llm_judge: str | None = field(
        default=None,
        metadata={
            "help": "In place of reward_model: a judge that compares two responses in both orders; "
            "a folder, a hub id, or an OpenAI-compatible http address."
        },
    )
    llm_judge_model: str = field(
        default="", metadata={"help": "Name of the model at the address llm_judge."}
    )
    llm_judge_max_tokens: int = field(
        default=512, metadata={"help": "Longest reply of llm_judge in tokens."}
    )
    max_cases: int | None = field(
        default=None,
        metadata={"help": "Use this many cases, drawn by seed: no published number. Default: all."},
    )
    per_device_eval_batch_size: int = field(
        default=64, metadata={"help": "Responses scored or compared at a time."}
    )
    bf16: bool = field(
        default=False,
        metadata={
            "help": "Let a reward model or a local llm_judge of a benchmark compute in bfloat16."
        },
    )

    def __post_init__(self) -> None:
        check_field_types(self)
        for key in ("max_cases", "llm_judge_max_tokens", "per_device_eval_batch_size"):
            value = getattr(self, key)
            if value is not None and value < 1:
                raise ConfigError(f"{key}={value}; use at least 1.", code="bad-value")
        self._check_benchmark()
        self._check_judge()

    def _check_benchmark(self) -> None:
        """Check that the keys of a benchmark have one, and that a benchmark has data."""
        keys = ("data", "policy", "llm_judge", "max_cases")
        given = [key for key in keys if getattr(self, key)]
        if self.benchmark is None and given:
            raise ConfigError(
                f"{given[0]} is for a benchmark; name it with benchmark={NAMES[0]}, …, or leave "
                f"{given[0]} out.",
                code="missing-key",
            )
        if self.benchmark is not None and not self.data:
            raise ConfigError(
                f"benchmark={self.benchmark} needs data, the files of the benchmark.",
                code="missing-key",
            )

    def _check_judge(self) -> None:
        """Check that keys of a policy or judge have one, and that there is only one of them."""
        if self.policy is not None and self.llm_judge is not None:
            raise ConfigError(
                "policy and llm_judge exclude each other; give one.", code="key-conflict"
            )
        for key in ("reference", "per_token"):
            if getattr(self, key) is not None and self.policy is None:
                raise ConfigError(f"{key} is of a policy; set policy too.", code="key-conflict")
        is_address = (self.llm_judge or "").startswith(("http://", "https://"))
        if self.bf16 and (self.policy or is_address):
            raise ConfigError(
                "bf16 is for reward_model and a local llm_judge; leave it out.",
                code="key-conflict",
            )
        if is_address and not self.llm_judge_model:
            raise ConfigError(
                f"llm_judge {self.llm_judge} is an address; set llm_judge_model to its model.",
                code="missing-key",
            )
        if self.llm_judge_model and not is_address:
            raise ConfigError(
                f"llm_judge_model={self.llm_judge_model} is only for a judge behind an address; "
                "leave it out.",
                code="key-conflict",
            )
