"""Annotators as judges: blinded pairs in a label store, with gold items and hidden repeats."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from rlhf.evaluation.core.metric_spec import MetricSpec
from rlhf.evaluation.core.records import RECORDS_FILE, Record
from rlhf.evaluation.core.results import ANNOTATORS, Result, result_of
from rlhf.evaluation.core.study_config import HUMAN, HUMAN_LLM, StudyConfig
from rlhf.evaluation.judges.human_llm import log_combined
from rlhf.evaluation.judges.human_results import KnownWins, sampled_results
from rlhf.evaluation.judges.human_sample import HumanSample, candidate_of, draw_sample
from rlhf.evaluation.judges.judge_bias import judge_biases, judge_models
from rlhf.evaluation.judges.pairwise import Pair, PairOutcome, Verdict
from rlhf.evaluation.judges.pairwise_metrics import (
    health_results,
    pairs_to_judge,
    pairwise_metrics,
)
from rlhf.evaluation.judges.votes import Vote, read_groups, vote_results
from rlhf.evaluation.stats.bootstrap import Estimate
from rlhf.evaluation.stats.bradley_terry import bradley_terry_of_wins
from rlhf.labels.importing import import_file
from rlhf.labels.model_results import games_of, win_tables
from rlhf.labels.records import LABEL, order_of
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
    votes: Sequence[Vote] = ()  # in the order in which they came


def collect_human_labels(
    folder: Path,
    rows: Sequence[PromptRow],
    records: Sequence[Record],
    spec: MetricSpec,
    study: StudyConfig,
    log: Callable[[str], None],
    verdicts: Sequence[Verdict] = (),
) -> list[Result]:
    """Add the pairs to the label store; the metrics of the labels that are already in it.

    Args:
        folder: of the evaluation; the default place of the store.
        rows: the evaluated prompts.
        records: the responses.
        spec: models and baseline.
        study: its keys judge, human_store, human_gold, human_budget, annotator_groups, llm_judge
            and pairs_per_prompt.
        log: called with the progress and the commands to run next.
        verdicts: of the LLM judge on the same pairs; empty without one.

    Raises:
        DataError: gold rows or a file of groups that cannot be used.
        ConfigError: the store has the pairs without probabilities, and human_budget is set.
    """
    if not study.judge:
        return []
    pairs = pairs_to_judge(records, spec, per_prompt=study.pairs_per_prompt, baselines=False)
    groups = read_groups(study.annotator_groups) if study.annotator_groups else {}
    judge_wins = {verdict.pair: verdict.win for verdict in verdicts}
    path = study.human_store or str(folder / "human.sqlite")
    with LabelStore(path, create=True) as store:
        sample = _sample(store, pairs, rows, judge_wins, study, spec)
        add_pairs(store, sample.pairs, rows, study.human_gold, sample.probabilities)
        human = read_verdicts(store, sample.pairs, rows)
        strengths = human_strengths(store, spec)
    _log_progress(human, path, folder, study, log)
    if not human.num_labelled:
        return []
    results = health_results(human.health, ANNOTATORS, HUMAN)
    if study.human_budget is None:
        results = [*pairwise_metrics(human.outcomes, HUMAN, spec), *strengths, *results]
    results += vote_results(human.votes, groups, spec)
    is_combined = HUMAN_LLM in study.judge
    if study.human_budget is None and not is_combined:
        return results
    wins = {one.pair: one.win for one in human.outcomes}
    ties = {pair: 0.5 for pair in pairs if pair.ours == pair.theirs}
    known = KnownWins(judge=judge_wins if is_combined else {}, people=ties | wins)
    combined = sampled_results(pairs, known, _order(human.votes), sample, spec)
    log_combined(combined, log, len(rows))
    if study.human_budget is None:  # people alone are among the pairwise metrics
        combined = [one for one in combined if one.judge != HUMAN]
    biases = judge_biases(verdicts, human.outcomes, sample, spec, judge_models(study, spec))
    return [*combined, *results, *biases]


def _sample(
    store: LabelStore,
    pairs: Sequence[Pair],
    rows: Sequence[PromptRow],
    judge_wins: Mapping[Pair, float],
    study: StudyConfig,
    spec: MetricSpec,
) -> HumanSample:
    """All pairs, or those of as many prompts as human_budget allows."""
    if study.human_budget is None:
        return HumanSample(pairs=pairs, probabilities={})
    wins = [judge_wins[pair] for pair in pairs] if judge_wins else None
    return draw_sample(store, pairs, rows, wins, budget=study.human_budget, seed=spec.seed)


def _order(votes: Sequence[Vote]) -> list[Pair]:
    """The pairs in the order of their first labels."""
    return list(dict.fromkeys(vote.pair for vote in votes))


def _log_progress(
    human: HumanVerdicts, path: str, folder: Path, study: StudyConfig, log: Callable[[str], None]
) -> None:
    total = human.num_labelled + human.num_unlabelled
    log(f"annotators: {human.num_labelled} of {total} pairs are labelled in {path}")
    if human.num_unlabelled:
        gold = ("--gold_rate", "0.1") if study.human_gold else ()
        serve = ("label", "serve", "--store", path, *gold, "--repeat_rate", "0.1")
        log(f"to label them: {rlhf_command(*serve, '--annotators', 'NAME')}")
        log(
            f"then run the same command again with --answers {folder / RECORDS_FILE} "
            "--resume_from_checkpoint latest"
        )


def add_pairs(
    store: LabelStore,
    pairs: Sequence[Pair],
    rows: Sequence[PromptRow],
    gold: str | None,
    probabilities: Mapping[int, float] | None = None,
) -> None:
    """Add the pairs as items; the label page shows them in random order and without model names.

    Pairs of equal texts are left out. Items that are already in the store stay unchanged.

    Args:
        store: where the items go.
        pairs: the pairs to compare.
        rows: the evaluated prompts.
        gold: a file of gold rankings, mixed in to measure the annotators.
        probabilities: of the prompts, if they were drawn.

    Raises:
        DataError: gold rows that cannot be used.
    """
    different = [pair for pair in pairs if pair.ours != pair.theirs]
    store.add_candidates([candidate_of(pair, rows, probabilities or {}) for pair in different])
    if gold is not None:
        import_file(store, gold, as_gold=True)


def read_verdicts(
    store: LabelStore, pairs: Sequence[Pair], rows: Sequence[PromptRow]
) -> HumanVerdicts:
    """The win of each labelled pair: the mean over its annotators, ties counting ½."""
    different = [pair for pair in pairs if pair.ours != pair.theirs]
    ids = store.add_candidates([candidate_of(pair, rows, {}) for pair in different])
    of_item: dict[int, dict[Pair, None]] = {}  # prompts that occur twice have the same item
    for item, pair in zip(ids, different, strict=True):
        of_item.setdefault(item, {})[pair] = None
    votes = [
        # Ranks are in the item's order of responses, not in the order that was displayed.
        Vote(pair=pair, annotator=label.annotator, win=(1 + order_of(label.ranks, 0, 1)) / 2)
        for label in store.labels()
        if label.purpose == LABEL
        for pair in of_item.get(label.item_id, ())
    ]
    wins: dict[Pair, list[float]] = {}
    for vote in votes:
        wins.setdefault(vote.pair, []).append(vote.win)
    labelled = [
        PairOutcome(pair=pair, win=sum(wins[pair]) / len(wins[pair]))
        for pair in different
        if pair in wins
    ]
    ties = [PairOutcome(pair=pair, win=0.5) for pair in pairs if pair.ours == pair.theirs]
    return HumanVerdicts(
        outcomes=labelled + ties,
        num_labelled=len(labelled),
        num_unlabelled=len(different) - len(labelled),
        health=_health(store),
        votes=votes,
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
