"""The keys of configuration dataclasses: types, choices, defaults and the help text."""

import argparse
import dataclasses
import sys
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass
from typing import Literal, Union, get_args, get_origin, get_type_hints

from rlhf.errors import ConfigError
from rlhf.runtime.config_yaml import default_of

TRUE, FALSE = ("yes", "true", "t", "y", "1"), ("no", "false", "f", "n", "0")
METAVARS = {bool: "BOOL", int: "INT", float: "FLOAT", str: "TEXT"}
EPILOG = "BOOL is true or false. --KEY alone is true, --no_KEY is false where the default is true."


@dataclass(frozen=True, kw_only=True)
class Key:
    """A field of a configuration dataclass, as a key of files and an option."""

    name: str
    type: type
    choices: tuple[object, ...] = ()
    is_list: bool = False
    default: object = MISSING
    help: str = ""

    @property
    def max_words(self) -> int:
        """How many words may follow `--name`."""
        return sys.maxsize if self.is_list else 1

    def value(self, words: Sequence[str], place: str) -> object:
        """`words` as a value of the field's type.

        Raises:
            ConfigError: the type, the choices or the number of words do not fit.
        """
        if self.is_list:
            if not words and self.default is MISSING:
                raise ConfigError(f"{place}: {self.name} needs a value.", code="bad-value")
            return [self._item(word, place) for word in words]
        if not words and self.type is bool:
            return True
        if len(words) != 1:
            raise ConfigError(
                f"{place}: {self.name} takes one value, not {len(words)}.", code="bad-value"
            )
        return self._item(words[0], place)

    def _item(self, word: str, place: str) -> object:
        try:
            value = as_bool(word) if self.type is bool else self.type(word)
        except ValueError as error:
            raise ConfigError(
                f"{place}: {self.name}: invalid {self.type.__name__} value: {word!r}",
                code="bad-value",
            ) from error
        if self.choices and value not in self.choices:
            raise ConfigError(
                f"{place}: {self.name}: invalid choice: {word!r} "
                f"(choose from {', '.join(map(str, self.choices))})",
                code="bad-value",
            )
        return value


# Options that no file may have.
OPTIONS = (
    Key(name="config", type=str, default=None),
    Key(name="print_config", type=bool, default=None),
)


def keys_of(each: type) -> Iterator[Key]:
    """The keys of a configuration dataclass."""
    hints = get_type_hints(each)
    for field in dataclasses.fields(each):
        annotation = hints[field.name]
        if get_origin(annotation) in (Union, types.UnionType):
            [annotation] = [a for a in get_args(annotation) if a is not types.NoneType]
        is_list = get_origin(annotation) is list
        if is_list:
            [annotation] = get_args(annotation)
        choices = get_args(annotation) if get_origin(annotation) is Literal else ()
        yield Key(
            name=field.name,
            type=type(choices[0]) if choices else annotation,
            choices=choices,
            is_list=is_list,
            default=default_of(field),
            help=field.metadata.get("help", ""),
        )


class _HelpFormatter(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """Keeps the line breaks of the description and adds the defaults."""


def help_parser(
    *classes: type, description: str | None, prog: str | None = None
) -> argparse.ArgumentParser:
    """A parser that prints the help text of these keys; `parse_config` does not parse with it."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description=description,
        usage="%(prog)s [--config FILE.yaml] [--KEY VALUE ...]",
        epilog=EPILOG,
        formatter_class=_HelpFormatter,
        argument_default=argparse.SUPPRESS,
    )
    add = parser.add_argument
    add("--config", metavar="FILE.yaml", help="File of keys; the command line overrides it.")
    add("--print_config", action="store_const", const=True, help="Print the YAML and exit.")
    for each in classes:
        title = (each.__doc__ or "").split("\n")[0].rstrip(".")
        group = parser.add_argument_group(title)
        aliases: Mapping[str, str] = getattr(each, "ALIASES", {})
        for key in keys_of(each):
            short = [alias for alias, name in aliases.items() if name == key.name]
            _add_option(group, key, short)
    return parser


def _add_option(group: argparse._ActionsContainer, key: Key, aliases: Sequence[str]) -> None:
    group.add_argument(
        *(f"--{name}" for name in (key.name, *aliases)),
        help=f"{key.help} Required." if key.default is MISSING else key.help,
        default=argparse.SUPPRESS if key.default in (MISSING, None, "", []) else key.default,
        choices=key.choices or None,
        metavar=None if key.choices else METAVARS[key.type],
        nargs="*" if key.is_list else "?" if key.type is bool else None,
    )


def as_bool(word: str) -> bool:
    """The value of a word for true or false, such as `true`, `no` or `1`.

    Raises:
        ValueError: another word.
    """
    if word.lower() in TRUE + FALSE:
        return word.lower() in TRUE
    raise ValueError(word)
