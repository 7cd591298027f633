"""Instructions that a program checks: IFEval's own checks, by lm-evaluation-harness."""

import importlib
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from rlhf.errors import ConfigError
from rlhf.rewards.verifiers.source import VerifierSource
from rlhf.rewards.verifiers.verifier import Columns, Verifier

INSTRUCTIONS, ARGUMENTS = "instruction_id_list", "kwargs"  # columns of the benchmark's rows
SENTENCES = "tokenizers/punkt_tab"  # data of NLTK


def ifeval(source: VerifierSource) -> Verifier:
    """The share of its row's instructions that a response follows.

    The 25 kinds of instructions of IFEval (https://arxiv.org/abs/2311.07911). Options: `all`
    (false): 1 where all are followed, else 0. `loose` (false): it also counts if an instruction is
    followed without the first line, the last line or asterisks.
    """
    check_ifeval(f"reward {source.source}")
    needs_all = source.flag("all", default=False)
    loose = source.flag("loose", default=False)

    def check(text: str, row: Columns) -> float:
        followed = followed_instructions(text, row, loose=loose)
        return float(all(followed)) if needs_all else sum(followed) / len(followed)

    return Verifier(
        check=check,
        columns=(INSTRUCTIONS, ARGUMENTS),
        prepare=lambda row: _check_row(source, row),
    )


def followed_instructions(text: str, columns: Columns, *, loose: bool = False) -> list[bool]:
    """For each instruction of a row whether the text follows it.

    Args:
        text: a response without its thought.
        columns: of the row: `instruction_id_list`, and `kwargs` with the arguments of each.
        loose: see `ifeval`.
    """
    package = _package("IFEval")
    asked = package.InputExample(
        key=columns.get("key", 0),
        prompt=columns.get("prompt", ""),
        instruction_id_list=_list(columns[INSTRUCTIONS]),
        kwargs=[_given(each) for each in _list(columns[ARGUMENTS])],
    )
    followed = (
        package.test_instruction_following_loose
        if loose
        else package.test_instruction_following_strict
    )
    with _seeded():
        return [bool(each) for each in followed(asked, text).follow_instruction_list]


@contextmanager
def _seeded() -> Iterator[None]:
    """Seed `random` for a check, then restore it.

    Two prompts of IFEval ask for "!" and "#". Its check counts a letter drawn at random in their
    place, so the figures of one file of responses would differ from call to call.
    """
    state = random.getstate()
    random.seed(0)
    try:
        yield
    finally:
        random.setstate(state)


def check_ifeval(place: str) -> None:
    """Check that IFEval's checks can run.

    Raises:
        ConfigError: the package, or the data by which it counts sentences, is not there.
    """
    if find_spec("nltk") is not None:
        _check_sentence_data(place)
    _package(place)


def _check_sentence_data(place: str) -> None:
    """Check that NLTK's data are there: lm-evaluation-harness downloads them when imported."""
    import nltk

    try:
        nltk.data.find(SENTENCES)
    except LookupError as error:
        raise ConfigError(
            f"{place}: IFEval's checks count sentences with NLTK's data punkt_tab, which are not "
            "there; run `python -m nltk.downloader punkt_tab`, or copy nltk_data from a machine "
            "that has it and name the copy in $NLTK_DATA.",
            code="missing-package",
        ) from error


def _check_row(source: VerifierSource, row: Columns) -> None:
    """Check that each instruction is known and takes its arguments: IFEval draws missing ones.

    Raises:
        ConfigError: the row's instructions.
    """
    from lm_eval.tasks.ifeval.instructions_registry import INSTRUCTION_DICT

    names, arguments = _list(row[INSTRUCTIONS]), _list(row[ARGUMENTS])
    if not names or len(names) != len(arguments):
        raise source.error(
            f"a row has {len(names)} instructions in {INSTRUCTIONS} and {len(arguments)} in "
            f"{ARGUMENTS}; give each instruction its arguments, {{}} for none"
        )
    for name, given in zip(names, map(_given, arguments), strict=True):
        if name not in INSTRUCTION_DICT:
            raise source.error(f"IFEval has no instruction {name!r}")
        instruction = INSTRUCTION_DICT[name](name)
        needed = instruction.get_instruction_args_keys()
        if missing := [key for key in needed if key not in given]:
            raise source.error(
                f"the instruction {name} has no {missing[0]} in {ARGUMENTS}, which would be drawn "
                "at random; add it"
            )
        try:
            instruction.build_description(**given)
        except (LookupError, TypeError, ValueError) as error:
            raise source.error(
                f"the instruction {name} does not take {given} ({type(error).__name__}: {error})"
            ) from error


def _list(value: object) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else []


def _given(arguments: object) -> dict[str, Any]:
    """The arguments that are set: Parquet has those of all instructions in each row, as null.

    0 and empty ones are not set either, as in lm-evaluation-harness.
    """
    if not isinstance(arguments, Mapping):
        return {}
    return {str(name): value for name, value in arguments.items() if value}


def _package(place: str) -> Any:
    try:
        package = importlib.import_module("lm_eval.tasks.ifeval.utils")
        langdetect: Any = importlib.import_module("langdetect")
    except ImportError as error:
        raise ConfigError(
            f"{place}: IFEval's checks need lm-evaluation-harness with its packages for them "
            f"({error}); run `pip install 'rlhf[ifeval]'`.",
            code="missing-package",
        ) from error
    # Without a seed the language of a short text differs from call to call.
    langdetect.DetectorFactory.seed = 0
    return package
