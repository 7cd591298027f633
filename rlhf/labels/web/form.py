"""What the page asks of an annotator, and what their answer says of the stored item."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field

from rlhf.errors import ConfigError, DataError
from rlhf.labels.queue import Answer
from rlhf.labels.records import competition_ranks

LONGEST_TEXT = 100_000
MOST_ANSWERS = 64
Tier = Annotated[int, Field(ge=1, le=MOST_ANSWERS)] | None
Overall = Annotated[int, Field(ge=1, le=7)] | None
Text = Annotated[str, Field(max_length=LONGEST_TEXT)]


@dataclass(frozen=True, kw_only=True)
class FormConfig:
    """What is asked beside the order of the answers."""

    flags: Sequence[str] = ("unsafe", "untrue", "off-topic")
    skip_reasons: Sequence[str] = ("I cannot judge this", "unclear prompt", "broken text", "other")
    overall: bool = True  # 1 to 7 for each answer
    comment: bool = True
    rewrite: bool = True  # "write a better answer"

    def __post_init__(self) -> None:
        for name in ("flags", "skip_reasons"):
            words = getattr(self, name)
            if isinstance(words, str) or not all(isinstance(w, str) and w for w in words):
                raise ConfigError(f"form: {name} is {words!r}; write a list of texts.")
        for name in ("overall", "comment", "rewrite"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(
                    f"form: {name} is {getattr(self, name)!r}; write true to ask for it, or false."
                )
        if not 1 <= len(self.skip_reasons) <= 9:
            raise ConfigError("form: skip_reasons has 1 to 9 reasons, one a digit.")


def load_form(path: str | Path) -> FormConfig:
    """The form of a YAML file with `FormConfig`'s keys.

    Raises:
        ConfigError: unreadable, or with a key that is not known.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read as YAML: {error}") from error
    known = {field.name for field in fields(FormConfig)}
    if not isinstance(content, dict) or not set(content) <= known:
        raise ConfigError(f"{path}: a form has the keys {', '.join(sorted(known))}.")
    return FormConfig(**content)


class Form(BaseModel):
    """The page's fields, answers in the order shown."""

    model_config = ConfigDict(extra="forbid", strict=True)

    tiers: Annotated[list[Tier], Field(max_length=MOST_ANSWERS)] = []
    scale: Annotated[int, Field(ge=-4, le=4)] | None = None  # below 0: the first is better
    both_bad: bool = False
    flags: Annotated[list[list[Text]], Field(max_length=MOST_ANSWERS)] = []
    overall: Annotated[list[Overall], Field(max_length=MOST_ANSWERS)] = []
    comment: Text = ""
    rewrite: Text = ""


def answer_of(
    form: Form,
    order_shown: Sequence[int],
    config: FormConfig,
    *,
    seconds: float | None,
    guideline_version: int,
) -> Answer:
    """The form as said of the stored item's answers.

    Raises:
        DataError: not every answer has its place, or a flag is not one of the form's.
    """
    shown = _tiers_shown(form, len(order_shown))
    unknown = {flag for of_answer in form.flags for flag in of_answer} - set(config.flags)
    if unknown:
        raise DataError(f"flag {min(unknown)!r} is not one of this form's.")
    extra: dict[str, Any] = {"form": form.model_dump(exclude_defaults=True)}
    if any(form.flags):
        extra["flags"] = _stored(form.flags, order_shown, [])
    if any(value is not None for value in form.overall):
        extra["overall"] = _stored(form.overall, order_shown, None)
    if form.scale is not None and len(order_shown) == 2:
        # The sign follows the stored order, as ranks do: below 0 the first answer is better.
        extra["scale"] = form.scale if order_shown[0] == 0 else -form.scale
    extra |= {
        name: text for name in ("comment", "rewrite") if (text := getattr(form, name).strip())
    }
    if form.both_bad:
        extra["both_bad"] = True
    return Answer(
        ranks=_stored(competition_ranks(shown), order_shown, 0),
        seconds=seconds,
        strength=float(max(1, abs(form.scale or 0))),
        guideline_version=guideline_version,
        extra=extra,
    )


def _tiers_shown(form: Form, count: int) -> list[int]:
    if count == 2 and (form.scale is not None or form.both_bad):
        scale = form.scale or 0
        return [1, 1] if scale == 0 else [1, 2] if scale < 0 else [2, 1]
    tiers = [tier for tier in form.tiers if tier is not None]
    if len(tiers) != count or len(form.tiers) != count or max(tiers) > count:
        raise DataError(f"give each of the {count} answers a place from 1 to {count}.")
    return tiers


def _stored(shown: Sequence[Any], order_shown: Sequence[int], empty: Any) -> list[Any]:
    """Values in the order shown -> in the order of the stored answers."""
    stored = [empty] * len(order_shown)
    for value, index in zip(shown, order_shown, strict=False):
        stored[index] = value
    return stored


def as_json(config: FormConfig) -> Mapping[str, Any]:
    """What the page needs to draw the form."""
    return asdict(config)
