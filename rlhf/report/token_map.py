"""samples/tokens.jsonl as heat: each token coloured by one number, all numbers on hover."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlhf.report.read import Row
from rlhf.report.samples import plain

MAX_ANSWERS, MAX_TOKENS = 6, 160
MEASURES = {
    "advantages": "advantage",
    "kl": "KL to the reference",
    "values": "value",
    "logprobs": "log-probability",
}
LEVELS = 4  # shades on either side of 0


@dataclass(frozen=True, kw_only=True)
class Token:
    """A token, its shade for one measure, and what hovering says."""

    text: str
    shade: str  # css class: h-4 … h0 … h4
    tip: str


@dataclass(frozen=True, kw_only=True)
class Heat:
    """One answer, coloured by each measure there is."""

    prompt: str
    kind: str
    score: str
    rows: Sequence[tuple[str, Sequence[Token]]]  # name of the measure, its tokens


def heat_maps(rows: Sequence[Row]) -> list[Heat]:
    """The answers that can be drawn; rows of another shape are passed over."""
    found = [_heat(row) for row in rows if _fits(row)]
    return found[:MAX_ANSWERS]


def shade(value: float, most: float) -> str:
    """The css class of a value between -most and most; h0 in the middle."""
    if not math.isfinite(value) or most <= 0:
        return "h0"
    level = round(max(-1.0, min(1.0, value / most)) * LEVELS)
    return f"h{level}".replace("-", "m")


def _heat(row: Row) -> Heat:
    texts = [str(text) for text in row["tokens"]][:MAX_TOKENS]
    tips = [
        "; ".join(
            f"{name} {_number(row[key], index)}" for key, name in MEASURES.items() if key in row
        )
        for index in range(len(texts))
    ]
    rows = []
    for key, name in MEASURES.items():
        if key not in row:
            continue
        values = [float(value) for value in row[key]][: len(texts)]
        # A log-probability is never above 0, and a value has no zero of its own: from their mean.
        middle = sum(values) / len(values) if key in ("values", "logprobs") and values else 0.0
        most = max((abs(value - middle) for value in values), default=0.0)
        tokens = [
            Token(text=text, shade=shade(value - middle, most), tip=tip)
            for text, value, tip in zip(texts, values, tips, strict=False)
        ]
        rows.append((name, tokens))
    return Heat(
        prompt=plain(row.get("prompt", "")),
        kind=str(row.get("kind", "")),
        score=plain(row.get("score", "")),
        rows=rows,
    )


def _fits(row: Mapping[str, Any]) -> bool:
    tokens = row.get("tokens")
    if not isinstance(tokens, list) or not tokens:
        return False
    given = [row[key] for key in MEASURES if key in row]
    return bool(given) and all(
        isinstance(values, list)
        and len(values) == len(tokens)
        and all(isinstance(value, int | float) for value in values)
        for values in given
    )


def _number(values: Sequence[float], index: int) -> str:
    return f"{values[index]:.3g}"
