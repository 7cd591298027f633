"""Typed rows of a source. Every bad row is found before training starts and named by its place."""

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Generic, TypeVar

from rlhf.data.files.memory import with_column
from rlhf.data.files.read import (
    Data,
    Row,
    Unreadable,
    Where,
    read_rows,
    source_name,
    source_sha256,
)
from rlhf.data.rows import parse
from rlhf.data.rows.bad_rows import BadRows, Problem
from rlhf.data.rows.length_filter import (
    demonstration_fits,
    policy_ranking_fits,
    prompt_fits,
    ranking_fits,
    text_fits,
)
from rlhf.data.rows.parse_ranking import ScoreColumns, parse_ranking_with_columns
from rlhf.data.source_formats.formats import CONTEXT_COLUMNS
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.errors import DataError, reject_row
from rlhf.manifest import DataUse
from rlhf.runtime.distributed import is_main_process
from rlhf.runtime.printing import counted
from rlhf.types import Demonstration, PromptRow, Ranking, RatedResponse, SFTRow, Thumb

T = TypeVar("T", Demonstration, PromptRow, Ranking, RatedResponse, Thumb, str, SFTRow)
WithResponse = Demonstration | Ranking | RatedResponse | Thumb
# Columns that a response may depend on, without those that are read.
NOT_READ = CONTEXT_COLUMNS - {"system", "system_prompt", "tools", "images"}
logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Loaded(Generic[T]):
    """The usable rows of a source, their places, and counts of the others."""

    rows: Sequence[T]
    places: Sequence[Where]  # one per row
    use: DataUse  # for the manifest: counts, drops, hash
    problems: Sequence[Problem] = ()  # bad rows, which are dropped or raised (see BadRows)
    unread: Mapping[str, int] = field(default_factory=dict)  # context columns -> rows with text
    undecided: int = 0  # rankings without an order (all tied) that are left out, in use.dropped


def load_demonstrations(
    source: Data,
    *,
    role: str = "train",
    chat: ChatTokenizer | None = None,
    max_length: int | None = None,
    bad_rows: BadRows | None = None,
    train_on: parse.TrainOn = "all",
) -> Loaded[Demonstration]:
    """Demonstrations of a source.

    With `chat`, rows of more tokens than `max_length`, or than the model has positions, are bad
    rows too. The other load functions share these arguments.

    Args:
        source: a file, a hub set or rows in memory, as `read_rows` takes them.
        role: the use's name in the manifest: train, eval, normalization, ….
        chat: the tokenizer that lengths are counted with.
        max_length: the most tokens of prompt and response together.
        bad_rows: collects bad rows, for a run that reads several sources; without it they are
            raised here.
        train_on: which assistant turns of messages are trained on, "all" or the "last" one.

    Raises:
        DataError: there are bad rows, up to 20 of which are named as `file:line reason`; or there
            is no usable row.
    """
    fits = demonstration_fits(chat, max_length) if chat else None
    parse_row = partial(parse.parse_demonstration, train_on=train_on)
    return load_rows(source, role, parse_row, fits, bad_rows)


def load_prompts(
    source: Data,
    *,
    role: str = "prompts",
    chat: ChatTokenizer | None = None,
    max_length: int | None = None,
    response_length: int = 0,
    others: Sequence[ChatTokenizer] = (),
    bad_rows: BadRows | None = None,
) -> Loaded[PromptRow]:
    """Prompts with their other columns.

    Args:
        source: a file, a hub set or rows in memory, as `read_rows` takes them.
        role: the use's name in the manifest.
        chat: the tokenizer that lengths are counted with.
        max_length: the most tokens of the prompt alone.
        response_length: tokens after the prompt for which the model needs positions.
        others: tokenizers of further models that read the same prompts.
        bad_rows: collects bad rows; without it they are raised here.

    Raises:
        DataError: see `load_demonstrations`.
    """
    chats = [*([chat] if chat else []), *others]
    checks = [prompt_fits(each, max_length, response_length) for each in chats]

    def fits(row: PromptRow) -> str | None:
        return next((reason for check in checks if (reason := check(row))), None)

    return load_rows(source, role, parse.parse_prompt, fits, bad_rows)


def load_rankings(
    source: Data,
    *,
    role: str = "train",
    chat: ChatTokenizer | None = None,
    max_length: int | None = None,
    bad_rows: BadRows | None = None,
    keep_tied: bool = False,
    scores: ScoreColumns = "reject",
    for_policy: bool = False,
    weight_column: str | None = None,
    probability_column: str | None = None,
) -> Loaded[Ranking]:
    """Rankings and pairs. Rankings without an order (all tied) are left out and counted.

    Args:
        source: a file, a hub set or rows in memory, as `read_rows` takes them.
        role: the use's name in the manifest.
        chat: the tokenizer that lengths are counted with.
        max_length: the most tokens of the prompt and one response.
        bad_rows: collects bad rows; without it they are raised here.
        keep_tied: leave out only rankings whose responses are all one text, for a loss or a
            report that uses ties.
        scores: the use of the columns score_chosen and score_rejected, see `parse_ranking`.
        for_policy: count the tokens that a policy is trained on instead of those that a reward
            model reads.
        weight_column: the column with each ranking's weight; held-out rankings have none.
        probability_column: the column with the share of people who prefer a response, see
            `pair_probabilities`; rows without it are ordered by their ranks.

    Raises:
        DataError: see `load_demonstrations`.
    """
    fits_for = policy_ranking_fits if for_policy else ranking_fits
    fits = fits_for(chat, max_length) if chat else None
    parse_row = partial(
        parse_ranking_with_columns,
        scores=scores,
        weight_column=weight_column if role == "train" else None,
        probability_column=probability_column,
    )
    loaded = _load(source, role, parse_row, fits)
    if (count := sum(row.implicit_prompt for row in loaded.rows)) and is_main_process():
        logger.warning(
            "%s: the prompt of %s is the common beginning of chosen and rejected",
            loaded.use.path,
            counted(count, "row"),
        )
    is_usable = _has_different_texts if keep_tied else _has_order
    return _settle(_without_undecided(loaded, is_usable), bad_rows)


def load_texts(
    source: Data,
    *,
    role: str = "text",
    chat: ChatTokenizer | None = None,
    max_length: int | None = None,
    bad_rows: BadRows | None = None,
) -> Loaded[str]:
    """Plain texts of `{"text"}` rows; in memory also a list of strings."""
    fits = text_fits(chat, max_length) if chat else None
    return load_rows(with_column(source, "text"), role, parse.parse_text, fits, bad_rows)


def load_rows(
    source: Data,
    role: str,
    parse_row: Callable[[Row], T],
    fits: Callable[[T], str | None] | None,
    bad_rows: BadRows | None,
) -> Loaded[T]:
    """Rows that `parse_row` makes and for which `fits` gives no reason against them.

    Raises:
        DataError: see `load_demonstrations`.
    """
    return _settle(_load(source, role, parse_row, fits), bad_rows)


def _load(
    source: Data, role: str, parse_row: Callable[[Row], T], fits: Callable[[T], str | None] | None
) -> Loaded[T]:
    rows: list[T] = []
    places: list[Where] = []
    problems: list[Problem] = []
    unread: Counter[str] = Counter()
    for where, row in read_rows(source):
        try:
            if isinstance(row, Unreadable):
                reject_row(row.reason)
            parsed = parse_row(row)
            if fits is not None and (reason := fits(parsed)):
                reject_row(reason)
        except DataError as error:
            raw = row.raw if isinstance(row, Unreadable) else row
            problems.append(Problem(where, str(error), raw))
        else:
            rows.append(parsed)
            places.append(where)
            if isinstance(row, dict) and isinstance(parsed, WithResponse):
                unread.update(key for key in row if key in NOT_READ and row[key])
    use = DataUse(role=role, path=source_name(source), sha256=source_sha256(source), rows=len(rows))
    return Loaded(rows=rows, places=places, use=use, problems=problems, unread=unread)


def _without_undecided(
    loaded: Loaded[Ranking], is_usable: Callable[[Ranking], bool]
) -> Loaded[Ranking]:
    pairs = zip(loaded.rows, loaded.places, strict=True)
    usable = [(row, place) for row, place in pairs if is_usable(row)]
    return replace(
        loaded,
        rows=[row for row, _ in usable],
        places=[place for _, place in usable],
        use=replace(loaded.use, rows=len(usable)),
        undecided=len(loaded.rows) - len(usable),
    )


def _has_order(ranking: Ranking) -> bool:
    """Whether some response ranks above another; their texts differ then."""
    return len(set(ranking.ranks)) > 1


def _has_different_texts(ranking: Ranking) -> bool:
    """Whether there are two texts to compare; space around them does not count."""
    return len({text.strip() for text in ranking.responses}) > 1


def _settle(loaded: Loaded[T], bad_rows: BadRows | None) -> Loaded[T]:
    """`loaded` with its drops counted and its bad rows in `bad_rows`.

    Raises:
        DataError: there is no usable row, or without `bad_rows` there are bad ones.
    """
    if bad_rows is None:
        with BadRows() as bad_rows_of_source:
            return _settle(loaded, bad_rows_of_source)
    if not loaded.rows and (bad_rows.drop or not loaded.problems):
        raise _no_rows_error(loaded)
    usable = len(loaded.rows) + loaded.undecided
    bad_rows.take(loaded.use.path, loaded.problems, usable=usable)
    if loaded.undecided and is_main_process():
        logger.warning(
            "%s: left out %s whose responses all tie, or are one text",
            loaded.use.path,
            counted(loaded.undecided, "ranking"),
        )
    for column, count in loaded.unread.items() if is_main_process() else []:
        logger.warning(
            "%s: the column %s of %s is not read; a response that depends on it needs it in the "
            "prompt",
            loaded.use.path,
            column,
            counted(count, "row"),
        )
    dropped = len(loaded.problems) + loaded.undecided
    return replace(loaded, use=replace(loaded.use, dropped=dropped))


def _no_rows_error(loaded: Loaded[T]) -> DataError:
    bad, tied = len(loaded.problems), loaded.undecided
    why = f" ({bad} bad, {tied} without an order)" if bad or tied else ""
    first = f"; the first: {loaded.problems[0]}" if bad else ""
    return DataError(f"{loaded.use.path} has no usable row{why}{first}.", code="no-rows")
