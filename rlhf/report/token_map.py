"""samples/tokens.jsonl as heat maps: tokens coloured by a value, all values in the tooltip."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rlhf.report.read import Row
from rlhf.report.samples import plain

MAX_RESPONSES, MAX_TOKENS = 6, 160
MEASURES = {
    "advantages": "advantage",
    "kl": "KL from the reference",
    "values": "value",
    "logprobs": "log-probability",
}
LEVELS = 4  # shades on either side of 0


@dataclass(frozen=True, kw_only=True)
class HeatToken:
    """A token with its shade for one value and its tooltip."""

    text: str
    shade: str  # CSS class: h-4 … h0 … h4
    tip: str


@dataclass(frozen=True, kw_only=True)
class HeatMap:
    """One response, coloured by each of its values."""

    prompt: str
    kind: str
    score: str
    rows: Sequence[tuple[str, Sequence[HeatToken]]]  # name of the value, tokens


def heat_maps(rows: Sequence[Row]) -> list[HeatMap]:
    """The heat maps of these rows; rows of another form are left out."""
    maps = [_heat_map(row) for row in rows if _has_values(row)]
    return maps[:MAX_RESPONSES]


def shade(value: float, most: float) -> str:
    """The CSS class of a value between -most and most; h0 in the middle."""
    if not math.isfinite(value) or most <= 0:
        return "h0"
    level = round(max(-1.0, min(1.0, value / most)) * LEVELS)
    return f"h{level}".replace("-", "m")


def _heat_map(row: Row) -> HeatMap:
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
        # Log-probabilities are never above 0 and values have no natural zero: centre both.
        middle = sum(values) / len(values) if key in ("values", "logprobs") and values else 0.0
        most = max((abs(value - middle) for value in values), default=0.0)
        tokens = [
            HeatToken(text=text, shade=shade(value - middle, most), tip=tip)
            for text, value, tip in zip(texts, values, tips, strict=False)
        ]
        rows.append((name, tokens))
    return HeatMap(
        prompt=plain(row.get("prompt", "")),
        kind=str(row.get("kind", "")),
        score=plain(row.get("score", "")),
        rows=rows,
    )


def _has_values(row: Row) -> bool:
    tokens = row.get("tokens")
    if not isinstance(tokens, list) or not tokens:
        return False
    measured = [row[key] for key in MEASURES if key in row]
    return bool(measured) and all(
        isinstance(values, list)
        and len(values) == len(tokens)
        and all(isinstance(value, int | float) for value in values)
        for values in measured
    )


def _number(values: Sequence[float], index: int) -> str:
    return f"{values[index]:.3g}"
