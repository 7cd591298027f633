"""Length-controlled win rates compared with those that AlpacaEval 2 published.

    python -m benchmarks.length_control ../shared/data/judgements/alpacaeval2-20-models.jsonl.gz

With `--clone DIR`, a clone of https://github.com/tatsu-lab/alpaca_eval, its other models are the
test, with the difficulties of the file; and difficulty is estimated from all models together.

Each row of the file is a model: `preference` (of the judge, 0 baseline to 1 model), `length` and
`baseline_length` (characters) at the same prompts in the same order, and the published `win_rate`,
`standard_error` and `length_controlled_winrate` in percent. A model may lack some prompts.
"""

import argparse
import gzip
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.alpaca_eval_clone import clone_rows
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
        return models_of([json.loads(line) for line in lines])


def models_of(rows: Sequence[Mapping[str, Any]]) -> list[Model]:
    """The models of rows with the keys of the file."""
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


def paired_by_place(models: Sequence[Model]) -> Array:
    """`together`, with the difficulties of prompts paired as AlpacaEval's code pairs them.

    It looks a difficulty up by the place of the comparison in the model's own list. A model that
    lacks a prompt gets those of its neighbours after the gap.
    """
    return with_difficulty(models, _difficulty(models))


def with_difficulty(models: Sequence[Model], difficulty: Sequence[float]) -> Array:
    """Length-controlled win rates in percent, difficulties paired as AlpacaEval's code does."""
    return 100 * np.array(
        [_with_difficulty(model, _by_place(model, difficulty)) for model in models]
    )


def _by_place(model: Model, difficulty: Sequence[float]) -> list[float]:
    places = iter(difficulty)
    return [next(places) if group else 0.0 for group in model.wins]


def _difficulty(models: Sequence[Model]) -> list[float]:
    return prompt_difficulty(
        [model.wins for model in models], [model.differences for model in models]
    )


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


def main(path: str, clone: str | None, max_bytes: int) -> None:
    """All comparisons."""
    models = read_models(path)
    if clone is not None:
        compare_clone(models, Path(clone), max_bytes)
        return
    published = _published(models)
    errors = [100 * float(rate(model.wins).se or 0.0) for model in models]
    listed = [model.published["standard_error"] for model in models]
    print(f"{len(models)} models; standard errors of the win rate differ by at most "
          f"{max(abs(a - b) for a, b in zip(errors, listed, strict=True)):.1e} points")  # fmt: skip
    raw = [100 * rate(model.wins).value for model in models]
    compare("raw win rate", raw, published)
    compare("all models together", together(models), published)
    compare("the same, difficulties paired by place", paired_by_place(models), published)
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
    by_place = paired_by_place(models)
    for i in np.argsort(-published):
        print(
            f"    {models[i].name:32} {raw[i]:6.2f} {published[i]:6.2f} {values[i]:6.2f}"
            f" {by_place[i]:6.2f}"
        )


def compare_clone(models: Sequence[Model], clone: Path, max_bytes: int) -> None:
    """Print the error on the clone's other models, and that with difficulty from all models."""
    names = {model.name for model in models}
    everyone = models_of(list(clone_rows(clone, max_bytes)))
    others = [model for model in everyone if model.name not in names]
    published, of_others = _published(models), _published(others)
    raw = [100 * rate(model.wins, resamples=1).value for model in others]
    print(f"{len(others)} other models, {sum(not all(one.wins) for one in others)} lack prompts")
    difficulty = _difficulty(models)
    compare("others: raw win rate", raw, of_others)
    compare(
        "others: difficulty of the file's models", with_difficulty(others, difficulty), of_others
    )
    complete = [model for model in others if all(model.wins)]
    values = with_difficulty(complete, difficulty)
    compare("  those that lack no prompt", values, _published(complete))
    compare("others: one model alone", each_alone(others), of_others)
    joint = _difficulty([*models, *others])
    print(f"difficulty from {len(models) + len(others)} models:")
    compare("models of the file", with_difficulty(models, joint), published)
    compare("others", with_difficulty(others, joint), of_others)


def _published(models: Sequence[Model]) -> Array:
    return np.array([model.published["length_controlled_winrate"] for model in models])


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
            difficulty = _difficulty(part)
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


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Length control against AlpacaEval 2.")
    parser.add_argument("file", help="Models with their comparisons.")
    parser.add_argument("--clone", help="Folder of a clone of AlpacaEval.")
    parser.add_argument(
        "--max_bytes",
        type=int,
        default=1 << 30,
        help="Models of the clone with a larger file of annotations are left out.",
    )
    options = parser.parse_args()
    main(options.file, options.clone, options.max_bytes)
