"""Responses with a verdict, or with ratings by axis."""

from collections.abc import Sequence
from functools import partial

from rlhf.data.files.read import Data
from rlhf.data.rows.bad_rows import BadRows
from rlhf.data.rows.length_filter import rated_fits
from rlhf.data.rows.load import Loaded, load_rows
from rlhf.data.rows.parse_rated import parse_outcome, parse_ratings
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.types import RatedResponse


def load_outcomes(
    source: Data,
    *,
    role: str = "train",
    chat: ChatTokenizer | None = None,
    max_length: int | None = None,
    bad_rows: BadRows | None = None,
) -> Loaded[RatedResponse]:
    """Responses with the axis `correct`, 1 or 0, of `{"prompt", "response", "correct"}` rows.

    The arguments are those of `load_demonstrations`.

    Raises:
        DataError: see `load_demonstrations`.
    """
    fits = rated_fits(chat, max_length) if chat else None
    return load_rows(source, role, parse_outcome, fits, bad_rows)


def load_ratings(
    source: Data,
    *,
    role: str = "train",
    chat: ChatTokenizer | None = None,
    max_length: int | None = None,
    bad_rows: BadRows | None = None,
    axes: Sequence[str] | None = None,
) -> Loaded[RatedResponse]:
    """Responses with ratings, of `{"prompt", "response", "ratings"}` rows or a column per axis.

    A row without a rating of any of `axes` is a bad row. The other arguments are those of
    `load_demonstrations`.

    Raises:
        DataError: see `load_demonstrations`.
    """
    fits = rated_fits(chat, max_length) if chat else None
    return load_rows(source, role, partial(parse_ratings, axes=axes), fits, bad_rows)
