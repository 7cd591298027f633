"""Which model won: win rates and strengths of models from human rankings, pairs and chat votes.

Every two responses of a label by different models are compared. Each two models of a label make one
game, whose result is the mean over their responses; a tie is half a win. Gold items, repeats and
adjudications make none, and neither do votes that the arena discounts.
"""

import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rlhf.evaluation.stats.bootstrap import Estimate, rate
from rlhf.evaluation.stats.bradley_terry import bradley_terry_of_wins
from rlhf.evaluation.stats.parts import compare_parts
from rlhf.labels.records import (
    LABEL,
    Item,
    StoredLabel,
    is_of_visitor,
    models_of,
    order_of,
)

RESAMPLES = 1000
NO_CATEGORY = ""
VISITORS = "(visitors)"  # annotator of all votes of the arena


@dataclass(frozen=True, kw_only=True)
class Game:
    """One annotator's comparison of two models at one prompt."""

    prompt: str  # identifies the prompt: the cluster of the intervals
    annotator: str
    category: str
    first: str  # names of the models, in alphabetical order
    second: str
    won: float  # by `first`: 1, 0, ½ for a tie; a mean where they have several responses


@dataclass(frozen=True, kw_only=True)
class ModelResult:
    """One model against all others."""

    model: str
    strength: Estimate  # Bradley-Terry, in nats; mean 0 over the models
    win_rate: Estimate  # over its games with any other model
    games: int


@dataclass(frozen=True, kw_only=True)
class ModelResults:
    """The models that annotators compared, strongest first."""

    models: Sequence[ModelResult]
    head_to_head: Mapping[tuple[str, str], Estimate]  # (model, other) -> win rate of the model
    by_category: Mapping[str, Mapping[str, Estimate]]  # category -> model -> win rate
    by_annotator: Mapping[str, Mapping[str, Estimate]]
    q_by_category: Mapping[str, Mapping[str, float]]  # of the difference from the other categories
    q_by_annotator: Mapping[str, Mapping[str, float]]  # see `compare_parts`
    games: int
    prompts: int


def games_of(
    items: Mapping[int, Item], labels: Iterable[StoredLabel], *, category: str = "category"
) -> list[Game]:
    """The games of all ordinary labels whose items name the models.

    category: column of the items with the category of the prompt.
    """
    games = []
    for label in labels:
        item = items[label.item_id]
        models = models_of(item, label)
        if label.purpose != LABEL or not models:
            continue
        prompt = json.dumps(item.prompt, sort_keys=True)
        value = item.columns.get(category)
        for first, second in itertools.combinations(sorted(set(models)), 2):
            games.append(
                Game(
                    prompt=prompt,
                    annotator=VISITORS if is_of_visitor(label) else label.annotator,
                    category=value if isinstance(value, str) else NO_CATEGORY,
                    first=first,
                    second=second,
                    won=_won(models, label.ranks, first, second),
                )
            )
    return games


def _won(models: Sequence[str], ranks: Sequence[int], first: str, second: str) -> float:
    """Share of the pairs of responses that the first model wins; a tie is ½."""
    wins = [
        (1 + order_of(ranks, i, j)) / 2
        for i, one in enumerate(models)
        for j, other in enumerate(models)
        if (one, other) == (first, second)
    ]
    return sum(wins) / len(wins)


def model_results(games: Sequence[Game], *, seed: int = 0) -> ModelResults:
    """Strengths and win rates with 95% intervals, which resample prompts with all their games."""
    names = sorted({name for game in games for name in (game.first, game.second)})
    prompts = len({game.prompt for game in games})
    if not games:
        return ModelResults(
            models=[],
            head_to_head={},
            by_category={},
            by_annotator={},
            q_by_category={},
            q_by_annotator={},
            games=0,
            prompts=0,
        )
    strengths = bradley_terry_of_wins(win_tables(games, names), seed=seed, resamples=RESAMPLES)
    results = [
        ModelResult(
            model=name,
            strength=strength,
            win_rate=_win_rate(games, name, seed),
            games=sum(name in (game.first, game.second) for game in games),
        )
        for name, strength in zip(names, strengths, strict=True)
    ]
    results.sort(key=lambda one: -one.strength.value)
    return ModelResults(
        models=results,
        head_to_head=_head_to_head(games, names, seed),
        by_category=_grouped(games, lambda game: game.category, names, seed),
        by_annotator=_grouped(games, lambda game: game.annotator, names, seed),
        q_by_category=_q_of_groups(games, lambda game: game.category, names),
        q_by_annotator=_q_of_groups(games, lambda game: game.annotator, names),
        games=len(games),
        prompts=prompts,
    )


def win_tables(games: Sequence[Game], names: Sequence[str]) -> NDArray[np.float64]:
    """[prompts, models, models] games won by the row's model."""
    index = {name: number for number, name in enumerate(names)}
    prompts = {
        prompt: number for number, prompt in enumerate(dict.fromkeys(g.prompt for g in games))
    }
    wins = np.zeros((len(prompts), len(names), len(names)))
    for game in games:
        i, j = index[game.first], index[game.second]
        wins[prompts[game.prompt], i, j] += game.won
        wins[prompts[game.prompt], j, i] += 1 - game.won
    return wins


def _win_rate(games: Iterable[Game], model: str, seed: int, other: str | None = None) -> Estimate:
    """Of the model's games, against one other model or all; clustered by prompt."""
    by_prompt: dict[str, list[float]] = {}
    for game in games:
        pair = (game.first, game.second)
        if model in pair and (other is None or other in pair):
            won = game.won if game.first == model else 1 - game.won
            by_prompt.setdefault(game.prompt, []).append(won)
    return rate(list(by_prompt.values()), seed=seed, resamples=RESAMPLES)


def _head_to_head(
    games: Sequence[Game], names: Sequence[str], seed: int
) -> dict[tuple[str, str], Estimate]:
    played = {(game.first, game.second) for game in games}
    results: dict[tuple[str, str], Estimate] = {}
    for one, other in itertools.combinations(names, 2):  # in alphabetical order, as in a game
        if (one, other) in played:
            won = results[one, other] = _win_rate(games, one, seed, other)
            results[other, one] = replace(
                won, value=1 - won.value, low=1 - won.high, high=1 - won.low
            )
    return results


def _grouped(
    games: Sequence[Game], key: Callable[[Game], str], names: Sequence[str], seed: int
) -> dict[str, dict[str, Estimate]]:
    """Group -> model -> win rate in the games of the group."""
    groups: dict[str, list[Game]] = {}
    for game in games:
        groups.setdefault(key(game), []).append(game)
    return {
        group: {
            name: _win_rate(of_group, name, seed)
            for name in names
            if any(name in (game.first, game.second) for game in of_group)
        }
        for group, of_group in sorted(groups.items())
    }


def _q_of_groups(
    games: Sequence[Game], key: Callable[[Game], str], names: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Group -> model -> q of its win rate against that in the other groups, for two prompts on."""
    found: dict[str, dict[str, float]] = {}
    for name in names:
        cases = [
            (game.prompt, key(game), game.won if game.first == name else 1 - game.won)
            for game in games
            if name in (game.first, game.second)
        ]
        for part in compare_parts(cases):
            found.setdefault(part.name, {})[name] = part.q
    return found
