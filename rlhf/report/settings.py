"""config.yaml as a table: what was set, beside what would have been without."""

from collections.abc import Sequence
from dataclasses import dataclass

from rlhf.runtime.config import MARK


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A key, its value, and its default where it has another; both as they stand in the file."""

    key: str
    value: str
    default: str


def settings(config: str) -> list[Setting]:
    """The keys of a resolved config.yaml, those that were changed first."""
    found: list[Setting] = []
    for line in config.splitlines():
        if line[:1] in ("-", " ", "#") and found:  # the rest of a list or a long text
            last = found[-1]
            value = f"{last.value} {line.strip().removeprefix('- ')}".strip()
            found[-1] = Setting(key=last.key, value=value, default=last.default)
            continue
        text, _, default = line.partition(MARK)
        key, _, value = text.partition(":")
        if key.strip():
            found.append(Setting(key=key.strip(), value=value.strip(), default=default.strip()))
    return sorted(found, key=lambda setting: not setting.default)


def changed(every: Sequence[Setting]) -> list[Setting]:
    """Those that have another value than the default."""
    return [setting for setting in every if setting.default]
