"""Verifiers by optional packages: mathematics, JSON schemas, languages (`rlhf[verifiers]`)."""

import importlib
import json
import re
import threading
from pathlib import Path
from typing import Any

from rlhf.errors import ConfigError
from rlhf.rewards.verifiers.source import VerifierSource
from rlhf.rewards.verifiers.verifier import Columns, Verifier

SECONDS = 5  # for an expression; sympy can take for ever
_FENCE = re.compile(r"\s*```(?:json)?\s*\n(.*?)\n?\s*```\s*", re.DOTALL | re.IGNORECASE)


def math(source: VerifierSource) -> Verifier:
    """1 where the response's last expression equals the answer of its row, else 0.

    math-verify (https://github.com/huggingface/Math-Verify) reads and compares expressions, in
    LaTeX (`$…$`, `\\boxed{…}`) or plain. An answer of letters is read as a product of symbols: for
    words use `exact_match`. Options: `column` (answer).
    """
    package: Any = optional_package("math_verify", source)
    column = source.options.get("column", "answer")

    def read(text: str) -> Any:
        return package.parse(text, parsing_timeout=_seconds(), raise_on_error=False)

    def read_answer(row: Columns) -> Any:
        answer = str(row[column])
        read_plain = read(answer)
        return read_plain or read(f"${answer}$")  # LaTeX without its environment

    def prepare(row: Columns) -> None:
        if not read_answer(row):
            raise source.error(f"math-verify reads no expression in the {column} {row[column]!r}")

    def check(text: str, row: Columns) -> float | None:
        answer = read_answer(row)
        if not answer:
            return None
        return float(package.verify(answer, read(text), timeout_seconds=_seconds()))

    return Verifier(check=check, columns=(column,), prepare=prepare)


def _seconds() -> int | None:
    """The time limit of an expression. It is a signal, which only the main thread can have."""
    return SECONDS if threading.current_thread() is threading.main_thread() else None


def json_schema(source: VerifierSource) -> Verifier:
    """1 where the response is JSON, possibly in a code fence, that fits the schema; else 0.

    jsonschema (https://python-jsonschema.readthedocs.io) checks it. Options: `file` with the
    schema, else the column `column` (schema) has one for each row, as JSON or as a text of it.
    """
    package: Any = optional_package("jsonschema", source)
    column, file = source.options.get("column", "schema"), source.options.get("file")
    fixed = None if file is None else _validator(package, source, _read(source, file))

    def valid(text: str, validator: Any) -> float:
        fenced = _FENCE.fullmatch(text)
        try:
            value = json.loads(fenced.group(1) if fenced else text)
        except (ValueError, RecursionError):
            return 0.0
        return float(validator.is_valid(value))

    if fixed is not None:
        return Verifier(check=lambda text, row: valid(text, fixed))
    return Verifier(
        check=lambda text, row: valid(text, _validator(package, source, row[column])),
        columns=(column,),
        prepare=lambda row: _validator(package, source, row[column]),
    )


def _read(source: VerifierSource, file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise source.error(f"the schema {file} cannot be read: {error}") from error


def _validator(package: Any, source: VerifierSource, schema: object) -> Any:
    try:
        content = json.loads(schema) if isinstance(schema, str) else schema
        if not isinstance(content, dict | bool):
            raise ValueError("a schema is an object")
        kind = package.validators.validator_for(content)
        kind.check_schema(content)
    except (ValueError, package.exceptions.SchemaError) as error:
        first = str(error).partition("\n")[0]
        raise source.error(f"{str(schema)[:120]!r} is no JSON schema: {first}") from error
    return kind(content)


def language(source: VerifierSource) -> Verifier:
    """1 where the response is in the language, else 0; a text without letters is in none.

    py3langid (https://pypi.org/project/py3langid) guesses the language among 97, which short texts
    make unreliable. Options: `language`, an ISO 639-1 code such as `en`, else the column `column`
    (language) has one for each row.
    """
    package: Any = optional_package("py3langid", source)
    column, fixed = source.options.get("column", "language"), source.options.get("language")
    known = set(_labels(package))

    def prepare(row: Columns) -> None:
        _check_code(source, str(row[column]), known)

    def check(text: str, wanted: str) -> float:
        if not any(letter.isalpha() for letter in text):
            return 0.0
        return float(package.classify(text)[0] == wanted)

    if fixed is not None:
        _check_code(source, fixed, known)
        return Verifier(check=lambda text, row: check(text, fixed))
    return Verifier(
        check=lambda text, row: check(text, str(row[column])), columns=(column,), prepare=prepare
    )


def _check_code(source: VerifierSource, code: str, known: set[str]) -> None:
    if code not in known:
        raise source.error(f"language={code} is not one of {', '.join(sorted(known))}")


def _labels(package: Any) -> list[str]:
    """The codes of the languages that the package tells apart."""
    return [str(code) for code, _ in package.rank("text")]


def optional_package(name: str, source: VerifierSource) -> Any:
    """The imported package.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"reward {source.source} needs the package {name.replace('_', '-')}; "
            "pip install 'rlhf[verifiers]'.",
            code="missing-package",
        ) from error
