"""Keys of `rlhf evaluate --suite`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from rlhf.data.config import TEMPLATE_KWARGS
from rlhf.data.tokenization.template import parse_template_kwargs
from rlhf.errors import ConfigError
from rlhf.evaluation.core.config import named_paths
from rlhf.rollouts.chat_server import parse_served
from rlhf.runtime.config import read_yaml
from rlhf.runtime.field_types import check_field_types


@dataclass(frozen=True, kw_only=True)
class SuiteConfig:
    """Which models answer which suites, and the earlier run to compare with."""

    JSON_KEYS: ClassVar[Sequence[str]] = ("chat_template_kwargs",)

    suite: str = field(
        metadata={
            "help": "Folder with a suite.yaml, or with one in each of its folders; or the name of "
            "a suite that comes with rlhf."
        }
    )
    models: list[str] = field(
        metadata={
            "help": "Models: folders, hub ids or addresses (http://HOST:PORT/v1#MODEL), each as "
            "NAME=PATH or PATH."
        }
    )
    baseline: str | None = field(
        default=None,
        metadata={
            "help": "output_dir of an earlier run of the suites. Exit status 1 if a figure is "
            "worse than there by more than chance explains."
        },
    )
    only: list[str] = field(
        default_factory=list, metadata={"help": "Names of the suites to run. Default: all."}
    )
    prompts: list[str] = field(
        default_factory=list,
        metadata={"help": "Files of prompts in place of a suite's own, each as SUITE=FILE."},
    )
    judge: str | None = field(
        default=None,
        metadata={
            "help": "Judge of the rubrics, in place of those in suite.yaml: an OpenAI-compatible "
            "address, a folder or a hub id."
        },
    )
    judge_model: str = field(
        default="", metadata={"help": "Name of the model at the address judge."}
    )
    judge_max_tokens: int | None = field(
        default=None, metadata={"help": "Longest reply of the judge in tokens. Default: 512."}
    )
    max_prompts: int | None = field(
        default=None,
        metadata={"help": "Use this many prompts of each suite, drawn by seed. Default: all."},
    )
    per_device_eval_batch_size: int = field(
        default=64, metadata={"help": "Responses sampled at a time."}
    )
    chat_template: str = field(default="auto", metadata={"help": "auto, none, or a file."})
    chat_template_kwargs: str | None = field(default=None, metadata=TEMPLATE_KWARGS)
    bf16: bool = field(
        default=False, metadata={"help": "Load the models and a local judge in bfloat16."}
    )
    drop_bad_rows: bool = field(
        default=False, metadata={"help": "Drop and count bad rows instead of stopping."}
    )

    def __post_init__(self) -> None:
        check_field_types(self)
        parse_template_kwargs(self.chat_template_kwargs)
        served = [name for name, path in named_paths(self.models, "models").items()
                  if parse_served(path) is not None]  # fmt: skip
        if not self.models:
            raise ConfigError("models is empty; name one or several.", code="bad-value")
        if self.baseline == "":  # of an unset variable: a build must not pass without a comparison
            raise ConfigError(
                "baseline is empty; name the output_dir of an earlier run, or leave the key out.",
                code="bad-value",
            )
        if served and self.chat_template == "none":
            raise ConfigError(
                f"chat_template=none: {served[0]} is behind an address, whose server renders "
                "prompts with its own template; leave the key or the model out.",
                code="key-conflict",
            )
        for item in self.prompts:
            if not all(item.partition("=")):
                raise ConfigError(f"prompts: {item!r} is not SUITE=FILE.", code="bad-value")
        for key in ("judge_max_tokens", "max_prompts", "per_device_eval_batch_size"):
            value = getattr(self, key)
            if value is not None and value < 1:
                raise ConfigError(f"{key}={value}; use at least 1.", code="bad-value")
        if self.judge_model and self.judge is None:
            raise ConfigError("judge_model needs judge; set it too.", code="key-conflict")

    @property
    def prompt_files(self) -> Mapping[str, str]:
        """Files of prompts by suite."""
        return {name: file for name, _, file in (item.partition("=") for item in self.prompts)}


def names_suite(words: Sequence[str]) -> bool:
    """Whether a command line of `rlhf evaluate`, or the file in its --config, sets `suite`."""
    names = [word.lstrip("-").partition("=") for word in words]
    if any(word.startswith("--") and name == "suite"
           for word, (name, _, _) in zip(words, names, strict=True)):  # fmt: skip
        return True
    for place, (name, equals, value) in enumerate(names):
        if name == "config" and words[place].startswith("--"):
            file = Path(value if equals else next(iter(words[place + 1 :]), ""))
            return file.is_file() and "suite" in read_yaml(file)
    return False
