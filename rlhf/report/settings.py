"""config.yaml as a table of values and defaults."""

from dataclasses import dataclass

from rlhf.runtime.config import MARK


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A key with its value, and its default if that differs; both as written in the file."""

    key: str
    value: str
    default: str


def parse_settings(config: str) -> list[Setting]:
    """The keys of a resolved config.yaml; those that were changed come first."""
    settings: list[Setting] = []
    for line in config.splitlines():
        if line[:1] in ("-", " ", "#") and settings:  # the rest of a list or a long text
            last = settings[-1]
            value = f"{last.value} {line.strip().removeprefix('- ')}".strip()
            settings[-1] = Setting(key=last.key, value=value, default=last.default)
            continue
        text, _, default = line.partition(MARK)
        key, _, value = text.partition(":")
        if key.strip():
            settings.append(Setting(key=key.strip(), value=value.strip(), default=default.strip()))
    return sorted(settings, key=lambda setting: not setting.default)
