"""The label stage of a later round: the last policy responds, people rank, votes of chats join."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from rlhf.data.rows.bad_rows import REJECTS, BadRows
from rlhf.data.rows.load import load_rankings
from rlhf.manifest import write_atomically
from rlhf.pipeline.chat_votes import ROWS as VOTE_ROWS
from rlhf.pipeline.chat_votes import last_event_before, read_votes, votes_store, write_votes
from rlhf.pipeline.commands import run_module
from rlhf.pipeline.config import (
    SAMPLED,
    AlignConfig,
    chat_keys,
    drops_bad_rows,
    score_columns,
)
from rlhf.pipeline.fingerprint import fingerprint
from rlhf.pipeline.join_labels import join_labels, read_joined, write_joined
from rlhf.pipeline.label_stage import (
    HELD_OUT,
    SAMPLING,
    SOURCES,
    TRAIN,
    rows_of_rankings,
    steps_to_label,
    write_stats,
)
from rlhf.pipeline.rounds import FIRST, align_folder, round_seed, stage_name
from rlhf.pipeline.rounds_config import VOTES, RoundsConfig
from rlhf.pipeline.runner import Stage, Step
from rlhf.pipeline.stages import policy_folder
from rlhf.runtime.distributed import print_once
from rlhf.runtime.printing import counted
from rlhf.runtime.run_folder import RunConfig


@dataclass(frozen=True, kw_only=True)
class RoundLabels:
    """Everything that the label stage of a round works with."""

    root: Path  # output_dir of the pipeline
    seed: int  # of the round
    config: AlignConfig  # the round's keys
    rounds: RoundsConfig
    number: int  # of the round, from 2

    @property
    def folder(self) -> Path:
        """The folder of the stage."""
        return align_folder(self.root, self.number) / "labels"

    @property
    def last(self) -> Path:
        """The folder of the round before."""
        return align_folder(self.root, self.number - 1)

    @property
    def earlier(self) -> list[str]:
        """Files with the rankings of all rounds before."""
        return [str(self.last / "labels" / name) for name in (TRAIN, HELD_OUT)]

    @property
    def is_sampled(self) -> bool:
        """Whether the last policy's responses are ranked."""
        return self.config.labels in SAMPLED

    @property
    def rankings(self) -> str:
        """The file of the round's own rankings."""
        return str(self.folder / "rankings.jsonl") if self.is_sampled else self.config.labels


def round_label_stage(
    run_config: RunConfig, config: AlignConfig, rounds: RoundsConfig, number: int
) -> Stage:
    """The policy of the last round and prompts, or a file -> round-N/labels/.

    Votes that come after the stage has run are not among its inputs: they belong to the next round.

    Args:
        run_config: of the pipeline.
        config: the round's keys.
        rounds: how prompts are chosen and rankings weighted.
        number: of the round, from 2.
    """
    labels = RoundLabels(
        root=Path(run_config.output_dir),
        seed=round_seed(run_config.seed, number),
        config=config,
        rounds=rounds,
        number=number,
    )
    return Stage(
        name=stage_name("labels", number),
        folder=labels.folder,
        inputs=_inputs(labels),
        steps=[
            *(_ranking_steps(labels, run_config) if labels.is_sampled else []),
            Step(name=VOTES, run=lambda: _take_votes(labels)),
            Step(name="join", run=lambda: _join(labels)),
        ],
        makes=(TRAIN, HELD_OUT),
    )


def _inputs(labels: RoundLabels) -> Mapping[str, object]:
    """What determines the labels, except for people and chats."""
    config, rounds = labels.config, labels.rounds
    settings: dict[str, object] = {
        "seed": labels.seed,
        "label_eval_fraction": config.label_eval_fraction,
        "round_decay": rounds.round_decay,
        "votes": rounds.votes,
    }
    sources: dict[str, object] = {"labels": config.labels, "earlier_labels": labels.earlier}
    if labels.is_sampled:
        policy = policy_folder(labels.root, labels.number - 1)
        settings |= {key: getattr(config, key) for key in SAMPLING} | dict(chat_keys(config))
        sources |= {key: getattr(config, key) for key in SOURCES[config.labels]}
        sources |= {"model": str(policy), "chat_template": config.chat_template}
    elif score_columns(config) != "reject":
        settings["score_columns"] = score_columns(config)
    if labels.is_sampled and rounds.prompts_per_round is not None:
        settings |= {"prompts_per_round": rounds.prompts_per_round, "active_floor": rounds.floor}
        sources["reward_model"] = str(labels.last / "reward_model")
    return fingerprint(settings, sources)


def _ranking_steps(labels: RoundLabels, run_config: RunConfig) -> list[Step]:
    """Steps that sample responses of the last policy, choose among them and have them ranked."""
    choice = None
    if labels.rounds.prompts_per_round is not None:
        choice = Step(name="choose", run=lambda: _choose(labels))
    return steps_to_label(
        labels.folder,
        labels.rankings,
        replace(run_config, seed=labels.seed),
        labels.config,
        policy_folder(labels.root, labels.number - 1),
        choice,
    )


def _choose(labels: RoundLabels) -> int:
    """Choose the prompts to rank, in a process of its own; its exit status."""
    settings = {
        "folder": str(labels.folder),
        "reward_model": str(labels.last / "reward_model"),
        "chat_template": labels.config.chat_template,
        "ranked": labels.earlier,
        "count": labels.rounds.prompts_per_round,
        "floor": labels.rounds.floor,
        "seed": labels.seed,
    }
    path = labels.folder / "choice_settings.json"
    write_atomically(path, json.dumps(settings, indent=2) + "\n")
    return run_module("rlhf.pipeline.active_choice", [f"--settings={path}"])


def _take_votes(labels: RoundLabels) -> int:
    """Write the votes since the last round to the round's folder."""
    root = str(labels.root)
    store = votes_store(root, labels.rounds)
    votes = read_votes(store, last_event_before(root, labels.number))
    write_votes(labels.folder, votes)
    counts = votes.counts
    if counts.votes or counts.thumbs:
        print_once(
            f"votes: {counted(counts.votes, 'vote')} and {counted(counts.thumbs, 'thumb')} of "
            f"chats in {store} since round {labels.number - 1}; "
            f"{counted(counts.unpaired_thumbs, 'thumb')} left out, without one of the other kind "
            "on the same prompt"
        )
    return 0


def _join(labels: RoundLabels) -> int:
    """Join the round's rankings to those of the rounds before it."""
    config, folder = labels.config, labels.folder
    train, held_out = read_joined(labels.last / "labels")
    joined = join_labels(
        train,
        held_out,
        _new_rankings(labels),
        number=labels.number,
        decay=labels.rounds.round_decay,
        fraction=config.label_eval_fraction,
        seed=labels.seed,
    )
    write_joined(folder, joined)
    print_once(
        f"labels: {counted(joined.new, 'new ranking')}; rounds {FIRST} to {labels.number} have "
        f"{len(joined.train)} to train on and {len(joined.held_out)} held out"
    )
    write_stats(folder)
    return 0


def _new_rankings(labels: RoundLabels) -> list[dict[str, object]]:
    """The rankings of the round: by annotators or from a file, and from votes."""
    votes = labels.folder / VOTE_ROWS
    sources = [] if labels.config.labels == VOTES else [labels.rankings]
    sources += [str(votes)] if votes.stat().st_size else []
    rows: list[dict[str, object]] = []
    drop, scores = drops_bad_rows(labels.config, "reward_model"), score_columns(labels.config)
    with BadRows(drop=drop, reject_file=labels.folder / REJECTS) as bad_rows:
        for source in sources:
            loaded = load_rankings(source, bad_rows=bad_rows, keep_tied=True, scores=scores)
            rows += rows_of_rankings(loaded.rows)
    return rows
