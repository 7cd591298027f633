"""Keys about data that the training recipes share."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from rlhf.data.rows.sources import list_sources
from rlhf.data.tokenization.template import parse_template_kwargs
from rlhf.errors import ConfigError

TEMPLATE_KWARGS = {
    "help": 'Variables of the chat template as JSON, such as {"enable_thinking": false}; default: '
    "those the model was trained with.",
}


@dataclass(frozen=True, kw_only=True)
class PromptDataConfig:
    """Where rows come from, how prompts are rendered, and what happens to bad rows."""

    JSON_KEYS: ClassVar[Sequence[str]] = ("chat_template_kwargs",)

    train_data: list[str] = field(
        metadata={
            "help": "Rows to train on: one or more of .jsonl/.json/.csv (.gz), .parquet, "
            "hub_id[:config][:split], each optionally WEIGHT*SOURCE."
        }
    )
    eval_data: list[str] | None = field(
        default=None, metadata={"help": "Held-out rows, from the same kinds of sources."}
    )
    chat_template: str = field(
        default="auto",
        metadata={
            "help": "auto (the tokenizer's, or a supplied one), none (raw prompts), or a FILE."
        },
    )
    chat_template_kwargs: str | None = field(default=None, metadata=TEMPLATE_KWARGS)
    show_rows: int = field(
        default=1, metadata={"help": "Rows to print at the start as the model reads them."}
    )
    drop_bad_rows: bool = field(
        default=False,
        metadata={"help": "Drop, count and list rows that cannot be used instead of exiting."},
    )

    @property
    def template_kwargs(self) -> dict[str, Any] | None:
        """Variables of the chat template; None where none were given."""
        return parse_template_kwargs(self.chat_template_kwargs)  # type: ignore[no-any-return]

    def __post_init__(self) -> None:
        parse_template_kwargs(self.chat_template_kwargs)
        list_sources(self)


@dataclass(frozen=True, kw_only=True)
class DataConfig(PromptDataConfig):
    """The data of SFT and of reward models, which hold out rows themselves and limit lengths."""

    eval_fraction: float = field(
        default=0.1,
        metadata={"help": "Share of prompts to hold out where eval_data is not given; 0 for none."},
    )
    max_length: int = field(
        default=512, metadata={"help": "Longest prompt and response together, in tokens."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.eval_fraction < 1:
            raise ConfigError(
                f"eval_fraction={self.eval_fraction}: the share of prompts to hold out goes from "
                "0 (none) to below 1."
            )
        if self.max_length < 2:
            raise ConfigError(
                f"max_length={self.max_length}: a prompt and a response need 2 tokens or more."
            )
