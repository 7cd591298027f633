"""Check the values of a configuration that a program makes against its type hints.

`parse_config` makes configurations whose values have the right types already.
"""

import dataclasses
import difflib
import json
import types
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints

from rlhf.errors import ConfigError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

NAMES = {
    bool: "True or False",
    int: "an integer",
    float: "a number",
    str: "text",
    types.NoneType: "None",
}


def check_field_types(config: Any) -> None:
    """Check that every field of a dataclass has a value of its type.

    A path in place of text, a tuple in place of a list, a number of NumPy, and a mapping or a list
    of mappings in a text field of JSON_KEYS are converted, so that config.yaml can hold them. An
    integer is a number too; a bool is not.

    Raises:
        ConfigError: the field, its value and the values that it takes.
    """
    hints = get_type_hints(type(config))
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        try:
            if field.name in getattr(config, "JSON_KEYS", ()) and _is_json_value(value):
                converted: Any = json.dumps(value)
            else:
                converted = _convert(value, hints[field.name])
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"{type(config).__name__}.{field.name}={value!r}: use "
                f"{_describe(hints[field.name])}.{_suggest(value, hints[field.name])}",
                code="bad-value",
            ) from error
        if converted is not value:
            object.__setattr__(config, field.name, converted)  # its dataclass is frozen


def _is_json_value(value: object) -> bool:
    """Whether the value is a mapping, or a list of mappings and None."""
    if isinstance(value, list | tuple):
        return all(item is None or isinstance(item, Mapping) for item in value)
    return isinstance(value, Mapping)


def _convert(value: Any, hint: Any) -> Any:
    """`value`, or what replaces it; ValueError where the hint does not allow it."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        for option in get_args(hint):
            try:
                return _convert(value, option)
            except ValueError:
                continue
    elif origin is Literal:
        if isinstance(value, str) and value in get_args(hint):
            return value
    elif origin is list:
        if isinstance(value, list | tuple):
            items = [_convert(item, get_args(hint)[0]) for item in value]
            return value if isinstance(value, list) and items == value else items
    elif hint in (int, float) and not isinstance(value, bool):
        if type(value) in (int, hint):
            return value
        if isinstance(value, Integral):
            return int(value)
        if hint is float and isinstance(value, Real):
            return float(value)
    elif hint is str and isinstance(value, Path):
        return str(value)
    elif type(value) is hint or (hint is str and isinstance(value, str)):
        return value
    raise ValueError(value)


def _describe(hint: Any) -> str:
    """The values that a field takes, for a message."""
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(_describe(option) for option in get_args(hint))
    if get_origin(hint) is Literal:
        *others, last = map(str, get_args(hint))
        return f"{', '.join(others)} or {last}" if others else last
    if get_origin(hint) is list:
        return f"a list of {_describe(get_args(hint)[0])}"
    return NAMES[hint]


def _suggest(value: object, hint: Any) -> str:
    """The nearest choice to a text, as a question."""
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    choices = [each for option in options if get_origin(option) is Literal
               for each in get_args(option)]  # fmt: skip
    nearest = difflib.get_close_matches(str(value).lower(), choices, n=1, cutoff=0.4)
    return f" Did you mean {nearest[0]}?" if nearest else ""


def changed_fields(config: "DataclassInstance", names: Sequence[str]) -> list[str]:
    """The keys among `names` whose value is not the default."""
    defaults = {field.name: field.default for field in dataclasses.fields(config)}
    return [name for name in names if getattr(config, name) != defaults[name]]
