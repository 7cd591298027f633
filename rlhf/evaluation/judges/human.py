"""Annotators as judges: blinded pairs in a label store, with gold items and hidden repeats."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from rlhf.evaluation.core.metrics import MetricSpec
from rlhf.evaluation.core.records import RECORDS_FILE, Record
from rlhf.evaluation.core.results import ANNOTATORS, Result, result_of
from rlhf.evaluation.core.study_config import StudyConfig
from rlhf.evaluation.judges.pairwise import Pair, PairOutcome
from rlhf.evaluation.judges.pairwise_metrics import (
    HUMAN,
    health_results,
    pairs_to_judge,
    pairwise_metrics,
)
from rlhf.evaluation.stats.bootstrap import Estimate
from rlhf.evaluation.stats.bradley_terry import bradley_terry_of_wins
from rlhf.labels.importing import import_file
from rlhf.labels.model_results import games_of, win_tables
from rlhf.labels.records import LABEL, Candidate, order_of
from rlhf.labels.shares import Share
from rlhf.labels.stats import label_stats
from rlhf.labels.store import LabelStore
from rlhf.ops.accuracy import share_with_interval
from rlhf.runtime.printing import rlhf_command
from rlhf.types import PromptRow


@dataclass(frozen=True, kw_only=True)
class HumanVerdicts:
    """The labels of the annotators so far."""

    outcomes: Sequence[PairOutcome]  # of labelled pairs, and of pairs of equal texts: ties
    num_labelled: int
    num_unlabelled: int
    health: dict[str, Estimate]  # judge_gold, judge_repeat, judge_first


def collect_human_labels(
    folder: Path,
    rows: Sequence[PromptRow],
    records: Sequence[Record],
    spec: MetricSpec,
    study: StudyConfig,
    log: Callable[[str], None],
) -> list[Result]:
    """Add the pairs to the label store; the metrics of the labels that are already in it.

    Args:
        folder: of the evaluation; the default place of the store.
        rows: the evaluated prompts.
        records: the responses.
        spec: models and baseline.
        study: its keys judge, human_store, human_gold and pairs_per_prompt.
        log: called with the progress and the commands to run next.

    Raises:
        DataError: gold rows that cannot be used.
    """
    if HUMAN not in study.judge:
        return []
    pairs = pairs_to_judge(records, spec, per_prompt=study.pairs_per_prompt, baselines=False)
    path = study.human_store or str(folder / "human.sqlite")
    with LabelStore(path, create=True) as store:
        add_pairs(store, pairs, rows, study.human_gold)
        verdicts = read_verdicts(store, pairs, rows)
        strengths = human_strengths(store, spec)
    total = verdicts.num_labelled + verdicts.num_unlabelled
    log(f"annotators: {verdicts.num_labelled} of {total} pairs are labelled in {path}")
    if verdicts.num_unlabelled:
        gold = ("--gold_rate", "0.1") if study.human_gold else ()
        serve = ("label", "serve", "--store", path, *gold, "--repeat_rate", "0.1")
        log(f"to label them: {rlhf_command(*serve, '--annotators', 'NAME')}")
        log(
            f"then run the same command again with --answers {folder / RECORDS_FILE} "
            "--resume_from_checkpoint latest"
        )
    if not verdicts.num_labelled:
        return []
    results = pairwise_metrics(verdicts.outcomes, HUMAN, spec)
    return results + strengths + health_results(verdicts.health, ANNOTATORS, HUMAN)


def add_pairs(
    store: LabelStore, pairs: Sequence[Pair], rows: Sequence[PromptRow], gold: str | None
) -> None:
    """Add the pairs as items; the label page shows them in random order and without model names.

    Pairs of equal texts are left out. Items that are already in the store stay unchanged.

    Args:
        store: where the items go.
        pairs: the pairs to compare.
        rows: the evaluated prompts.
        gold: a file of gold rankings, mixed in to measure the annotators.

    Raises:
        DataError: gold rows that cannot be used.
    """
    store.add_candidates([_candidate(pair, rows) for pair in pairs if pair.ours != pair.theirs])
    if gold is not None:
        import_file(store, gold, as_gold=True)


def read_verdicts(
    store: LabelStore, pairs: Sequence[Pair], rows: Sequence[PromptRow]
) -> HumanVerdicts:
    """The win of each labelled pair: the mean over its annotators, ties counting ½."""
    different = [pair for pair in pairs if pair.ours != pair.theirs]
    ids = store.add_candidates([_candidate(pair, rows) for pair in different])
    wins: dict[int, list[float]] = {}
    for label in store.labels():
        if label.purpose == LABEL:
            # Ranks are in the item's order of responses, not in the order that was displayed.
            wins.setdefault(label.item_id, []).append((1 + order_of(label.ranks, 0, 1)) / 2)
    labelled = [
        PairOutcome(pair=pair, win=sum(wins[item]) / len(wins[item]))
        for pair, item in zip(different, ids, strict=True)
        if item in wins
    ]
    ties = [PairOutcome(pair=pair, win=0.5) for pair in pairs if pair.ours == pair.theirs]
    return HumanVerdicts(
        outcomes=labelled + ties,
        num_labelled=len(labelled),
        num_unlabelled=len(different) - len(labelled),
        health=_health(store),
    )


def human_strengths(store: LabelStore, spec: MetricSpec) -> list[Result]:
    """Bradley-Terry strengths of the evaluated models, from all labels of the store.

    Rankings and chat votes of the same models count too, and games against models that are not
    evaluated; these have no result of their own.
    """
    games = games_of({item.id: item for item in store.items()}, store.labels())
    names = sorted({name for game in games for name in (game.first, game.second)})
    if not games:
        return []
    estimates = bradley_terry_of_wins(win_tables(games, names), **spec.bootstrap)
    return [
        result_of(estimate, "bradley_terry", name, judge=HUMAN)
        for name, estimate in zip(names, estimates, strict=True)
        if name in {*spec.models, spec.baseline}
    ]


def _candidate(pair: Pair, rows: Sequence[PromptRow]) -> Candidate:
    row = rows[pair.prompt_index]
    return Candidate(
        prompt=row.prompt,
        responses=[pair.ours, pair.theirs],
        models=[pair.model, pair.baseline],
        columns={"prompt_index": pair.prompt_index},
    )


def _health(store: LabelStore) -> dict[str, Estimate]:
    """Correct gold items, consistent repeats, decisions for the response that was shown first."""
    annotators = label_stats(store).annotators
    shares = {
        "judge_gold": [one.gold_items for one in annotators],
        "judge_repeat": [one.self_agreement for one in annotators],
        "judge_first": [one.first_shown for one in annotators],
    }
    return {name: _pooled(each) for name, each in shares.items() if sum(one.n for one in each)}


def _pooled(shares: Sequence[Share]) -> Estimate:
    """The share over all cases of all annotators, with Wilson's interval."""
    cases = sum(one.n for one in shares)
    correct = round(sum(one.value * one.n for one in shares if one.n))
    flips = torch.tensor([1.0] * correct + [0.0] * (cases - correct))
    value, low, high = share_with_interval(flips, torch.ones(cases))
    return Estimate(value=value, low=low, high=high, n=cases)
