"""Simulated annotators: they see a gold score through noise and bias, and label like people.

An annotator's opinion of answer i, in points of the gold score:

    gold_weight * gold_i + noise * Gumbel + length_bias * words_i / 10 + position_bias * place_i

where place is 1 for the answer shown first and falls evenly to 0 for the last. With Gumbel noise
and no bias P(i above j) = sigmoid((gold_i - gold_j) / noise): Bradley-Terry, and Plackett-Luce
for K answers. Opinions nearer than tie_threshold to the best of their tier tie with it.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from rlhf.errors import ConfigError
from rlhf.labels.records import Item, Label, person
from rlhf.labels.store import LabelStore
from rlhf.labels.validation import content_sha256
from rlhf.rewards.reward import Reward


@dataclass(frozen=True, kw_only=True)
class Annotator:
    """How a simulated annotator judges. Points are those of the gold score."""

    name: str
    noise: float = 0.0  # scale of the noise, in points: the less, the more careful
    length_bias: float = 0.0  # points for every ten words
    position_bias: float = 0.0  # points for being shown first
    error_rate: float = 0.0  # share of items ranked without looking
    tie_threshold: float = 0.0  # points below which two answers look alike
    gold_weight: float = 1.0  # -1 wants the opposite of the guideline, 0 does not care

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", person(self.name))
        for name in ("noise", "tie_threshold"):
            if getattr(self, name) < 0:
                raise ConfigError(f"annotator {self.name}: {name} is below 0; use 0 or more.")
        if not 0 <= self.error_rate <= 1:
            raise ConfigError(f"annotator {self.name}: error_rate is a share, from 0 to 1.")


def load_annotators(path: str | Path) -> list[Annotator]:
    """The annotators of a YAML file, `annotators: [{name, noise, …}, …]`.

    Raises:
        ConfigError: unreadable, unknown or missing keys, values that are no numbers, a name
            that stands twice.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read as YAML: {error}") from error
    rows = content.get("annotators") if isinstance(content, dict) else None
    if not isinstance(rows, list) or not rows:
        raise ConfigError(f"{path} lists no annotators; write `annotators:` and `- name: …`.")
    annotators = [_annotator(path, row) for row in rows]
    names = [annotator.name for annotator in annotators]
    if len(set(names)) < len(names):
        raise ConfigError(f"{path} names an annotator twice; each needs a name of its own.")
    return annotators


def simulate_labels(
    store: LabelStore,
    annotators: Sequence[Annotator],
    gold: Reward,
    *,
    seed: int,
    overlap: int = 1,
    guideline_version: int = 0,
) -> int:
    """Have `overlap` annotators rank every item; how many labels that added.

    Who labels an item, in which order the answers are shown, and every slip depend on the seed,
    the item's content and the annotator alone. What an annotator has labelled stays as it is.

    Raises:
        ConfigError: more overlap than annotators.
        TrainingError: the gold score failed.
    """
    if not 1 <= overlap <= len(annotators):
        raise ConfigError(f"overlap={overlap} needs from 1 to {len(annotators)} annotators.")
    items = store.items()
    done = {(label.item_id, label.annotator) for label in store.labels()}
    labels = []
    for item, points in zip(items, gold_points(items, gold), strict=True):
        draw = random.Random(f"{seed} {content_sha256(item)}")
        for annotator in draw.sample(annotators, overlap):
            if (item.id, annotator.name) not in done:
                own = random.Random(f"{seed} {content_sha256(item)} {annotator.name}")
                labels.append(_judge(item, points, annotator, own, guideline_version))
    store.submit_many(labels)
    return len(labels)


def gold_points(items: Sequence[Item], gold: Reward) -> list[list[float]]:
    """The gold score of each answer of each item."""
    pairs = [(item, text) for item in items for text in item.responses]
    if not pairs:
        return []
    scores = gold.score(
        [item.prompt for item, _ in pairs],
        [text for _, text in pairs],
        [item.columns for item, _ in pairs],
    ).scores.tolist()
    each = iter(scores)
    return [[next(each) for _ in item.responses] for item in items]


def ranks_of(opinions: Sequence[float], tie_threshold: float = 0.0) -> list[int]:
    """Ranks from opinions, 1 for the best; a tier of n answers takes n ranks: 1, 2, 2, 4.

    An answer joins the tier above it when it is less than `tie_threshold` below that tier's
    best (equal opinions always tie), so that a chain of small steps is not one big tie.
    """
    ranks = [0] * len(opinions)
    order = sorted(range(len(opinions)), key=lambda index: -opinions[index])
    best, rank = math.inf, 0
    for position, index in enumerate(order, 1):
        gap = best - opinions[index]
        if gap > 0 and gap >= tie_threshold:
            best, rank = opinions[index], position
        ranks[index] = rank
    return ranks


def _judge(
    item: Item, points: Sequence[float], who: Annotator, draw: random.Random, version: int
) -> Label:
    count = len(item.responses)
    shown = draw.sample(range(count), count)
    texts = [text.strip() for text in item.responses]  # equal ones are one answer, of one opinion
    noise = {text: _gumbel(draw) for text in dict.fromkeys(texts)}
    if draw.random() < who.error_rate:
        opinions = [noise[text] for text in texts]
    else:
        opinions = [
            who.gold_weight * points[texts.index(text)]
            + who.noise * noise[text]
            + who.length_bias * len(text.split()) / 10
            + who.position_bias * (1 - shown.index(texts.index(text)) / (count - 1))
            for text in texts
        ]
    return Label(
        item_id=item.id,
        annotator=who.name,
        ranks=ranks_of(opinions, who.tie_threshold),
        order_shown=shown,
        guideline_version=version,
    )


def _gumbel(draw: random.Random) -> float:
    return -math.log(-math.log(draw.random() or 0.5))


def _annotator(path: str | Path, row: Any) -> Annotator:
    known = {field.name for field in fields(Annotator)}
    if not isinstance(row, dict) or not isinstance(row.get("name"), str) or not row["name"]:
        raise ConfigError(f"{path}: an annotator is a mapping with a name, not {row!r}.")
    for key, value in row.items():
        if key not in known:
            raise ConfigError(f"{path}: {row['name']} has unknown key {key!r}; use {known}.")
        if key != "name" and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise ConfigError(f"{path}: {key} of {row['name']} is {value!r}, not a number.")
    return Annotator(**row)
