"""The label form: its configuration, its fields, and its translation into a label."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field

from rlhf.errors import ConfigError, DataError
from rlhf.labels.records import Judgment, competition_ranks

MAX_TEXT = 100_000
MAX_RESPONSES = 64
Tier = Annotated[int, Field(ge=1, le=MAX_RESPONSES)] | None
Overall = Annotated[int, Field(ge=1, le=7)] | None
Text = Annotated[str, Field(max_length=MAX_TEXT)]
Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True)
class FormConfig:
    """The fields of the form in addition to the ranking."""

    flags: Sequence[str] = ("unsafe", "untrue", "off-topic")
    skip_reasons: Sequence[str] = ("I cannot judge this", "unclear prompt", "broken text", "other")
    overall: bool = True  # a rating of 1 to 7 for each response
    comment: bool = True
    rewrite: bool = True  # a text box for a better response

    def __post_init__(self) -> None:
        for name in ("flags", "skip_reasons"):
            texts = getattr(self, name)
            if isinstance(texts, str) or not all(isinstance(t, str) and t for t in texts):
                raise ConfigError(
                    f"form: {name} is {texts!r}; write a list of texts.", code="bad-value"
                )
        for name in ("overall", "comment", "rewrite"):
            value = getattr(self, name)
            if not isinstance(value, bool):
                raise ConfigError(
                    f"form: {name} is {value!r}; write true to show this field, or false.",
                    code="bad-value",
                )
        if not 1 <= len(self.skip_reasons) <= 9:
            raise ConfigError(
                f"form: skip_reasons has {len(self.skip_reasons)} reasons; use 1 to 9, one per "
                "digit key.",
                code="bad-value",
            )


def load_form(path: str | Path) -> FormConfig:
    """The form of a YAML file with `FormConfig`'s keys.

    Raises:
        ConfigError: an unreadable file, or an unknown key.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(
            f"{path} cannot be read as YAML: {error}", code="bad-config-file"
        ) from error
    known = {field.name for field in fields(FormConfig)}
    if not isinstance(content, dict) or not set(content) <= known:
        raise ConfigError(
            f"{path}: a form has the keys {', '.join(sorted(known))}.", code="unknown-key"
        )
    return FormConfig(**content)


class LabelForm(BaseModel):
    """The page's fields, with responses in the order shown."""

    model_config = ConfigDict(extra="forbid", strict=True)

    tiers: Annotated[list[Tier], Field(max_length=MAX_RESPONSES)] = []
    scale: Annotated[int, Field(ge=-4, le=4)] | None = None  # below 0: the first is better
    both_bad: bool = False
    flags: Annotated[list[list[Text]], Field(max_length=MAX_RESPONSES)] = []
    overall: Annotated[list[Overall], Field(max_length=MAX_RESPONSES)] = []
    comment: Text = ""
    rewrite: Text = ""


def judgment_of(
    form: LabelForm,
    order_shown: Sequence[int],
    config: FormConfig,
    *,
    seconds: float | None,
    guideline_version: int,
) -> Judgment:
    """The form as a judgment of the stored item's responses.

    Args:
        form: the submitted fields, in the order shown.
        order_shown: K indices into the stored responses, first shown first.
        config: the fields of the form.
        seconds: time from seeing the item to submitting; None if not measured.
        guideline_version: version of the guideline that the page showed.

    Raises:
        DataError: a response without a rank, or an unknown flag.
    """
    tiers = _tiers_shown(form, len(order_shown))
    unknown = {flag for of_response in form.flags for flag in of_response} - set(config.flags)
    if unknown:
        raise DataError(f"flag {min(unknown)!r} is not in this form.", code="bad-label")
    extra: dict[str, object] = {"form": form.model_dump(exclude_defaults=True)}
    if any(form.flags):
        extra["flags"] = _in_stored_order(form.flags, order_shown, [])
    if any(value is not None for value in form.overall):
        extra["overall"] = _in_stored_order(form.overall, order_shown, None)
    if form.scale is not None and len(order_shown) == 2:
        # The sign follows the stored order, as ranks do: below 0 the first response is better.
        extra["scale"] = form.scale if order_shown[0] == 0 else -form.scale
    extra |= {
        name: text for name in ("comment", "rewrite") if (text := getattr(form, name).strip())
    }
    if form.both_bad:
        extra["both_bad"] = True
    return Judgment(
        ranks=_in_stored_order(competition_ranks(tiers), order_shown, 0),
        seconds=seconds,
        strength=float(max(1, abs(form.scale or 0))),
        guideline_version=guideline_version,
        extra=extra,
    )


def _tiers_shown(form: LabelForm, count: int) -> list[int]:
    if count == 2 and (form.scale is not None or form.both_bad):
        scale = form.scale or 0
        return [1, 1] if scale == 0 else [1, 2] if scale < 0 else [2, 1]
    tiers = [tier for tier in form.tiers if tier is not None]
    if len(tiers) != count or len(form.tiers) != count or max(tiers) > count:
        raise DataError(
            f"give each of the {count} responses a rank from 1 to {count}.", code="bad-label"
        )
    return tiers


def _in_stored_order(
    values: Sequence[Value], order_shown: Sequence[int], empty: Value
) -> list[Value]:
    """Values in the order shown -> in the order of the stored responses."""
    stored = [empty] * len(order_shown)
    for value, index in zip(values, order_shown, strict=False):
        stored[index] = value
    return stored


def as_json(config: FormConfig) -> Mapping[str, object]:
    """The form's settings, as the page reads them."""
    return asdict(config)
