"""The verifier that a source names, and the checks of its rows."""

from collections.abc import Callable, Mapping, Sequence

from rlhf.errors import ConfigError
from rlhf.rewards.concurrent import AsyncScorer
from rlhf.rewards.function import RewardFunction
from rlhf.rewards.kinds import CODE
from rlhf.rewards.options import CallOptions
from rlhf.rewards.verifiers.code import check_machine, code
from rlhf.rewards.verifiers.ifeval import ifeval
from rlhf.rewards.verifiers.packages import json_schema, language, math
from rlhf.rewards.verifiers.source import VerifierSource, parse_verifier
from rlhf.rewards.verifiers.texts import exact_match, length, regex, repetition
from rlhf.rewards.verifiers.verifier import Verifier, as_function
from rlhf.types import PromptRow

VERIFIERS: Mapping[str, Callable[[VerifierSource], Verifier]] = {
    "exact_match": exact_match,
    "math": math,
    "regex": regex,
    "json_schema": json_schema,
    "length": length,
    "repetition": repetition,
    "language": language,
    "ifeval": ifeval,
}
OPTIONS: Mapping[str, Sequence[str]] = {
    "exact_match": ("column", "ignore_case", "after"),
    "math": ("column",),
    "regex": ("pattern", "column", "full"),
    "json_schema": ("file", "column"),
    "length": ("max", "min", "buffer", "unit"),
    "repetition": ("n",),
    "language": ("language", "column"),
    "ifeval": ("all", "loose"),
    CODE: ("column", "seconds", "memory_mb"),
}
NUM_PREPARED = 1000  # rows whose columns are tried; all are looked through for missing ones


def load_verifier(source: str, options: CallOptions) -> RewardFunction | AsyncScorer:
    """The verifier as a reward function; `verifier:code` as a scorer that runs many at once.

    Raises:
        ConfigError: see `check_verifier`.
    """
    parsed = checked_source(source)
    if parsed.name == CODE:
        check_machine(parsed, options)
        return code(parsed, options)
    return as_function(VERIFIERS[parsed.name](parsed))


def checked_source(source: str) -> VerifierSource:
    """The parts of the source.

    Raises:
        ConfigError: no such verifier, or an option that it has not.
    """
    parsed = parse_verifier(source)
    if parsed.name not in OPTIONS:
        raise parsed.error(f"no such verifier; there are {', '.join(OPTIONS)}")
    for option in parsed.options:
        if option not in OPTIONS[parsed.name]:
            raise parsed.error(
                f"{parsed.name} has no option {option}; it has {', '.join(OPTIONS[parsed.name])}"
            )
    return parsed


def check_verifier_rows(source: str, rows: Sequence[PromptRow]) -> None:
    """Check that every row has what the verifier reads.

    Raises:
        ConfigError: a row without a column, or with a value that cannot be used.
    """
    parsed = checked_source(source)
    columns: Sequence[str] = [parsed.options.get("column", "tests")]
    prepare = None
    if parsed.name != CODE:
        verifier = VERIFIERS[parsed.name](parsed)
        columns, prepare = verifier.columns, verifier.prepare
    for number, row in enumerate(rows, start=1):
        for column in columns:
            if row.columns.get(column) is None:
                raise ConfigError(
                    f"reward {source} reads the column {column}, which row {number} of the prompts "
                    f"({str(row.prompt)[:60]!r}) has not; add it, or name another one with "
                    "?column=NAME.",
                    code="bad-reward",
                )
        if prepare is not None and number <= NUM_PREPARED:
            prepare(row.columns)
