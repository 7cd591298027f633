"""Responses with a thumb up or down: of rows with a label, or of rankings."""

from collections.abc import Callable

from rlhf.data.files.read import Data, Unreadable, read_rows
from rlhf.data.rows.bad_rows import BadRows
from rlhf.data.rows.length_filter import response_fits
from rlhf.data.rows.load import Loaded, load_rankings, load_rows
from rlhf.data.rows.parse import parse_thumb
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.manifest import DataUse
from rlhf.types import Ranking, Thumb


def load_thumbs(
    source: Data,
    *,
    role: str = "train",
    chat: ChatTokenizer | None = None,
    max_length: int | None = None,
    bad_rows: BadRows | None = None,
) -> Loaded[Thumb]:
    """Thumbs of `{"prompt", "completion", "label"}` rows, or of rankings and pairs.

    By the first row of a source. A ranking gives a thumb up to each of its best responses and a
    thumb down to each of its worst ones; those in between are left out.

    Args:
        source: a file, a hub set or rows in memory, as `read_rows` takes them.
        role: the use's name in the manifest.
        chat: the tokenizer that lengths are counted with.
        max_length: the most tokens of prompt and response together, for a policy.
        bad_rows: collects bad rows; without it they are raised here.

    Raises:
        DataError: see `load_demonstrations`; a row is of another kind than the first one.
    """
    if _has_rankings(source):
        rankings = load_rankings(
            source, role=role, chat=chat, max_length=max_length, bad_rows=bad_rows,
            scores="ignore", for_policy=True,
        )  # fmt: skip
        return _of_rankings(rankings)
    fits: Callable[[Thumb], str | None] | None = None
    if chat is not None:
        reason_of = response_fits(chat, max_length)

        def fits(row: Thumb) -> str | None:
            return reason_of(row.prompt, row.completion, row.tools)

    return load_rows(source, role, parse_thumb, fits, bad_rows)


def thumbs_of(row: Ranking) -> list[Thumb]:
    """Thumbs up of the best responses and thumbs down of the worst; none if all tie."""
    best, worst = min(row.ranks), max(row.ranks)
    if best == worst:
        return []
    return [
        Thumb(prompt=row.prompt, completion=text, desirable=rank == best, cut=cut, tools=row.tools)
        for text, rank, cut in zip(row.responses, row.ranks, row.is_cut, strict=True)
        if rank in (best, worst)
    ]


def _of_rankings(loaded: Loaded[Ranking]) -> Loaded[Thumb]:
    pairs = [
        (thumb, place)
        for row, place in zip(loaded.rows, loaded.places, strict=True)
        for thumb in thumbs_of(row)
    ]
    use = loaded.use
    return Loaded(
        rows=[thumb for thumb, _ in pairs],
        places=[place for _, place in pairs],
        use=DataUse(
            role=use.role, path=use.path, sha256=use.sha256, rows=len(pairs), dropped=use.dropped
        ),
        problems=loaded.problems,
    )


def _has_rankings(source: Data) -> bool:
    readable = (row for _, row in read_rows(source) if not isinstance(row, Unreadable))
    return bool(next(readable, {}).keys() & {"chosen", "rejected", "responses"})
