"""Configurations as YAML: read a file, write the resolved keys."""

import dataclasses
import json
from collections.abc import Hashable
from dataclasses import MISSING
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from rlhf.errors import ConfigError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

MARK = "  # default "  # in config.yaml, after a value that differs from the default


class _Loader(yaml.SafeLoader):
    """Rejects a repeated key; yaml.SafeLoader would silently take the last one."""

    def construct_mapping(
        self, node: yaml.MappingNode, deep: bool = False
    ) -> dict[Hashable, object]:
        keys = [key.value for key, _ in node.value]
        for key, _ in node.value:
            if (times := keys.count(key.value)) > 1:
                problem = f"{key.value} is given {times} times"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> dict[str, object]:
    """The keys and values in the file.

    Raises:
        ConfigError: it cannot be read as `key: value` lines, or repeats a key.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except FileNotFoundError as error:
        raise ConfigError(
            f"there is no file {path}; check the path.", code="missing-file"
        ) from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(
            f"{path} cannot be read as YAML: {error}", code="bad-config-file"
        ) from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(
            f"{path} is a {type(content).__name__}; write `key: value` lines.",
            code="bad-config-file",
        )
    return content


def as_dict(*configs: "DataclassInstance") -> dict[str, object]:
    """Every key of `configs` in one flat dictionary."""
    return {key: value for config in configs for key, value in dataclasses.asdict(config).items()}


def as_yaml(*configs: "DataclassInstance") -> str:
    """The resolved configuration as YAML; reading it back gives the same values."""
    return yaml.safe_dump(as_dict(*configs), sort_keys=False, allow_unicode=True)


def as_yaml_with_defaults(*configs: "DataclassInstance") -> str:
    """`as_yaml`, with the default in a comment after every value that differs from it."""
    lines = []
    for config in configs:
        for field in dataclasses.fields(config):
            value, default = getattr(config, field.name), default_of(field)
            text = yaml.safe_dump({field.name: value}, sort_keys=False, allow_unicode=True)
            first, newline, rest = text.partition("\n")
            # A text of several lines cannot carry a comment on its first line.
            if default not in (value, MISSING) and not (isinstance(value, str) and rest):
                default_text = json.dumps(default, ensure_ascii=False)
                text = f"{first}{MARK}{default_text}{newline}{rest}"
            lines.append(text)
    return "".join(lines)


def default_of(field: dataclasses.Field[object]) -> object:
    """The default of a dataclass field; MISSING if it has none."""
    return field.default if field.default_factory is MISSING else field.default_factory()
