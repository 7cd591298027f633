"""The stage between SFT and reward model: sample responses, rank them, split by prompt."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from rlhf.data.rows.bad_rows import REJECTS, BadRows
from rlhf.data.rows.load import load_rankings
from rlhf.data.rows.split import split_by_prompt
from rlhf.labels.stats import label_stats
from rlhf.labels.stats_json import stats_text
from rlhf.labels.store import LabelStore
from rlhf.manifest import write_atomically
from rlhf.pipeline.commands import as_arguments, run_module
from rlhf.pipeline.config import (
    SAMPLED,
    SIMULATED,
    WEB,
    AlignConfig,
    chat_keys,
    drops_bad_rows,
    score_columns,
)
from rlhf.pipeline.fingerprint import fingerprint
from rlhf.pipeline.runner import Stage, Step
from rlhf.runtime.distributed import print_once
from rlhf.runtime.run_folder import RunConfig
from rlhf.types import Ranking

STORE, STATS = "labels.sqlite", "stats.json"
CANDIDATES, CHOSEN = "candidates.jsonl", "chosen.jsonl"
TRAIN, HELD_OUT = "rankings_train.jsonl", "rankings_heldout.jsonl"
# Keys and files that determine which responses are ranked.
SAMPLING = ("num_responses", "sample_temperature", "sample_max_new_tokens", "label_overlap")
SOURCES = {
    SIMULATED: ("ranking_prompts", "annotators", "gold"),
    WEB: ("ranking_prompts", "guideline"),
}


def label_stage(run_config: RunConfig, config: AlignConfig) -> Stage:
    """SFT model and prompts, or a file of rankings -> labels/rankings_{train,heldout}.jsonl."""
    folder = Path(run_config.output_dir) / "labels"
    sampled = config.labels in SAMPLED
    keys = ("labels", "label_eval_fraction", *(SAMPLING if sampled else ()))
    settings = {"seed": run_config.seed, **{key: getattr(config, key) for key in keys}}
    sources: dict[str, object] = {"labels": config.labels}
    if sampled:
        sources |= {key: getattr(config, key) for key in SOURCES[config.labels]}
        sources |= {"model": str(folder.parent / "sft"), "chat_template": config.chat_template}
        settings |= chat_keys(config)
    if not sampled and score_columns(config) != "reject":
        settings["score_columns"] = score_columns(config)
    rankings = str(folder / "rankings.jsonl") if sampled else config.labels
    split_step = Step(name="split", run=lambda: split(rankings, folder, run_config, config))
    policy = folder.parent / "sft"
    label_steps = steps_to_label(folder, rankings, run_config, config, policy) if sampled else []
    return Stage(
        name="labels",
        folder=folder,
        inputs=fingerprint(settings, sources),
        steps=[*label_steps, split_step],
        makes=(TRAIN, HELD_OUT),
    )


def steps_to_label(
    folder: Path,
    rankings: str,
    run_config: RunConfig,
    config: AlignConfig,
    policy: Path,
    choice: Step | None = None,
) -> list[Step]:
    """Steps that sample responses of a policy and have them ranked in a label store.

    Args:
        folder: of the stage.
        rankings: the file to write.
        run_config: the seed of sampling and of simulated annotators.
        config: prompts, sampling and annotators.
        policy: the model that responds.
        choice: a step that writes the candidates to rank into chosen.jsonl; None ranks all.
    """
    candidates, store = folder / CANDIDATES, folder / STORE
    sample = {
        "model": policy,
        "prompts": config.ranking_prompts,
        "num_responses": config.num_responses,
        "temperature": config.sample_temperature,
        "max_new_tokens": config.sample_max_new_tokens,
        "batch_size": config.sample_batch_size,
        "seed": run_config.seed,
        "output": candidates,
        **chat_keys(config),
    }
    drop = ["--drop_bad_rows"] if config.drop_bad_rows else []
    to_store = ["--store", str(store)]
    guideline = as_arguments({"guideline": config.guideline})
    ranked = candidates if choice is None else folder / CHOSEN
    add = ["label", "import", str(ranked), *to_store, *guideline]
    return [
        _command("sample", ["sample", *as_arguments(sample), *drop]),
        *([] if choice is None else [choice]),
        _command("import", add, leftovers=[store]),
        _command("rank", ["label", *rank_arguments(run_config, config), *to_store]),
        _command("export", ["label", "export", *to_store, "--output", rankings]),
    ]


def rank_arguments(run_config: RunConfig, config: AlignConfig) -> list[str]:
    """The arguments of `rlhf label` that rank the responses."""
    shared = {"overlap": config.label_overlap, "seed": run_config.seed}
    if config.labels == WEB:
        page = {"port": config.label_port, "annotators": config.label_names}
        quota = {"until": "all" if config.label_quota is None else config.label_quota}
        return ["serve", "--new_admin_token", *as_arguments({**shared, **page, **quota})]
    judges = {"annotators": config.annotators, "gold": config.gold}
    return ["simulate", *as_arguments({**judges, **shared})]


def split(source: str, folder: Path, run_config: RunConfig, config: AlignConfig) -> int:
    """Hold out the rankings of some prompts from the training of the reward model."""
    drop = drops_bad_rows(config, "reward_model")
    with BadRows(drop=drop, reject_file=folder / REJECTS) as bad_rows:
        scores = score_columns(config)
        rows = load_rankings(source, bad_rows=bad_rows, keep_tied=True, scores=scores).rows
    train, heldout = split_by_prompt(rows, config.label_eval_fraction, run_config.seed)
    write_rows(folder / TRAIN, rows_of_rankings(train))
    write_rows(folder / HELD_OUT, rows_of_rankings(heldout))
    print_once(f"labels: {len(train)} rankings to train on, {len(heldout)} held out")
    write_stats(folder)
    return 0


def write_stats(folder: Path) -> None:
    """Write `stats.json` for the report: labels per annotator, agreement, biases."""
    store_path = folder / STORE
    if store_path.is_file():
        with LabelStore(store_path, create=False) as store:
            text = stats_text(label_stats(store))
        write_atomically(folder / STATS, text, private=True)


def _command(name: str, arguments: Sequence[str], leftovers: Sequence[Path] = ()) -> Step:
    """A step that runs a command of `rlhf`."""
    return Step(name=name, run=lambda: run_module("rlhf.cli", arguments), leftovers=leftovers)


def rows_of_rankings(rankings: Sequence[Ranking]) -> list[dict[str, object]]:
    """One row per ranking, with its prompt explicit and without a weight."""
    rows = [asdict(ranking) for ranking in rankings]
    for row in rows:
        del row["implicit_prompt"], row["weight"]
    return rows


def write_rows(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write one JSON line per row, with mode 0600: rankings have the annotators' names."""
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    write_atomically(path, "".join(f"{line}\n" for line in lines), private=True)
