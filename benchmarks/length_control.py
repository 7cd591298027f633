"""Length-controlled win rates compared with those that AlpacaEval 2 published.

    python -m benchmarks.length_control ../shared/data/judgements/alpacaeval2-20-models.jsonl.gz

Each row of the file is a model: `preference` (of the judge, 0 baseline to 1 model), `length` and
`baseline_length` (characters) at the same prompts in the same order, and the published `win_rate`,
`standard_error` and `length_controlled_winrate` in percent. A model may lack some prompts.
"""

import gzip
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlhf.evaluation.stats.bootstrap import rate
from rlhf.evaluation.stats.equal_length import equal_length_win_rate
from rlhf.evaluation.stats.length_control import (
    length_controlled_win_rate,
    length_controlled_win_rates,
)
from rlhf.evaluation.stats.prompt_difficulty import prompt_difficulty

TASTES = (0.6, 0.8, 0.9, 1.0, 1.1, 1.2, 1.4)
SIZES = (2, 5, 8, 10, 15, 18)
DRAWS = 5  # random sets of models of each size
Array = NDArray[np.float64]
Groups = list[list[float]]


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model's comparisons with the baseline, [prompts][0 or 1], and what was published."""

    name: str
    wins: Groups
    differences: Groups
    baseline_lengths: Groups
    published: dict[str, float]


def read_models(path: str) -> list[Model]:
    """The models of a file, with empty groups where a model lacks a prompt.

    A missing prompt is found by the baseline's lengths, which are those of the whole set without
    it.
    """
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    whole = max((row["baseline_length"] for row in rows), key=len)
    return [_model(row, whole) for row in rows]


def _model(row: Mapping[str, Any], whole: Sequence[float]) -> Model:
    groups: tuple[Groups, Groups, Groups] = ([], [], [])
    place = 0
    for expected in whole:
        present = place < len(row["length"]) and row["baseline_length"][place] == expected
        win, length = (row[key][place] if present else 0.0 for key in ("preference", "length"))
        values = (win, length - expected, expected)
        for group, value in zip(groups, values, strict=True):
            group.append([float(value)] if present else [])
        place += present
    if place != len(row["length"]):
        raise ValueError(f"{row['model']}: its prompts are in another order")
    published = {key: float(value) for key, value in row.items() if isinstance(value, float | int)}
    return Model(
        name=str(row["model"]),
        wins=groups[0],
        differences=groups[1],
        baseline_lengths=groups[2],
        published=published,
    )


def together(models: Sequence[Model], taste: float = 1.0) -> Array:
    """Length-controlled win rates in percent, with difficulty from these models."""
    estimates = length_controlled_win_rates(
        [model.wins for model in models],
        [model.differences for model in models],
        [model.baseline_lengths for model in models],
        taste=taste,
        resamples=1,
    )
    return 100 * np.array([estimate.value for estimate in estimates])


def alone(model: Model, *, with_lengths: bool = True, taste: float = 1.0) -> float:
    """The length-controlled win rate of one model in percent."""
    lengths = model.baseline_lengths if with_lengths else None
    estimate = length_controlled_win_rate(
        model.wins, model.differences, lengths, taste=taste, resamples=1
    )
    return 100 * estimate.value


def each_alone(models: Sequence[Model], taste: float = 1.0) -> Array:
    """Length-controlled win rates in percent, of one model at a time."""
    return np.array([alone(model, taste=taste) for model in models])


def compare(name: str, values: Sequence[float] | Array, published: Array) -> None:
    """Print the differences from the published values."""
    difference = np.asarray(values) - published
    ranks = [np.argsort(np.argsort(each)) for each in (values, published)]
    print(
        f"{name:46} mean {difference.mean():+5.2f}  absolute {np.abs(difference).mean():5.2f}  "
        f"largest {np.abs(difference).max():5.2f}  rank correlation "
        f"{np.corrcoef(ranks[0], ranks[1])[0, 1]:.4f}"
    )


def cross_validate(of: Callable[[float], Array], published: Array) -> None:
    """Print the error at each taste, and that of the taste that is best for the other models."""
    errors = np.array([np.abs(of(taste) - published) for taste in TASTES])  # [tastes, models]
    for taste, each in zip(TASTES, errors, strict=True):
        print(f"    taste {taste:.1f}: mean absolute difference {each.mean():.2f}")
    others = (errors.sum(1, keepdims=True) - errors).argmin(0)
    left_out = errors[others, np.arange(errors.shape[1])]
    chosen = ", ".join(f"{TASTES[i]:.1f}" for i in sorted(set(others.tolist())))
    print(f"    chosen on the other models ({chosen}): {left_out.mean():.2f}")


def main(path: str) -> None:
    """All comparisons."""
    models = read_models(path)
    published = np.array([model.published["length_controlled_winrate"] for model in models])
    errors = [100 * float(rate(model.wins).se or 0.0) for model in models]
    listed = [model.published["standard_error"] for model in models]
    print(f"{len(models)} models; standard errors of the win rate differ by at most "
          f"{max(abs(a - b) for a, b in zip(errors, listed, strict=True)):.1e} points")  # fmt: skip
    raw = [100 * rate(model.wins).value for model in models]
    compare("raw win rate", raw, published)
    compare("all models together", together(models), published)
    compare("one model alone", each_alone(models), published)
    without = [alone(model, with_lengths=False) for model in models]
    compare("one model alone, baseline's length unknown", without, published)
    equal = [
        100 * equal_length_win_rate(model.wins, model.differences, resamples=1).value
        for model in models
    ]
    compare("equal_length_win_rate", equal, published)
    print("taste, together:")
    cross_validate(partial(together, models), published)
    print("taste, alone:")
    cross_validate(partial(each_alone, models), published)
    _by_number_of_models(models, published)
    values = together(models)
    for i in np.argsort(-published):
        print(f"    {models[i].name:32} {raw[i]:6.2f} {published[i]:6.2f} {values[i]:6.2f}")
    for model, value in zip(models, published, strict=True):
        if not all(model.wins):
            _misaligned(model, models, value)


def _by_number_of_models(models: Sequence[Model], published: Array) -> None:
    """Print the error with difficulty from random sets of models, also of fewer than ten.

    Models that lack a prompt are left out; next to it is the error of the same models, each alone.
    """
    rng = np.random.default_rng(0)
    complete = [place for place, model in enumerate(models) if all(model.wins)]
    by_itself = np.abs(each_alone(models) - published)
    for size in SIZES:
        errors, alone_errors = [], []
        for _ in range(DRAWS):
            chosen = rng.choice(complete, size, replace=False)
            part = [models[i] for i in chosen]
            difficulty = prompt_difficulty(
                [model.wins for model in part], [model.differences for model in part]
            )
            errors += [
                abs(100 * _with_difficulty(models[i], difficulty) - published[i]) for i in chosen
            ]
            alone_errors += [by_itself[i] for i in chosen]
        print(
            f"difficulty from {size} models: mean absolute difference {np.mean(errors):.2f}, "
            f"{np.mean(alone_errors):.2f} one model at a time"
        )


def _with_difficulty(model: Model, difficulty: Sequence[float]) -> float:
    return length_controlled_win_rate(
        model.wins, model.differences, difficulty=difficulty, resamples=1
    ).value


def _misaligned(model: Model, models: Sequence[Model], published: float) -> None:
    """Print the value if difficulties are taken by place in the list of a model that lacks some."""
    difficulty = prompt_difficulty(
        [one.wins for one in models], [one.differences for one in models]
    )
    places = iter(difficulty)
    shifted = [next(places) if group else 0.0 for group in model.wins]
    print(
        f"{model.name} lacks {model.wins.count([])} prompt: published {published:.2f}, "
        f"{100 * _with_difficulty(model, difficulty):.2f} with each prompt's difficulty, "
        f"{100 * _with_difficulty(model, shifted):.2f} with difficulties shifted by the gap"
    )


if __name__ == "__main__":
    main(sys.argv[1])
