"""Experiments on reward models from few labels, each for all worlds at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch

from recipes.toy_tasks.drawn.bench import Bench
from recipes.toy_tasks.drawn.labels_by_policy import active_pairs, on_policy_pairs
from recipes.toy_tasks.drawn.network import (
    Params,
    Rows,
    Score,
    implicit_rewards,
    new_networks,
    rewards,
    rows_of,
    summed_rewards,
)
from recipes.toy_tasks.drawn.training import (
    Snapshot,
    Training,
    chosen,
    read_rewards,
    repeated,
    train_on_rankings,
)
from recipes.toy_tasks.drawn.world import Array, Labels, draw_labels

HELD_OUT = 0.1  # share of the labels
BETA = 0.3  # of the implicit reward of DPO
Rewards = Mapping[str, Array]  # learner -> [W, P, M]


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One way to label responses and to train on the labels."""

    pairs: int = 2500  # of the same cost: 2 * pairs responses are read, held-out ones included
    choices: int = 2  # responses of a ranking
    members: int = 1  # networks for each world, which see the labels in another order
    from_sft: bool = True
    reads: Literal["last state", "all states", "log-probs"] = "last state"
    second_half: Literal["random", "active", "on policy"] = "random"
    keys: Training = field(default_factory=Training)
    epochs: Sequence[int] = ()  # epochs of which the weights are measured too


SLOW = Training(learning_rate=1e-3)
EPOCHS_OF = {250: 16.0, 500: 12.0, 1000: 8.0, 5000: 4.0, 10000: 4.0}  # by number of pairs
IMPLICIT, SUM = "implicit reward of DPO", "sum over tokens"
EXPERIMENTS: Mapping[str, Experiment] = {
    "base": Experiment(),
    "ensemble of 3": Experiment(members=3),
    "rankings of 4": Experiment(choices=4),
    "rankings of 8": Experiment(choices=8),
    SUM: Experiment(reads="all states"),
    IMPLICIT: Experiment(reads="log-probs"),
    f"{IMPLICIT}, rankings of 4": Experiment(reads="log-probs", choices=4),
    f"{IMPLICIT}, rankings of 8": Experiment(reads="log-probs", choices=8),
    f"{IMPLICIT}, ensemble of 3": Experiment(reads="log-probs", members=3),
    "13 epochs": Experiment(keys=Training(epochs=13.0), epochs=(1, 2, 4, 8)),
    "one epoch": Experiment(keys=Training(epochs=1.0)),
    "two epochs": Experiment(keys=Training(epochs=2.0)),
    "weight decay 1": Experiment(keys=Training(weight_decay=1.0)),
    "label smoothing 0.1": Experiment(keys=Training(label_smoothing=0.1)),
    "rankings of 4, Plackett-Luce": Experiment(choices=4, keys=Training(loss_type="plackett_luce")),
    "not from SFT": Experiment(from_sft=False),
    "on policy": Experiment(second_half="on policy"),
    "active": Experiment(second_half="active", members=2),
    "learning rate 1e-3": Experiment(keys=SLOW),
    "rankings of 4, learning rate 1e-3": Experiment(choices=4, keys=SLOW),
    f"{SUM}, learning rate 1e-3": Experiment(reads="all states", keys=SLOW),
    f"{IMPLICIT}, learning rate 1e-3": Experiment(reads="log-probs", keys=SLOW),
    **{f"{n} pairs": Experiment(pairs=n, keys=Training(epochs=e)) for n, e in EPOCHS_OF.items()},
    **{
        f"{IMPLICIT}, {n} pairs": Experiment(pairs=n, reads="log-probs", keys=Training(epochs=e))
        for n, e in EPOCHS_OF.items()
    },
}


def run(experiment: Experiment, bench: Bench) -> tuple[Rewards, Mapping[str, Array]]:
    """Rewards of the pools by every learner of the experiment, and held-out losses by world [W]."""
    labels = labels_of(experiment, bench)
    snapshots = train(experiment, bench, labels, seed=1)
    losses = {
        "held-out loss": torch.stack([s.loss for s in snapshots]).amin(dim=0),
        "held-out loss, averaged": torch.stack([s.average_loss for s in snapshots]).amin(dim=0),
        "held-out loss, last": snapshots[-1].loss,
        "best epoch": torch.tensor([snapshots[i].epoch for i in lowest(snapshots, "loss")]),
    }
    return learners(experiment, bench, snapshots), {
        name: values.double().view(-1, experiment.members).mean(dim=1).numpy()
        for name, values in losses.items()
    }


def labels_of(experiment: Experiment, bench: Bench) -> list[Labels]:
    """The labels of each world: random ones, or half of them chosen after a first training."""
    count = 2 * experiment.pairs // experiment.choices
    labels = [draw_labels(w, count, choices=experiment.choices, part=0) for w in bench.worlds]
    if experiment.second_half == "random":
        return labels
    first = [each[: count // 2] for each in labels]
    snapshots = train(experiment, bench, first, seed=2)
    params = best_average(snapshots)
    choose = active_pairs if experiment.second_half == "active" else on_policy_pairs
    second = choose(bench.worlds, params, experiment.members, count - count // 2)
    return [
        Labels(
            prompts=np.concatenate([one.prompts, other.prompts]),
            responses=np.concatenate([one.responses, other.responses]),
        )
        for one, other in zip(first, second, strict=True)
    ]


def train(
    experiment: Experiment, bench: Bench, labels: Sequence[Labels], *, seed: int
) -> list[Snapshot]:
    """Train the networks of all worlds; every tenth label is held out."""
    step = round(1 / HELD_OUT)
    is_held_out = np.arange(len(labels[0])) % step == step - 1
    train_rows, held_out_rows = (
        rows_of(
            np.stack([each.prompts[rows] for each in labels])[:, :, None].repeat(
                experiment.choices, axis=2
            ),
            np.stack([each.responses[rows] for each in labels]),
        )
        for rows in (~is_held_out, is_held_out)
    )
    params = repeated(bench.sft, experiment.members)
    if not experiment.from_sft:
        params = new_networks(len(params["head"]), seed=7)
    return train_on_rankings(
        params,
        of_members(train_rows, experiment.members),
        of_members(held_out_rows, experiment.members),
        experiment.keys,
        seed=seed,
        score=score_of(experiment, bench),
    )


def score_of(experiment: Experiment, bench: Bench) -> Score:
    """How networks of the experiment, [W * members], score rows."""
    if experiment.reads == "log-probs":
        return implicit_rewards(repeated(bench.sft, experiment.members), BETA)
    return summed_rewards if experiment.reads == "all states" else rewards


def of_members(rows: Rows, members: int) -> Rows:
    """Rows [W, ...] as [W * members, ...]."""
    return Rows(
        ids=rows.ids.repeat_interleave(members, dim=0),
        ends=rows.ends.repeat_interleave(members, dim=0),
    )


def lowest(snapshots: Sequence[Snapshot], name: Literal["loss", "average_loss"]) -> list[int]:
    """For each network the index of its snapshot with the lowest held-out loss."""
    indices: list[int] = torch.stack([getattr(s, name) for s in snapshots]).argmin(dim=0).tolist()
    return indices


def best_average(snapshots: Sequence[Snapshot]) -> Params:
    """The averaged weights with the lowest held-out loss of each network."""
    index = torch.tensor(lowest(snapshots, "average_loss"))
    return chosen([snapshot.average for snapshot in snapshots], index)


def learners(
    experiment: Experiment, bench: Bench, snapshots: Sequence[Snapshot]
) -> dict[str, Array]:
    """Rewards [W, P, M] of the pools by each way to choose and to combine weights."""
    best = chosen([s.weights for s in snapshots], torch.tensor(lowest(snapshots, "loss")))
    average = best_average(snapshots)
    weights = {"last": snapshots[-1].weights, "best": best, "best average": average}
    for epoch in experiment.epochs:
        near = min(snapshots, key=lambda s: abs(s.epoch - epoch))
        weights[f"after {epoch} epochs"] = near.weights
    by_member = {
        name: member_rewards(bench, params, experiment) for name, params in weights.items()
    }
    found = {name: values[:, 0] for name, values in by_member.items()}
    if experiment.members > 1:
        found |= combined("last", by_member["last"], experiment.members)
        found |= combined("best average", by_member["best average"], experiment.members)
        soup = {
            name: weight.view(-1, experiment.members, *weight.shape[1:]).mean(dim=1)
            for name, weight in snapshots[-1].weights.items()
        }
        found["last, weights averaged"] = member_rewards(
            bench, soup, replace(experiment, members=1)
        )[:, 0]
    return found


def member_rewards(bench: Bench, params: Params, experiment: Experiment) -> Array:
    """float [W, members, P, M]: rewards of the pools by each network."""
    rows = of_members(bench.rows, experiment.members)
    values = read_rewards(params, rows, score_of(experiment, bench))
    shape = (len(bench.worlds), experiment.members, *bench.pools[0].gold.shape)
    return values.double().view(shape).numpy()


def combined(name: str, by_member: Array, members: int) -> dict[str, Array]:
    """The mean of two members and of all, and the mean minus the deviation over all."""
    centred = by_member - by_member.mean(axis=(2, 3), keepdims=True)
    found = {f"{name}, mean of {members}": centred.mean(axis=1)}
    if members > 2:
        found[f"{name}, mean of 2"] = centred[:, :2].mean(axis=1)
    found[f"{name}, mean minus deviation of {members}"] = centred.mean(axis=1) - centred.std(axis=1)
    return found
