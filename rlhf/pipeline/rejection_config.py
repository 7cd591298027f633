"""Keys of `rlhf rejection_sampling`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from rlhf.data.config import TEMPLATE_KWARGS
from rlhf.errors import ConfigError
from rlhf.pipeline.config import key_values
from rlhf.runtime.field_types import check_field_types


@dataclass(frozen=True, kw_only=True)
class RejectionConfig:
    """Rounds of sampling, scoring, and SFT on the best responses."""

    JSON_KEYS: ClassVar[Sequence[str]] = ("chat_template_kwargs",)

    model_name_or_path: str = field(
        metadata={"help": "Policy to start from: a folder or a hub id."}
    )
    train_data: str = field(metadata={"help": "Prompts: a file or hub data set."})
    num_rounds: int = field(
        default=1, metadata={"help": "Rounds; each samples from the policy of the one before."}
    )
    train_from: Literal["last", "initial"] = field(
        default="last",
        metadata={
            "help": "Model that SFT starts from in later rounds: the last round's (RAFT), or the "
            "initial one."
        },
    )
    num_responses: int = field(default=8, metadata={"help": "Responses to sample per prompt."})
    keep: int = field(
        default=1, metadata={"help": "Responses with the best scores to train on per prompt."}
    )
    min_score: float | None = field(
        default=None,
        metadata={"help": "Train only on responses with at least this score. Default: no limit."},
    )
    sample_temperature: float = field(
        default=1.0, metadata={"help": "Temperature of the responses."}
    )
    sample_max_new_tokens: int = field(
        default=128, metadata={"help": "Longest of the responses, in tokens."}
    )
    chat_template: str = field(default="auto", metadata={"help": "auto, none, or a file."})
    chat_template_kwargs: str | None = field(default=None, metadata=TEMPLATE_KWARGS)
    sft_config: str | None = field(
        default=None, metadata={"help": "YAML file with the keys of `rlhf sft`."}
    )
    sft_keys: list[str] = field(
        default_factory=list, metadata={"help": "`key=value` items that override sft_config."}
    )
    drop_bad_rows: bool = field(
        default=False, metadata={"help": "Drop rows that cannot be used, and list them."}
    )
    num_processes: int | None = field(
        default=None,
        metadata={"help": "Processes of SFT. Default: as many as the command runs on."},
    )

    def __post_init__(self) -> None:
        check_field_types(self)
        key_values("sft_keys", self.sft_keys)
        for name in ("num_rounds", "num_responses", "keep", "sample_max_new_tokens"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)}; use 1 or more.", code="bad-value")
        if not self.sample_temperature > 0:
            raise ConfigError(
                f"sample_temperature={self.sample_temperature}: all responses to a prompt would be "
                "equal; use a number above 0.",
                code="bad-value",
            )
        if self.keep >= self.num_responses:
            raise ConfigError(
                f"keep={self.keep} of num_responses={self.num_responses} selects nothing; sample "
                "more responses.",
                code="key-conflict",
            )
