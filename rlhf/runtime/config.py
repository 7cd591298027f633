"""Configuration: dataclasses, a YAML file over their defaults, the command line over that."""

import dataclasses
import difflib
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import MISSING
from pathlib import Path
from typing import Any

from rlhf.errors import ConfigError
from rlhf.runtime.config_keys import OPTIONS, Key, help_parser, keys_of
from rlhf.runtime.config_yaml import MARK, as_dict, as_yaml, as_yaml_with_defaults, read_yaml
from rlhf.runtime.distributed import is_main_process

__all__ = ["MARK", "as_dict", "as_yaml", "as_yaml_with_defaults", "parse_config", "read_yaml"]

logger = logging.getLogger(__name__)
COMMAND_LINE = "the command line"

Words = dict[str, list[str]]  # by key, its values as text


def parse_config(
    *classes: type,
    description: str | None,
    argv: Sequence[str] | None = None,
    prog: str | None = None,
) -> tuple[Any, ...]:
    """One instance of each dataclass, from `--config FILE.yaml` and `--key value` over it.

    Keys are flat and unique over all classes. A field's `metadata["help"]` is its sentence in
    `--help`; a field without a default has to be given. Class attributes:

        INSTEAD_OF: by field, the keys of other recipes that the field replaces here.
        REFUSED: reasons why keys of other libraries do not exist here, by key.
        RENAMED: new names of keys by their old ones.
        ALIASES: keys by their short names, which Python may reserve.
        JSON_KEYS: text fields whose value is JSON, which a YAML file may hold as a mapping.

    `--help` and `--print_config` (the resolved YAML) print and exit with status 0.

    Args:
        classes: the dataclasses. Their fields are str, int, float, bool, a Literal of str, or a
            list of these; each may be `| None`.
        description: the text above the keys in `--help`.
        argv: the command line; None takes the process's own.
        prog: the command in `--help`; None takes the name of the process.

    Raises:
        ConfigError: an unknown key (the message has the nearest one), a repeated key, a value
            of the wrong type or outside its choices, a missing key, an unreadable file.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if {"-h", "--help"} & set(words):
        help_parser(*classes, description=description, prog=prog).print_help()
        raise SystemExit(0)
    keys = {key.name: key for key in [*OPTIONS, *(k for each in classes for k in keys_of(each))]}
    from_words = _parse_words(words, keys, classes)
    path, print_config = from_words.pop("config", None), from_words.pop("print_config", None)
    from_file: Words = {}
    file = Path(str(keys["config"].value(path, COMMAND_LINE))) if path is not None else None
    if file is not None:
        from_file = _parse_file(file, keys, classes)
    values = {}
    for name, key in keys.items():
        if name in from_words:
            values[name] = key.value(from_words[name], COMMAND_LINE)
        elif name in from_file:
            values[name] = key.value(from_file[name], str(file))
        elif key.default is MISSING:
            raise ConfigError(
                f"{name} has no default; give --{name} VALUE or write it into the --config file.",
                code="missing-key",
            )
    configs = tuple(
        each(**{f.name: values[f.name] for f in dataclasses.fields(each) if f.name in values})
        for each in classes
    )
    if print_config is not None:
        print(as_yaml(*configs), end="")
        raise SystemExit(0)
    return configs


def _parse_words(words: Sequence[str], keys: Mapping[str, Key], classes: Sequence[type]) -> Words:
    """The values of each key on the command line.

    A word with two dashes is a key. A word with one dash is a value, such as `-1*file.py:f`.
    """
    values: Words = {}
    names: list[str] = []
    room = 0  # words that the last key still takes
    for word in words:
        name, equals, value = word.lstrip("-").partition("=")
        if not word.startswith("--"):
            if word.startswith("-") and name in keys:
                raise ConfigError(
                    f"{COMMAND_LINE}: {word!r} has one dash; write --{name}.", code="unknown-key"
                )
            if room == 0:
                raise ConfigError(
                    f"{COMMAND_LINE}: {word!r} belongs to no key; write --key value.",
                    code="unknown-key",
                )
            values[names[-1]].append(word)
            room -= 1
            continue
        name = _new_name(name.replace("-", "_"), classes)
        positive = keys.get(name.removeprefix("no_"))
        if name not in keys and positive is not None and positive.default is True and not equals:
            name, equals, value = positive.name, "=", "false"
        if name not in keys:
            raise _unknown_key(name, keys, COMMAND_LINE, classes)
        values[name] = [value] if equals else []
        names.append(name)
        room = 0 if equals else keys[name].max_words
    for name in values:
        if (times := names.count(name)) > 1:
            raise ConfigError(
                f"--{name} is given {times} times; give it once "
                f"(several values of a list follow one --{name}, separated by spaces).",
                code="repeated-key",
            )
    return values


def _parse_file(path: Path, keys: Mapping[str, Key], classes: Sequence[type]) -> Words:
    """The values of each key in a YAML file, as words of a command line.

    One conversion then checks both. A null is left out: the key keeps its default, None.
    """
    json_keys = {name for each in classes for name in getattr(each, "JSON_KEYS", ())}
    options = {key.name for key in OPTIONS}
    values: Words = {}
    for old_name, value in read_yaml(path).items():
        name = _new_name(old_name, classes)
        if name not in keys or name in options:
            raise _unknown_key(name, keys, str(path), classes)
        if value is None:
            if keys[name].default is not None:
                raise ConfigError(
                    f"{path}: {name} is empty; give it a value or delete the line.",
                    code="bad-value",
                )
        elif isinstance(value, dict | list) and name in json_keys:
            values[name] = [json.dumps(value)]
        elif isinstance(value, dict):
            raise ConfigError(
                f"{path}: {name} is a mapping; keys are flat, `key: value`.", code="bad-value"
            )
        else:
            values[name] = list(map(str, value)) if isinstance(value, list) else [str(value)]
    return values


def _new_name(name: str, classes: Sequence[type]) -> str:
    """The present name of a key that a class has RENAMED, or of which it has an alias."""
    for each in classes:
        if name in (aliases := getattr(each, "ALIASES", {})):
            return str(aliases[name])
        if name in (renamed := getattr(each, "RENAMED", {})):
            if is_main_process():
                logger.warning(
                    "%s is now called %s; the old name works in this release", name, renamed[name]
                )
            return str(renamed[name])
    return name


def _unknown_key(
    name: str, keys: Mapping[str, Key], place: str, classes: Sequence[type]
) -> ConfigError:
    """The error for an unknown key, with the key to use instead if there is one."""
    for each in classes:
        if name in (refused := getattr(each, "REFUSED", {})):
            return ConfigError(
                f"{place}: {name} is not supported: {refused[name]}", code="unsupported"
            )
    nearest = difflib.get_close_matches(name, sorted(keys), n=1)
    hint = f"did you mean {nearest[0]}?" if nearest else "--help lists the keys."
    for each in classes:
        for replacement, others in getattr(each, "INSTEAD_OF", {}).items():
            if name in others:
                hint = f"here {replacement} is what to set. {keys[replacement].help}"
    return ConfigError(f"{place}: unknown key {name!r}; {hint}", code="unknown-key")
