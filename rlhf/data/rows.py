"""Files -> typed rows. Every bad row is found before training starts, and reported at its place."""

import json
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from rlhf.data import parse
from rlhf.data.fit import demonstration_fits, prompt_fits, ranking_fits, text_fits
from rlhf.data.read import Row, Unreadable, Where, read_rows, source_sha256
from rlhf.data.shapes import guess_shape
from rlhf.data.tokenizer import ChatTokenizer
from rlhf.errors import DataError
from rlhf.manifest import DataUse, write_atomically
from rlhf.types import Demonstration, PromptRow, Ranking

T = TypeVar("T", Demonstration, PromptRow, Ranking, str)
SHOWN = 20
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Problem:
    """A row that cannot be used."""

    where: Where
    reason: str
    row: Any  # as it was read

    def __str__(self) -> str:
        return f"{self.where} {self.reason}"


@dataclass(frozen=True, kw_only=True)
class Loaded(Generic[T]):
    """The rows that can be used, where each stands, and an account of the others."""

    rows: Sequence[T]
    places: Sequence[Where]  # one per row
    use: DataUse  # for the manifest: counts, drops, hash
    problems: Sequence[Problem] = ()  # rows dropped as bad
    undecided: int = 0  # rankings with no order in them (all tied), left out; in use.dropped


def load_demonstrations(
    source: str,
    *,
    role: str = "train",
    drop_bad_rows: bool = False,
    reject_file: Path | None = None,
    chat: ChatTokenizer | None = None,
    max_length: int | None = None,
) -> Loaded[Demonstration]:
    """Demonstrations of a source (see `read_rows`).

    With `chat` and `max_length` rows longer than that many tokens are bad rows too, in the same
    list. The other load functions share these arguments.

    Args:
        source: a file or `hub_id[:split]`.
        role: what the manifest calls the use: train, eval, normalization, ….
        drop_bad_rows: drop, count and list bad rows instead of stopping.
        reject_file: where dropped rows are written, one JSON line each with file, line, reason.
        chat: the tokenizer that lengths are counted with.
        max_length: tokens that prompt and answer may have together.

    Raises:
        DataError: bad rows, up to 20 of them named as `file:line reason`; or no row at all.
    """
    fits = demonstration_fits(chat, max_length) if chat and max_length else None
    loaded = _load(source, role, parse.parse_demonstration, fits)
    return _settle(loaded, drop_bad_rows, reject_file)


def load_prompts(
    source: str,
    *,
    role: str = "prompts",
    drop_bad_rows: bool = False,
    reject_file: Path | None = None,
    chat: ChatTokenizer | None = None,
    max_length: int | None = None,
) -> Loaded[PromptRow]:
    """Prompts with their other columns; `max_length` counts the prompt alone."""
    fits = prompt_fits(chat, max_length) if chat and max_length else None
    loaded = _load(source, role, parse.parse_prompt, fits)
    return _settle(loaded, drop_bad_rows, reject_file)


def load_rankings(
    source: str,
    *,
    role: str = "train",
    drop_bad_rows: bool = False,
    reject_file: Path | None = None,
    chat: ChatTokenizer | None = None,
    max_length: int | None = None,
) -> Loaded[Ranking]:
    """Rankings and pairs. One that ties all its answers teaches no order: left out and counted."""
    fits = ranking_fits(chat, max_length) if chat and max_length else None
    loaded = _load(source, role, parse.parse_ranking, fits)
    return _settle(_without_undecided(loaded), drop_bad_rows, reject_file)


def load_texts(
    source: str,
    *,
    role: str = "text",
    drop_bad_rows: bool = False,
    reject_file: Path | None = None,
    chat: ChatTokenizer | None = None,
    max_length: int | None = None,
) -> Loaded[str]:
    """Plain texts of `{"text"}` rows."""
    fits = text_fits(chat, max_length) if chat and max_length else None
    return _settle(_load(source, role, parse.parse_text, fits), drop_bad_rows, reject_file)


def raise_problems(problems: Sequence[Problem], source: str, *, next_step: str = "") -> None:
    """Raise for `problems` if there are any; `next_step` stands for the usual last line.

    Raises:
        DataError: their number, the first 20 with place and reason, and what to do.
    """
    if not problems:
        return
    count = len(problems)
    lines = [f"{source}: {count} row{'s' * (count > 1)} cannot be used:"]
    lines += [f"  {problem}" for problem in problems[:SHOWN]]
    if count > SHOWN:
        lines.append(f"  and {count - SHOWN} more")
    lines.append(next_step or _next_step(problems, source))
    raise DataError("\n".join(lines))


def _next_step(problems: Sequence[Problem], source: str) -> str:
    shape = guess_shape(problems[0].row)
    if shape is None:
        return "Correct them, or go on without them: --drop_bad_rows."
    return (
        f"They look like `{shape}` rows; make rows of them first: "
        f"rlhf data convert {source} --from {shape} --output ROWS.jsonl"
    )


def _load(
    source: str, role: str, parse_row: Callable[[Row], T], fits: Callable[[T], str | None] | None
) -> Loaded[T]:
    rows: list[T] = []
    places: list[Where] = []
    problems: list[Problem] = []
    for where, row in read_rows(source):
        try:
            if isinstance(row, Unreadable):
                raise DataError(row.reason)
            parsed = parse_row(row)
            if fits is not None and (reason := fits(parsed)):
                raise DataError(reason)
        except DataError as error:
            raw = row.raw if isinstance(row, Unreadable) else row
            problems.append(Problem(where, str(error), raw))
        else:
            rows.append(parsed)
            places.append(where)
    use = DataUse(role=role, path=source, sha256=source_sha256(source), rows=len(rows))
    return Loaded(rows=rows, places=places, use=use, problems=problems)


def _without_undecided(loaded: Loaded[Ranking]) -> Loaded[Ranking]:
    pairs = zip(loaded.rows, loaded.places, strict=True)
    kept = [(row, place) for row, place in pairs if _decides(row)]
    return replace(
        loaded,
        rows=[row for row, _ in kept],
        places=[place for _, place in kept],
        use=replace(loaded.use, rows=len(kept)),
        undecided=len(loaded.rows) - len(kept),
    )


def _decides(ranking: Ranking) -> bool:
    """Whether some answer stands above another with different text."""
    return len(set(ranking.ranks)) > 1 and len(set(ranking.responses)) > 1


def _settle(loaded: Loaded[T], drop_bad_rows: bool, reject_file: Path | None) -> Loaded[T]:
    """`loaded` with its drops counted and written down, or the refusal."""
    source = loaded.use.path
    if not drop_bad_rows:
        raise_problems(loaded.problems, source)
    if not loaded.rows:
        bad, tied = len(loaded.problems), loaded.undecided
        why = f" ({bad} bad, {tied} without an order)" if bad or tied else ""
        first = f"; the first: {loaded.problems[0]}" if bad else ""
        raise DataError(f"{source} holds no row that can be used{why}{first}.")
    if reject_file is not None and loaded.problems:
        _write_rejects(reject_file, loaded.problems)
    _say_drops(loaded, reject_file)
    dropped = len(loaded.problems) + loaded.undecided
    return replace(loaded, use=replace(loaded.use, dropped=dropped))


def _say_drops(loaded: Loaded[T], reject_file: Path | None) -> None:
    """Warn of every row that is not used; once, not from every process."""
    if os.environ.get("RANK", "0") != "0":
        return
    source = loaded.use.path
    if loaded.problems:
        where = f", listed in {reject_file}" if reject_file else ""
        logger.warning("%s: %d bad rows left out%s", source, len(loaded.problems), where)
    if loaded.undecided:
        logger.warning("%s: %d rankings tie all their answers, left out", source, loaded.undecided)


def _write_rejects(path: Path, problems: Sequence[Problem]) -> None:
    """Add the problems, each once: every process and every resumed run comes by here."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    lines += [_reject_line(problem) for problem in problems]
    write_atomically(path, "".join(f"{line}\n" for line in dict.fromkeys(lines)))


def _reject_line(problem: Problem) -> str:
    row = {
        "file": problem.where.file,
        "line": problem.where.line,
        "reason": problem.reason,
        "row": problem.row,
    }
    return json.dumps(row, default=str)
