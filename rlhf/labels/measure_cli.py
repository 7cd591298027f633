"""`rlhf label stats | simulate | prioritize | prelabel`."""

import argparse
from pathlib import Path

from rich.console import Console

from rlhf.labels.database import display_location
from rlhf.labels.model_results import games_of, model_results
from rlhf.labels.scores import scores_by_item
from rlhf.labels.stats import label_stats
from rlhf.labels.stats_json import stats_text
from rlhf.labels.stats_table import print_model_results, print_stats
from rlhf.labels.store import LabelStore
from rlhf.manifest import write_atomically
from rlhf.runtime.paths import check_output_file
from rlhf.runtime.printing import counted, plain_console

# Modules that load torch are imported by the command that needs them.


def simulate(args: argparse.Namespace, console: Console) -> None:
    """`rlhf label simulate`: label the items with simulated annotators."""
    from rlhf.labels.simulate import load_annotators, simulate_labels
    from rlhf.rewards.reward import load_reward

    annotators = load_annotators(args.annotators)
    gold = load_reward([args.gold])
    with LabelStore(args.store, create=False) as store:
        count = simulate_labels(store, annotators, gold, seed=args.seed, overlap=args.overlap)
    location = display_location(args.store)
    console.print(
        f"{counted(count, 'new label')} of {counted(len(annotators), 'annotator')} in {location}"
    )


def stats(args: argparse.Namespace) -> None:
    """`rlhf label stats`: counts, agreement, answers, and which model won."""
    if args.output:
        check_output_file(Path(args.output))
    with LabelStore(args.store, create=False) as store:
        scores = scores_by_item(store, args.gold) if args.gold else None
        found = label_stats(store, scores)
        items = {item.id: item for item in store.items()}
        results = model_results(games_of(items, store.labels(), category=args.category))
    tables = plain_console()
    print_stats(tables, found, with_gold=scores is not None)
    print_model_results(tables, results)
    if args.output:
        write_atomically(Path(args.output), stats_text(found, results), private=True)


def prioritize(args: argparse.Namespace, console: Console) -> None:
    """`rlhf label prioritize`: what is labelled first."""
    from rlhf.labels import priorities

    with LabelStore(args.store, create=False) as store:
        count = priorities.prioritize(store, args.reward_model)
    console.print(
        f"priority set for {counted(count, 'item')}; `rlhf label serve --active_floor 0.2` "
        "draws by it"
    )


def prelabel(args: argparse.Namespace, console: Console) -> None:
    """`rlhf label prelabel`: ranks of a reward model for every item."""
    from rlhf.labels.pre_labels import set_pre_labels

    with LabelStore(args.store, create=False) as store:
        scores = scores_by_item(store, args.reward_model)
        set_pre_labels(store, args.reward_model, scores)
    console.print(
        f"{counted(len(scores), 'item')} ranked; `rlhf label serve --pre_label_share 0.8` shows "
        "the ranks after 80% of the labels"
    )
