"""Configuration: dataclasses, a YAML file over their defaults, the command line over that."""

import argparse
import dataclasses
import difflib
import json
import logging
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, cast

import yaml
from trl import TrlParser

from rlhf.errors import ConfigError
from rlhf.runtime.distributed import is_main_process

logger = logging.getLogger(__name__)
MARK = "  # default "  # in config.yaml, behind what was set


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice, of which YAML's own would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        for key, _ in node.value:
            if (times := keys.count(key.value)) > 1:
                said = f"{key.value} is given {times} times"
                raise yaml.constructor.ConstructorError(None, None, said, key.start_mark)
        return super().construct_mapping(node, deep)


class _BadWord(Exception):
    """What argparse says of a value, and the key that it is for; "" where it is for none."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        found = re.match(r"argument (?:-\w, )?--(\w+)", message)
        self.key = found.group(1) if found else ""


class _Item(str):
    """An item of a list in a YAML file: always a value, whatever it begins with."""


class _Parser(TrlParser):
    """argparse in which a value may begin with a dash: `-1*file.py:f`, `-1e-3`."""

    def error(self, message: str) -> NoReturn:
        raise _BadWord(message)

    def _parse_optional(self, arg_string: str) -> Any:
        """None for a value. argparse asks this of every word."""
        return None if self._is_value(arg_string) else super()._parse_optional(arg_string)

    def _is_value(self, word: str) -> bool:
        """Whether a word with a dash names no key: `-1*x` is a value, `-seed` a mistyped key."""
        key = word.lstrip("-").partition("=")[0]
        known = self._option_string_actions
        one_dash = word.startswith("-") and not word.startswith("--")
        return isinstance(word, _Item) or (one_dash and not {word, f"--{key}"} & known.keys())


def parse_config(
    *classes: type, description: str | None, argv: Sequence[str] | None = None
) -> tuple[Any, ...]:
    """One instance of each dataclass, from `--config FILE.yaml` and `--key value` over it.

    Keys are flat and unique over all classes. `--print_config` prints the resolved YAML and
    exits 0. A field's `metadata["help"]` is its sentence in `--help`; a field without a default
    has to be given. A class attribute INSTEAD_OF names, by field, keys of other recipes whose
    place it takes; RENAMED maps old names of keys to new ones; JSON_KEYS names text fields whose
    value is JSON, which a YAML file may hold as a mapping.

    Raises:
        ConfigError: an unknown key (the nearest known one is named), a repeated one, a value
            of the wrong type or outside its choices, a missing key, an unreadable file.
    """
    parser = _Parser(
        cast(Any, classes),
        description=description,
        allow_abbrev=False,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--config", help="YAML file of keys; the command line goes over it.")
    parser.add_argument("--print_config", action="store_true", help="Print the YAML and stop.")
    for action in parser._actions:
        if action.nargs == "+" and not action.required:
            action.nargs = "*"  # an empty list is a value, too: as_yaml writes it
    renamed = {old: new for c in classes for old, new in getattr(c, "RENAMED", {}).items()}
    words = [
        _with_new_name(_underscored(word), renamed)
        for word in (sys.argv[1:] if argv is None else argv)
    ]
    _refuse_repeats(words)
    known = {action.dest for action in parser._actions} | {
        option.lstrip("-") for action in parser._actions for option in action.option_strings
    }
    path = _config_path(words)
    from_file = _words_of_yaml(path, known, classes, renamed) if path else []
    from_file = _without_overridden(from_file, words)
    try:
        *configs, namespace, unknown = parser.parse_args_into_dataclasses(
            from_file + words, return_remaining_strings=True, look_for_args_file=False
        )
    except _BadWord as error:
        place = path if error.key in _keys(from_file) else "the command line"
        raise ConfigError(f"{place}: {error}") from error
    if unknown:
        place = path if isinstance(unknown[0], _Item) else "the command line"
        raise ConfigError(_unknown_key(unknown[0], known, str(place), classes))
    if namespace.print_config:
        print(as_yaml(*configs), end="")
        raise SystemExit(0)
    return tuple(configs)


def as_dict(*configs: Any) -> dict[str, Any]:
    """Every key of `configs` in one flat dictionary."""
    return {key: value for config in configs for key, value in dataclasses.asdict(config).items()}


def as_yaml(*configs: Any) -> str:
    """The resolved configuration as YAML; reading it back gives the same values."""
    return yaml.safe_dump(as_dict(*configs), sort_keys=False, allow_unicode=True)


def as_yaml_with_defaults(*configs: Any) -> str:
    """`as_yaml`, with the default behind every key that has another value."""
    lines = []
    for config in configs:
        for key, default in _defaults(config).items():
            text = yaml.safe_dump({key: getattr(config, key)}, sort_keys=False, allow_unicode=True)
            if default != getattr(config, key) and default is not dataclasses.MISSING:
                first, newline, rest = text.partition("\n")
                shown = json.dumps(default, ensure_ascii=False)
                # A text in several lines cannot carry a comment on its first one.
                if not isinstance(getattr(config, key), str) or not rest:
                    text = f"{first}{MARK}{shown}{newline}{rest}"
            lines.append(text)
    return "".join(lines)


def _defaults(config: Any) -> dict[str, Any]:
    """Every key's default; MISSING where it has to be given."""
    return {
        field.name: field.default_factory()
        if field.default_factory is not dataclasses.MISSING
        else field.default
        for field in dataclasses.fields(config)
    }


def read_yaml(path: Path) -> dict[str, Any]:
    """The file's keys and values.

    Raises:
        ConfigError: it cannot be read as `key: value` lines, or a key stands twice.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read as YAML: {error}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds {type(content).__name__}; write `key: value` lines.")
    return content


def _underscored(word: str) -> str:
    """`--some-key=x` as `--some_key=x`: one spelling, so that repeats are seen."""
    if not word.startswith("--"):
        return word
    key, equals, value = word.partition("=")
    return "--" + key[2:].replace("-", "_") + equals + value


def _names_key(word: str) -> bool:
    return word.startswith("--") and not isinstance(word, _Item)


def _with_new_name(word: str, renamed: Mapping[str, str]) -> str:
    """`--old=x` as `--new=x`, where a key was renamed."""
    key, equals, value = word.partition("=")
    return "--" + _new_name(key[2:], renamed) + equals + value if word.startswith("--") else word


def _new_name(key: str, renamed: Mapping[str, str]) -> str:
    if key not in renamed:
        return key
    if is_main_process():
        logger.warning("%s is now called %s; the old name works in this release", key, renamed[key])
    return renamed[key]


def _keys(words: Sequence[str]) -> list[str]:
    return [word[2:].partition("=")[0] for word in words if _names_key(word)]


def _refuse_repeats(words: Sequence[str]) -> None:
    keys = [key.removeprefix("no_") for key in _keys(words)]
    for key in keys:
        if keys.count(key) > 1:
            raise ConfigError(
                f"--{key} is given {keys.count(key)} times; give it once "
                f"(several values of a list follow one --{key}, separated by spaces)."
            )


def _config_path(words: Sequence[str]) -> Path | None:
    for index, word in enumerate(words):
        if word == "--config":
            if index + 1 == len(words) or words[index + 1].startswith("--"):
                raise ConfigError("--config needs a file; write --config FILE.yaml.")
            return Path(words[index + 1])
        if word.startswith("--config="):
            return Path(word.removeprefix("--config="))
    return None


def _words_of_yaml(
    path: Path, known: set[str], classes: Sequence[type], renamed: Mapping[str, str]
) -> list[str]:
    """The file as command-line words, so that one parser checks types and choices of both."""
    content = {_new_name(key, renamed): value for key, value in read_yaml(path).items()}
    optional = _optional_fields(classes)
    words: list[str] = []
    for key, value in content.items():
        if key not in known or key in ("config", "print_config", "help"):
            raise ConfigError(_unknown_key(f"--{key}", known, str(path), classes))
        if value is None:
            if key not in optional:
                raise ConfigError(f"{path}: {key} is empty; give it a value or leave the line out.")
        elif isinstance(value, dict | list) and key in _json_fields(classes):
            words += [f"--{key}={json.dumps(value)}"]
        elif isinstance(value, dict):
            raise ConfigError(f"{path}: {key} holds a mapping; keys are flat, `key: value`.")
        elif isinstance(value, list):
            words += [f"--{key}", *(_Item(item) for item in value)]
        else:
            words += [f"--{key}={value}"]
    return words


def _json_fields(classes: Sequence[type]) -> set[str]:
    """Keys whose text is JSON: in a YAML file they may be written as what it holds."""
    return {name for each in classes for name in getattr(each, "JSON_KEYS", ())}


def _optional_fields(classes: Sequence[type]) -> set[str]:
    return {f.name for c in classes for f in dataclasses.fields(c) if f.default is None}


def _without_overridden(from_file: Sequence[str], words: Sequence[str]) -> list[str]:
    """The file's words less the keys that the command line sets."""
    overridden = {key.removeprefix("no_") for key in _keys(words)}
    kept: list[str] = []
    keep = True
    for word in from_file:
        if _names_key(word):
            keep = word[2:].partition("=")[0].removeprefix("no_") not in overridden
        if keep:
            kept.append(word)
    return kept


def _unknown_key(word: str, known: set[str], place: str, classes: Sequence[type]) -> str:
    key = word.lstrip("-").partition("=")[0]
    near = difflib.get_close_matches(key, sorted(known), n=1)
    hint = f"did you mean {near[0]}?" if near else "--help lists the keys."
    if not _names_key(word) and key not in known:
        return f"{place}: {str(word)!r} belongs to no key; {hint if near else 'write --key value.'}"
    if not _names_key(word):
        return f"{place}: {str(word)!r} has one dash; write --{key}."
    return f"{place}: unknown key {key!r}; {_key_instead(key, classes) or hint}"


def _key_instead(key: str, classes: Sequence[type]) -> str:
    """What to write for a key of other recipes, where a class says so; else nothing."""
    for each in classes:
        for name, others in getattr(each, "INSTEAD_OF", {}).items():
            if key in others:
                [field] = [field for field in dataclasses.fields(each) if field.name == name]
                return f"here {name} is what to set. {field.metadata['help']}"
    return ""
