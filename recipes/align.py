"""The whole loop: SFT, K answers a prompt, labels, reward model, PPO, evaluation, report.

    accelerate launch --config_file accelerate_config.yaml recipes/align.py \\
        --config recipes/pocket/align.yaml

One process runs the chain and launches each stage on as many as this was launched with. The same
command goes on where an interrupted chain stopped and skips what is done; a stage whose inputs
changed is run again, and the old one kept as NAME.old-N.
"""

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from rlhf.chain.commands import as_words, run_module, stop_on_sigterm
from rlhf.chain.config import SAMPLED, SIMULATED, WEB, AlignConfig, key_values
from rlhf.chain.fingerprint import fingerprint, settings_of
from rlhf.chain.recipe_stage import RecipeStage, recipe_stage
from rlhf.chain.stages import Stage, Step, locked, run_stage
from rlhf.config import as_yaml, parse_config
from rlhf.data.rows import load_demonstrations, load_prompts, load_rankings
from rlhf.data.split import split_by_prompt
from rlhf.errors import ConfigError, TrainingError
from rlhf.evaluation.gate import FAIL, GATE, PASS
from rlhf.evaluation.results import cell_text, find, read_results, row_label
from rlhf.launch import quiet_logs, run
from rlhf.manifest import write_atomically
from rlhf.report.write import write_report
from rlhf.run_folder import CONFIG, RunConfig
from rlhf.types import Ranking

FOLDERS = ("sft", "labels", "reward_model", "ppo", "evaluation")
SUMMARY = ("win_rate", "score", "axis", "kl", "length", "eos_rate", "distinct_2")
console = Console(highlight=False)


def main() -> None:
    """Check everything that can be checked, then stage after stage."""
    run_config, config = parse_config(RunConfig, AlignConfig, description=__doc__)
    if int(os.environ.get("RANK", "0")) != 0:
        return  # each stage starts its own processes
    check(run_config, config)
    folder = Path(run_config.output_dir)
    if run_config.dry_run:
        say(f"would run {', '.join(FOLDERS)} in {folder} on {processes(config)} process(es)")
        return
    stop_on_sigterm()
    with locked(folder):
        if run_config.overwrite:
            for name in FOLDERS:
                shutil.rmtree(folder / name, ignore_errors=True)
        write_atomically(folder / CONFIG, as_yaml(run_config, config))
        run_stage(sft(run_config, config), say)
        run_stage(labels(run_config, config), say)
        run_stage(reward_model(run_config, config), say)
        pass_gate(folder, config)
        run_stage(ppo(run_config, config), say)
        run_stage(evaluation(run_config, config), say)
        report = write_report(folder)
    summarize(folder, report)


def check(run_config: RunConfig, config: AlignConfig) -> None:
    """Read every data file once, so that a bad row of the last stage is not found after the first.

    Raises:
        ConfigError: a key that means nothing here, or a stage's file that cannot be read.
        DataError: a file that is not there, or rows that cannot be used.
    """
    if run_config.resume_from_checkpoint not in (None, "latest"):
        raise ConfigError("resume_from_checkpoint: align.py always goes on; leave it out.")
    quiet_logs()
    load_demonstrations(config.demonstrations, drop_bad_rows=drops(config, "sft"))
    load_prompts(config.ppo_prompts, drop_bad_rows=drops(config, "ppo"))
    load_prompts(config.heldout_prompts, drop_bad_rows=drops(config, "evaluate"))
    if config.labels not in SAMPLED:
        load_rankings(config.labels, drop_bad_rows=drops(config, "reward_model"))
    elif config.ranking_prompts is not None:
        load_prompts(config.ranking_prompts)


def drops(config: AlignConfig, recipe: str) -> bool:
    """Whether that recipe is told to leave bad rows out."""
    name = f"{recipe}_keys"
    words = key_values(name, getattr(config, name))
    return bool(settings_of(getattr(config, f"{recipe}_config"), words).get("drop_bad_rows"))


def sft(run_config: RunConfig, config: AlignConfig) -> Stage:
    """Pretrained model and demonstrations -> sft/."""
    keys = {"model_name_or_path": config.model_name_or_path, "train_data": config.demonstrations}
    return recipe_stage(
        RecipeStage(
            name="sft",
            folder=Path(run_config.output_dir) / "sft",
            recipe="sft",
            config=config.sft_config,
            keys=common(run_config, config) | keys | key_values("sft_keys", config.sft_keys),
            num_processes=processes(config),
            makes=("manifest.json",),
        )
    )


def labels(run_config: RunConfig, config: AlignConfig) -> Stage:
    """SFT model and prompts (or a file of rankings) -> labels/rankings_{train,heldout}.jsonl."""
    folder = Path(run_config.output_dir) / "labels"
    rankings = folder / "rankings.jsonl"
    settings: dict[str, Any] = {
        "seed": run_config.seed,
        "labels": config.labels,
        "label_eval_fraction": config.label_eval_fraction,
    }
    sources: dict[str, Any] = {"labels": config.labels}
    steps = []
    if config.labels in SAMPLED:
        for key in (
            "num_responses",
            "sample_temperature",
            "sample_max_new_tokens",
            "label_overlap",
        ):
            settings[key] = getattr(config, key)
        by = ("annotators", "gold") if config.labels == SIMULATED else ("guideline",)
        for key in ("ranking_prompts", *by):
            sources[key] = getattr(config, key)
        sources["model"] = str(folder.parent / "sft")
        steps = sampled_labels(folder, rankings, run_config, config)
    source = str(rankings) if config.labels in SAMPLED else config.labels
    steps.append(Step(name="split", run=lambda: split(source, folder, run_config, config)))
    return Stage(
        name="labels",
        folder=folder,
        inputs=fingerprint(settings, sources),
        steps=steps,
        makes=("rankings_train.jsonl", "rankings_heldout.jsonl"),
    )


def sampled_labels(
    folder: Path, rankings: Path, run_config: RunConfig, config: AlignConfig
) -> list[Step]:
    """Answers of the SFT model, ranked through the label store, by people or simulated ones."""
    candidates, store = folder / "candidates.jsonl", folder / "labels.sqlite"
    sample = {
        "model": folder.parent / "sft",
        "prompts": config.ranking_prompts,
        "num_responses": config.num_responses,
        "temperature": config.sample_temperature,
        "max_new_tokens": config.sample_max_new_tokens,
        "seed": run_config.seed,
        "output": candidates,
        "chat_template": config.chat_template,
    }
    to_store = ["--store", str(store)]
    guideline = as_words({"guideline": config.guideline})
    commands = {
        "sample": ["sample", *as_words(sample)],
        "import": ["label", "import", str(candidates), *to_store, *guideline],
        "rank": ["label", *rank_words(run_config, config), *to_store],
        "export": ["label", "export", *to_store, "--output", str(rankings)],
    }
    leftovers = {"import": [store]}
    return [
        Step(
            name=name,
            run=lambda words=words: run_module("rlhf.cli", words),  # type: ignore[misc]
            leftovers=leftovers.get(name, []),
        )
        for name, words in commands.items()
    ]


def rank_words(run_config: RunConfig, config: AlignConfig) -> list[str]:
    """The `rlhf label` command by which the answers get their labels."""
    shared = {"overlap": config.label_overlap, "seed": run_config.seed}
    if config.labels == WEB:
        page = {"port": config.label_port, "annotators": config.label_names}
        quota = {"until": "all" if config.label_quota is None else config.label_quota}
        return ["serve", "--new_admin_token", *as_words(shared | page | quota)]
    return [
        "simulate",
        *as_words({"annotators": config.annotators, "gold": config.gold, **shared}),
    ]


def split(source: str, folder: Path, run_config: RunConfig, config: AlignConfig) -> int:
    """Keep the rankings of some prompts from the reward model, to measure it with."""
    loaded = load_rankings(
        source,
        drop_bad_rows=drops(config, "reward_model"),
        reject_file=folder / "rejected.jsonl",
    )
    train, heldout = split_by_prompt(loaded.rows, config.label_eval_fraction, run_config.seed)
    write_rankings(folder / "rankings_train.jsonl", train)
    write_rankings(folder / "rankings_heldout.jsonl", heldout)
    say(f"labels: {len(train)} rankings to train on, {len(heldout)} held out")
    return 0


def write_rankings(path: Path, rankings: Sequence[Ranking]) -> None:
    """One JSON line a ranking."""
    lines = [json.dumps(asdict(ranking), ensure_ascii=False) for ranking in rankings]
    write_atomically(path, "".join(f"{line}\n" for line in lines))


def reward_model(run_config: RunConfig, config: AlignConfig) -> Stage:
    """SFT model and rankings -> reward_model/, with the gate's verdict."""
    root = Path(run_config.output_dir)
    folder, heldout = root / "reward_model", root / "labels" / "rankings_heldout.jsonl"
    keys = {
        "model_name_or_path": str(root / "sft"),
        "train_data": str(root / "labels" / "rankings_train.jsonl"),
        "eval_data": str(heldout),
        "normalization_data": config.demonstrations,
    }
    gate = {
        "reward_model": folder,
        "rankings": heldout,
        "demonstrations": config.demonstrations,
        "output": folder / GATE,
        "seed": run_config.seed,
        "cpu_threads": run_config.cpu_threads,
    }
    words = as_words(gate)
    given = key_values("reward_model_keys", config.reward_model_keys)
    return recipe_stage(
        RecipeStage(
            name="reward_model",
            folder=folder,
            recipe="reward_model",
            config=config.reward_model_config,
            keys=common(run_config, config) | keys | given,
            num_processes=processes(config),
            makes=("manifest.json", GATE),
            after=[Step(name="gate", run=lambda: run_module("rlhf.evaluation.gate", words))],
        )
    )


def pass_gate(folder: Path, config: AlignConfig) -> None:
    """Stop before PPO where the reward model is no guide, unless `skip_gate` is set.

    Raises:
        TrainingError: the gate's verdict is fail.
    """
    gate = json.loads((folder / "reward_model" / GATE).read_text(encoding="utf-8"))
    reasons = "; ".join(gate["reasons"])
    if gate["verdict"] == FAIL and not config.skip_gate:
        raise TrainingError(
            f"the reward model did not pass: {reasons}. Get more or cleaner labels or a larger "
            "model, or go on all the same with --skip_gate."
        )
    if gate["verdict"] != PASS:
        say(f"reward model: {gate['verdict']}: {reasons}")


def ppo(run_config: RunConfig, config: AlignConfig) -> Stage:
    """SFT model, reward model and prompts -> ppo/."""
    root = Path(run_config.output_dir)
    keys = {
        "model_name_or_path": str(root / "sft"),
        "train_data": config.ppo_prompts,
        "reward": [str(root / "reward_model")],
        "push_to_hub": run_config.push_to_hub,
    }
    return recipe_stage(
        RecipeStage(
            name="ppo",
            folder=root / "ppo",
            recipe="ppo",
            config=config.ppo_config,
            keys=common(run_config, config) | keys | key_values("ppo_keys", config.ppo_keys),
            num_processes=processes(config),
            makes=("manifest.json",),
        )
    )


def evaluation(run_config: RunConfig, config: AlignConfig) -> Stage:
    """Base, SFT and PPO model on held-out prompts -> evaluation/."""
    root = Path(run_config.output_dir)
    ranked = config.ranking_prompts if config.labels in SAMPLED else config.labels
    keys: dict[str, Any] = {
        "models": [
            f"base={config.model_name_or_path}",
            f"sft={root / 'sft'}",
            f"ppo={root / 'ppo'}",
        ],
        "baseline": "sft",
        "eval_data": config.heldout_prompts,
        "reward_model": [str(root / "reward_model")],
        "gold": config.gold,
        "axes": config.axes,
        "train_data": [config.demonstrations, ranked, config.ppo_prompts],
        "seed": run_config.seed,
        "cpu_threads": run_config.cpu_threads,
        "chat_template": config.chat_template,
    }
    return recipe_stage(
        RecipeStage(
            name="evaluation",
            folder=root / "evaluation",
            recipe="evaluate",
            config=config.evaluate_config,
            keys=keys | key_values("evaluate_keys", config.evaluate_keys),
            num_processes=processes(config),
            makes=("evaluation.json",),
        )
    )


def common(run_config: RunConfig, config: AlignConfig) -> dict[str, Any]:
    """Keys that every training stage gets."""
    return {
        "seed": run_config.seed,
        "cpu_threads": run_config.cpu_threads,
        "report_to": run_config.report_to or None,
        "chat_template": config.chat_template,
    }


def processes(config: AlignConfig) -> int:
    """Processes of each stage: as many as this recipe was launched with."""
    return config.num_processes or int(os.environ.get("WORLD_SIZE", "1"))


def summarize(folder: Path, report: Path) -> None:
    """The table at the end: before, after, and where things are."""
    results = read_results(folder / "evaluation")
    table = Table("held-out prompts", "sft", "ppo", title="before and after, with 95% intervals")
    for result in results:
        shown = result.model == "ppo" and result.subset is None and result.with_contaminated
        if shown and result.metric in SUMMARY:
            same = {key: getattr(result, key) for key in ("judge", "judge_source", "axis")}
            before = find(results, result.metric, "sft", **same)
            table.add_row(row_label(result), cell_text(before), cell_text(result))
    console.print(table)
    say(f"report:   {report}")
    say(f"samples:  {folder / 'evaluation' / 'samples'}")
    say(f"model:    {folder / 'ppo'}")
    say(f"next:     rlhf chat {folder / 'ppo'}")


def say(line: str) -> None:
    """One line, at once."""
    console.print(line, soft_wrap=True)


if __name__ == "__main__":
    run(main)
