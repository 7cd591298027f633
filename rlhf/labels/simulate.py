"""Simulated annotators: they see a gold score through noise and bias.

An annotator's opinion of response i, in points of the gold score:

    gold_weight * gold_i + noise * Gumbel + length_bias * words_i / 10 + position_bias * place_i

where place is 1 for the response shown first and falls evenly to 0 for the last. With Gumbel noise
and no bias P(i above j) = sigmoid((gold_i - gold_j) / noise): Bradley-Terry, and Plackett-Luce
for K responses. Opinions closer than tie_threshold to the best of their tier tie with it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from rlhf.errors import ConfigError
from rlhf.labels import queries
from rlhf.labels.records import Item, Label, normalized_name
from rlhf.labels.schema import OPEN
from rlhf.labels.store import LabelStore
from rlhf.labels.validation import content_sha256

if TYPE_CHECKING:  # it loads torch, and reading the annotators needs none
    from rlhf.rewards.reward import Reward


@dataclass(frozen=True, kw_only=True)
class Annotator:
    """Biases and noise of a simulated annotator, in points of the gold score."""

    name: str
    noise: float = 0.0  # scale of the noise, in points
    length_bias: float = 0.0  # points per ten words
    position_bias: float = 0.0  # points for being shown first
    error_rate: float = 0.0  # share of items ranked at random
    tie_threshold: float = 0.0  # responses closer than this tie, in points
    gold_weight: float = 1.0  # -1 prefers the opposite, 0 ignores the gold score

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", normalized_name(self.name))
        for name in ("noise", "tie_threshold"):
            if getattr(self, name) < 0:
                raise ConfigError(
                    f"annotator {self.name}: {name} is below 0; use 0 or more.", code="bad-value"
                )
        if not 0 <= self.error_rate <= 1:
            raise ConfigError(
                f"annotator {self.name}: error_rate={self.error_rate} is not between 0 and 1.",
                code="bad-value",
            )


def load_annotators(path: str | Path) -> list[Annotator]:
    """The annotators of a YAML file, `annotators: [{name, noise, …}, …]`.

    Raises:
        ConfigError: an unreadable file, unknown or missing keys, values that are not numbers, a
            repeated name.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(
            f"{path} cannot be read as YAML: {error}", code="bad-config-file"
        ) from error
    rows = content.get("annotators") if isinstance(content, dict) else None
    if not isinstance(rows, list) or not rows:
        raise ConfigError(
            f"{path} lists no annotators; write `annotators:` and `- name: …`.",
            code="bad-config-file",
        )
    annotators = [_annotator(path, row) for row in rows]
    names = [annotator.name for annotator in annotators]
    if len(set(names)) < len(names):
        raise ConfigError(
            f"{path} names an annotator twice; give each a name of its own.", code="repeated-key"
        )
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
    """Let `overlap` annotators rank every item; returns the number of new labels.

    The annotators of an item, the order shown and every error depend on the seed, the item's
    content and the annotator alone. An annotator's earlier labels stay unchanged.

    Args:
        store: the store to read items from and to add labels to.
        annotators: the simulated annotators.
        gold: their gold score.
        seed: seed of all draws.
        overlap: number of annotators per item.
        guideline_version: version to record in the labels; 0 without a guideline.

    Raises:
        ConfigError: `overlap` is below 1 or exceeds the number of annotators.
        TrainingError: the gold score failed.
    """
    if not 1 <= overlap <= len(annotators):
        raise ConfigError(
            f"overlap={overlap} is not between 1 and the {len(annotators)} annotators.",
            code="bad-value",
        )
    with store.read() as connection:
        items = queries.items_of(connection, queue=OPEN)
    done = {(label.item_id, label.annotator) for label in store.labels(with_excluded=True)}
    labels = []
    for item, scores in zip(items, gold_scores(items, gold), strict=True):
        rng = random.Random(f"{seed} {content_sha256(item)}")
        for annotator in rng.sample(annotators, overlap):
            if (item.id, annotator.name) not in done:
                own_rng = random.Random(f"{seed} {content_sha256(item)} {annotator.name}")
                labels.append(_rank(item, scores, annotator, own_rng, guideline_version))
    store.submit_many(labels)
    return len(labels)


def gold_scores(items: Sequence[Item], gold: Reward) -> list[list[float]]:
    """The gold score of each response of each item."""
    pairs = [(item, text) for item in items for text in item.responses]
    if not pairs:
        return []
    scores = gold.score(
        [item.prompt for item, _ in pairs],
        [text for _, text in pairs],
        [item.columns for item, _ in pairs],
    ).scores.tolist()
    remaining = iter(scores)
    return [[next(remaining) for _ in item.responses] for item in items]


def ranks_of(opinions: Sequence[float], tie_threshold: float = 0.0) -> list[int]:
    """Ranks from opinions, 1 for the best; a tier of n responses takes n ranks: 1, 2, 2, 4.

    A response joins the tier above it if it is less than `tie_threshold` below that tier's best
    (equal opinions always tie), so that a chain of small steps is not one big tie.
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


def _rank(
    item: Item, scores: Sequence[float], annotator: Annotator, rng: random.Random, version: int
) -> Label:
    count = len(item.responses)
    order = rng.sample(range(count), count)
    texts = [text.strip() for text in item.responses]  # equal texts get one opinion
    noise = {text: _gumbel(rng) for text in dict.fromkeys(texts)}
    if rng.random() < annotator.error_rate:
        opinions = [noise[text] for text in texts]
    else:
        opinions = [
            annotator.gold_weight * scores[texts.index(text)]
            + annotator.noise * noise[text]
            + annotator.length_bias * len(text.split()) / 10
            + annotator.position_bias * (1 - order.index(texts.index(text)) / (count - 1))
            for text in texts
        ]
    return Label(
        item_id=item.id,
        annotator=annotator.name,
        ranks=ranks_of(opinions, annotator.tie_threshold),
        order_shown=order,
        guideline_version=version,
    )


def _gumbel(rng: random.Random) -> float:
    return -math.log(-math.log(rng.random() or 0.5))


def _annotator(path: str | Path, row: object) -> Annotator:
    known = {field.name for field in fields(Annotator)}
    if not isinstance(row, dict) or not isinstance(row.get("name"), str) or not row["name"]:
        raise ConfigError(
            f"{path}: an annotator is a mapping with a name, not {row!r}.", code="missing-key"
        )
    for key, value in row.items():
        if key not in known:
            raise ConfigError(
                f"{path}: {row['name']} has the unknown key {key!r}; use "
                f"{', '.join(sorted(known))}.",
                code="unknown-key",
            )
        if key != "name" and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise ConfigError(
                f"{path}: {key} of {row['name']} is {value!r}, not a number.", code="bad-value"
            )
    return Annotator(**row)
