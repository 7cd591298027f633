"""Bad rows of all sources of a run: raised in one list, or dropped, counted and written down."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from rlhf.data.files.memory import IN_MEMORY
from rlhf.data.files.read import Where
from rlhf.data.source_formats.formats import guess_format
from rlhf.errors import DataError
from rlhf.manifest import write_atomically
from rlhf.runtime.distributed import is_main_process

MAX_LISTED = 20
MAX_PLACES = 4  # further lines with the same reason
ALL_BAD = "No other row can be used: correct the file."
REJECTS = "rejected.jsonl"
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Problem:
    """A row that cannot be used."""

    where: Where
    reason: str
    row: object  # as it was read

    def __str__(self) -> str:
        return f"{self.where} {self.reason}"


@dataclass(kw_only=True)
class BadRows:
    """Collects the bad rows of every source that is read inside `with`, and raises at its end.

        with BadRows() as bad_rows:
            train = load_prompts("a.jsonl", bad_rows=bad_rows)
            held_out = load_prompts("b.jsonl", bad_rows=bad_rows)

    So a run names the bad rows of all its sources at once.

    Args:
        drop: count and log bad rows, and write them to `reject_file`, instead of raising.
        next_step: the advice at the end of the error, for rows of no format that can be converted.
        reject_file: where dropped rows are listed; None for nowhere.

    Raises:
        DataError: at the end, up to 20 reasons as `file:line reason`, each once.
    """

    drop: bool = False
    next_step: str = "Correct them, or leave them out: --drop_bad_rows."
    reject_file: Path | None = None
    num_usable: int | None = None  # rows of the sources that can be used; None: not counted
    problems: list[Problem] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if error is None and not self.drop:
            all_bad = self.num_usable == 0 and self.next_step == BadRows.next_step
            step = ALL_BAD if all_bad else self.next_step
            step = _conversion_step(self.problems) or step
            raise_problems(self.problems, ", ".join(self.sources), next_step=step)

    def take(self, source: str, problems: Sequence[Problem], *, usable: int | None = None) -> None:
        """Add the bad rows of one source, which are raised at the end, or drop them now.

        usable: how many other rows the source has.
        """
        if usable is not None:
            self.num_usable = (self.num_usable or 0) + usable
        if not problems:
            return
        if self.drop:
            self._write_and_log(source, problems)
        else:
            # One file may be read for two purposes; two lists in memory have the same places.
            known = set(map(_reject_line, self.problems))
            self.problems += [row for row in problems if _reject_line(row) not in known]
            self.sources += [source] if source not in self.sources else []

    def _write_and_log(self, source: str, problems: Sequence[Problem]) -> None:
        if is_main_process():
            self.problems += problems
            if self.reject_file is not None:
                _write_rejects(self.reject_file, self.problems)
            where = f", listed in {self.reject_file}" if self.reject_file else ""
            logger.warning("%s: %d bad rows left out%s", source, len(problems), where)


def raise_problems(problems: Sequence[Problem], source: str, *, next_step: str = "") -> None:
    """Raise for `problems` if there are any; `next_step` replaces the usual last line.

    Raises:
        DataError: their number, the first 20 reasons with the places of their rows, and what to do.
    """
    if not problems:
        return
    count = len(problems)
    lines = [f"{source}: {count} row{'s' * (count > 1)} cannot be used:"]
    alike: dict[tuple[str, str], list[Problem]] = {}
    for problem in problems:
        alike.setdefault((problem.where.file, problem.reason), []).append(problem)
    groups = list(alike.values())
    lines += [f"  {_with_places(group)}" for group in groups[:MAX_LISTED]]
    if rest := sum(map(len, groups[MAX_LISTED:])):
        lines.append(f"  and {rest} more")
    lines.append(next_step or _conversion_step(problems) or BadRows.next_step)
    raise DataError("\n".join(lines), code="bad-row")


def _with_places(problems: Sequence[Problem]) -> str:
    """The first problem, with the lines of the others of its file and reason."""
    first, *others = problems
    if not others:
        return str(first)
    lines = ", ".join(str(problem.where.line) for problem in others[:MAX_PLACES])
    noun = "line" if len(others) == 1 else "lines"
    return f"{first} (also {noun} {lines}{', …' if len(others) > MAX_PLACES else ''})"


def _conversion_step(problems: Sequence[Problem]) -> str:
    """The command that converts the first of them; "" where its format is unknown."""
    first = problems[0] if problems else None
    name = guess_format(first.row) if first else None
    if first is None or name is None:
        return ""
    if (file := first.where.file) == IN_MEMORY:
        file = "FILE.jsonl"
        step = f"They look like `{name}` rows; write them to a file and convert it first"
    else:
        step = f"They look like `{name}` rows; convert them first"
    return f"{step}: rlhf data convert {file} --from {name} --output ROWS.jsonl"


def _write_rejects(path: Path, problems: Sequence[Problem]) -> None:
    """Write all bad rows of this run, each once, over the list of an earlier run in the folder.

    The mode is 0600: labels among them have the annotators' names.
    """
    lines = dict.fromkeys(_reject_line(problem) for problem in problems)
    write_atomically(path, "".join(f"{line}\n" for line in lines), private=True)


def _reject_line(problem: Problem) -> str:
    row = {
        "file": problem.where.file,
        "line": problem.where.line,
        "reason": problem.reason,
        "row": problem.row,
    }
    return json.dumps(row, default=str)
