"""The name and options of `verifier:NAME?option=value&option=value`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

from rlhf.errors import ConfigError
from rlhf.rewards.kinds import VERIFIER


@dataclass(frozen=True, kw_only=True)
class VerifierSource:
    """A verifier and its options, each as text."""

    source: str  # as the user wrote it
    name: str
    options: Mapping[str, str] = field(default_factory=dict)

    def number(self, option: str, default: float, *, above: float = 0.0) -> float:
        """The option as a number.

        Raises:
            ConfigError: it is none, or not above `above`.
        """
        text = self.options.get(option)
        if text is None:
            return default
        try:
            value = float(text)
        except ValueError:
            value = above
        if not above < value < float("inf"):
            raise self.error(f"{option}={text}; use a number above {above:g}")
        return value

    def flag(self, option: str, *, default: bool) -> bool:
        """The option as true or false.

        Raises:
            ConfigError: it is neither.
        """
        text = self.options.get(option, str(default)).lower()
        if text not in ("true", "false"):
            raise self.error(f"{option}={text}; use true or false")
        return text == "true"

    def error(self, reason: str) -> ConfigError:
        """An error about this source."""
        return ConfigError(f"reward {self.source}: {reason}.", code="bad-reward")


def parse_verifier(source: str) -> VerifierSource:
    """The parts of the source. `%26` is an `&` in a value, `%25` a `%`.

    Raises:
        ConfigError: an option without a value, or given twice.
    """
    name, _, query = source.removeprefix(VERIFIER).partition("?")
    parsed = VerifierSource(source=source, name=name)
    options: dict[str, str] = {}
    for part in query.split("&") if query else ():
        option, equals, value = part.partition("=")
        if not equals or not option or option in options:
            raise parsed.error(f"{part!r} is no option; write OPTION=VALUE, each once")
        options[option] = unquote(value)
    return VerifierSource(source=source, name=name, options=options)
