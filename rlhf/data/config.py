"""Configuration keys about data that the training recipes share."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from rlhf.data.rows.sources import check_sources, list_sources
from rlhf.data.tokenization.template import parse_template_kwargs
from rlhf.errors import ConfigError
from rlhf.runtime.field_types import check_field_types

TEMPLATE_KWARGS = {
    "help": 'Variables of the chat template as JSON, such as {"enable_thinking": false}. The '
    "default is those that the model was trained with.",
}


@dataclass(frozen=True, kw_only=True)
class PromptOptions:
    """How prompts are rendered, and how bad rows are handled."""

    JSON_KEYS: ClassVar[Sequence[str]] = ("chat_template_kwargs",)

    chat_template: str = field(
        default="auto",
        metadata={
            "help": "The chat template: auto (the tokenizer's, or a supplied one), none (raw "
            "prompts), or a Jinja file."
        },
    )
    chat_template_kwargs: str | None = field(default=None, metadata=TEMPLATE_KWARGS)
    show_rows: int = field(
        default=1, metadata={"help": "How many rows to print at the start as the model reads them."}
    )
    drop_bad_rows: bool = field(
        default=False,
        metadata={"help": "Drop, count and list rows that cannot be used, instead of exiting."},
    )

    @property
    def template_kwargs(self) -> dict[str, object] | None:
        """Variables of the chat template; None where the key is not set."""
        return parse_template_kwargs(self.chat_template_kwargs)

    def __post_init__(self) -> None:
        check_field_types(self)
        parse_template_kwargs(self.chat_template_kwargs)


@dataclass(frozen=True, kw_only=True)
class PromptDataConfig(PromptOptions):
    """The options of prompts, and the sources that they come from."""

    train_data: list[str] = field(
        metadata={
            "help": "The sources of rows to train on, one or more files (.jsonl, .json, .csv, also "
            ".gz; .parquet) or hub datasets (hub_id[:config][:split]), each optionally as "
            "WEIGHT*SOURCE."
        }
    )
    eval_data: list[str] | None = field(
        default=None, metadata={"help": "The sources of held-out rows, of the same kinds."}
    )

    def __post_init__(self) -> None:
        list_sources(self)
        super().__post_init__()
        check_sources(self.train_data, self.eval_data)


@dataclass(frozen=True, kw_only=True)
class DataOptions(PromptOptions):
    """Options for the rows of SFT and reward models, such as held-out share and maximum length."""

    eval_fraction: float = field(
        default=0.1,
        metadata={"help": "The share of prompts to hold out if eval_data is not set; 0 for none."},
    )
    max_length: int = field(
        default=512,
        metadata={
            "help": "Maximum number of tokens of a prompt and its response together. SFT splits "
            "longer {text} rows."
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.eval_fraction < 1:
            raise ConfigError(
                f"eval_fraction={self.eval_fraction}: the share of prompts to hold out has to be "
                "at least 0 (none) and below 1.",
                code="bad-value",
            )
        if self.max_length < 2:
            raise ConfigError(
                f"max_length={self.max_length}: a prompt and a response need 2 tokens or more.",
                code="bad-value",
            )


@dataclass(frozen=True, kw_only=True)
class DataConfig(DataOptions, PromptDataConfig):
    """Options for the rows of SFT and reward models, and the sources of the rows."""
