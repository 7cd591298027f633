"""Configuration of the label form: its fields, its criteria, and the forms of the package."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from rlhf.errors import ConfigError
from rlhf.labels import criteria
from rlhf.labels.criteria import Criterion, Spans, parse_criteria

SHIPPED = Path(__file__).parent / "forms"


@dataclass(frozen=True, kw_only=True)
class FormConfig:
    """The fields of the form in addition to the ranking."""

    flags: Sequence[str] = ("unsafe", "untrue", "off-topic")
    skip_reasons: Sequence[str] = ("I cannot judge this", "unclear prompt", "broken text", "other")
    overall: bool = True  # a rating of 1 to 7 for each response
    comment: bool = True
    rewrite: bool = True  # a text box for a better response
    criteria: Sequence[Criterion] = ()

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

    @property
    def marks_passages(self) -> bool:
        """Whether a criterion marks passages of a response."""
        return any(isinstance(criterion.answer, Spans) for criterion in self.criteria)


def load_form(source: str | Path) -> FormConfig:
    """The form of a YAML file with `FormConfig`'s keys, or one of the package by its name.

    Raises:
        ConfigError: an unreadable file, an unknown key, a criterion that cannot be used.
    """
    path = _path_of(source)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except FileNotFoundError as error:
        raise ConfigError(
            f"{source} is neither a file nor a form of the package; those are "
            f"{', '.join(shipped_forms())}.",
            code="bad-config-file",
        ) from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(
            f"{path} cannot be read as YAML: {error}", code="bad-config-file"
        ) from error
    known = {field.name for field in fields(FormConfig)}
    if not isinstance(content, dict) or not set(content) <= known:
        raise ConfigError(
            f"{path}: a form has the keys {', '.join(sorted(known))}.", code="unknown-key"
        )
    return parse_form(content)


def parse_form(content: Mapping[str, Any]) -> FormConfig:
    """The form with these values of `FormConfig`'s fields: the inverse of `as_json`.

    Raises:
        ConfigError: a value or a criterion that cannot be used.
    """
    values = dict(content)
    if "criteria" in values:
        values["criteria"] = parse_criteria(values["criteria"])
    return FormConfig(**values)


def shipped_forms() -> list[str]:
    """Names of the package's forms."""
    return sorted(path.stem for path in SHIPPED.glob("*.yaml"))


def _path_of(source: str | Path) -> Path:
    """The file of a form; a name without an ending is looked up in the package."""
    return SHIPPED / f"{source}.yaml" if str(source) in shipped_forms() else Path(source)


def as_json(config: FormConfig) -> Mapping[str, object]:
    """The form's settings, as the page reads them."""
    return asdict(config) | {"criteria": [criteria.as_json(one) for one in config.criteria]}
