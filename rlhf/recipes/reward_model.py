"""A reward model from people's rankings: all pairs of a prompt's answers, in one forward each.

    accelerate launch --config_file accelerate_config.yaml recipes/reward_model.py \\
        --config recipes/pocket/reward_model.yaml

Rows are {"prompt", "responses", "ranks"} or {"prompt", "chosen", "rejected"}. The output loads with
plain AutoModelForSequenceClassification(num_labels=1); (logit - mean) / std is 0 on demonstrations.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from transformers import PreTrainedModel

from rlhf.data.config import DataConfig
from rlhf.data.held_out import TrainAndHeldOut, load_train_and_held_out
from rlhf.data.rows.bad_rows import REJECTS, BadRows
from rlhf.data.rows.load import load_rankings
from rlhf.data.show import introduce
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.evaluation.reward_model.report import make_report, print_report, write_reward_report
from rlhf.manifest import DataUse, Manifest
from rlhf.models.compatibility import load_checked_tokenizer
from rlhf.models.config import ModelConfig
from rlhf.models.context_length import beyond_training
from rlhf.models.heads import Heads, merge_heads, save_heads
from rlhf.models.lineage import MERGED_BASE
from rlhf.models.memory import frozen_dtype, model_size
from rlhf.models.reward_init import load_model, merged
from rlhf.models.save import rehearse_saving, save_reward_model
from rlhf.models.scorer import Scorer
from rlhf.report.write import write_report
from rlhf.rewards.model import RewardModel
from rlhf.runtime.config import parse_config
from rlhf.runtime.distributed import is_main_process, on_main_process, print_once
from rlhf.runtime.entrypoint import run
from rlhf.runtime.run_folder import RunConfig, begin_run, open_run_folder
from rlhf.training.common.adapter_base import keep_own_base
from rlhf.training.common.provenance import stage_manifest
from rlhf.training.common.publish import publish, push_to_hub
from rlhf.training.common.resume import resume_point
from rlhf.training.reward.config import RewardModelConfig
from rlhf.training.reward.cross_fit import weigh_annotators
from rlhf.training.reward.data import tokenize
from rlhf.training.reward.metrics import (
    NOT_NORMALIZED,
    Health,
    Normalization,
    measure,
    normalization,
    summary,
)
from rlhf.training.reward.samples import write_ranked_samples
from rlhf.training.reward.trainer import train_reward_model
from rlhf.training.reward.validation import (
    about_rankings,
    check_no_4bit,
    check_rankings,
    load_normalization,
    trained_on,
    without_undecided,
)
from rlhf.types import Demonstration, Ranking


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What is settled before a weight is loaded."""

    run: RunConfig
    model: ModelConfig
    data: DataConfig
    config: RewardModelConfig
    world_size: int
    chat: ChatTokenizer
    rows: TrainAndHeldOut[Ranking]
    demonstrations: Sequence[Demonstration]  # on which the reward's mean becomes 0; may be none
    uses: Sequence[DataUse]  # of rankings and demonstrations

    @property
    def configs(self) -> tuple[RunConfig, ModelConfig, DataConfig, RewardModelConfig]:
        """Everything that was set."""
        return self.run, self.model, self.data, self.config


@dataclass(frozen=True, kw_only=True)
class Trained:
    """The model, how good it is on held-out rankings, where its zero lies."""

    scorer: Scorer
    model: PreTrainedModel  # the scorer's, with LoRA merged
    heads: Heads | None  # of an ensemble
    steps: int
    health: Health | None  # None: nothing was held out
    scale: Normalization


def main() -> None:
    """Check, train and measure, save."""
    setup = check()
    rows = setup.rows
    print_once(*setup.chat.notes)
    print_once(*beyond_training(setup.model.model_name_or_path, setup.data.max_length))
    print_once(f"{len(rows.train)} rankings to train on, {len(rows.held_out)} held out by prompt")
    print_once(*about_rankings(rows))
    if not setup.demonstrations:
        print_once("warning: no normalization_data; the reward keeps mean 0 and std 1 as they come")
    if setup.run.dry_run:
        print_once(model_size(setup.model, "SEQ_CLS"))
        return
    on_main_process(lambda: start(setup))
    train_and_save(setup)
    report(setup)
    on_main_process(lambda: finish(setup.run))


def finish(run_config: RunConfig) -> None:
    """What comes when everything is known: report.html, and the upload."""
    folder = Path(run_config.output_dir)
    print_once(f"report: {write_report(folder)}")
    push_to_hub(folder, run_config.push_to_hub)


def train_and_save(setup: Setup) -> None:
    """The trained model is let go here: the report reads it from its folder, as PPO will."""
    trained = train(setup)
    on_main_process(lambda: save(setup, trained))


def start(setup: Setup) -> None:
    """The run's folder, and its first rows as the model reads them."""
    folder = open_run_folder(*setup.configs)
    introduce(folder, setup.chat, setup.rows.train, count=setup.data.show_rows)


def check() -> Setup:
    """Keys, folder, tokenizer, then every row: what is wrong is said before a weight is loaded."""
    run_config, model, data, config = parse_config(
        RunConfig, ModelConfig, DataConfig, RewardModelConfig, description=__doc__
    )
    check_no_4bit(model)
    world_size = begin_run(run_config)
    chat, _ = load_checked_tokenizer(
        model.model_name_or_path,
        data.chat_template,
        template_kwargs=data.template_kwargs,
        judges=True,
    )
    chat = replace(chat, reads_thoughts=config.read_thoughts)
    rejects = Path(run_config.output_dir) / REJECTS
    with BadRows(drop=data.drop_bad_rows, reject_file=rejects) as bad_rows:
        load = partial(load_rankings, keep_tied=True, scores=config.score_columns)
        rows = load_train_and_held_out(load, data, chat, bad_rows, seed=run_config.seed)
        demonstrations, uses = load_normalization(config, data, chat, bad_rows)
    if config.ties == "out":
        rows = without_undecided(rows)
    check_rankings(config, rows)
    return Setup(
        run=run_config,
        model=model,
        data=data,
        config=config,
        world_size=world_size,
        chat=chat,
        rows=rows,
        demonstrations=demonstrations,
        uses=[*rows.uses, *uses],
    )


def train(setup: Setup) -> Trained:
    """Train, measure on held-out rankings, normalise on demonstrations."""
    chat, seed = setup.chat, setup.run.seed
    held_out = tokenize(chat, setup.rows.held_out)
    resume = resume_point(setup.run)
    rankings = weigh_annotators(
        tokenize(chat, setup.rows.train),
        partial(load_model, setup.model, seed),
        run=setup.run,
        model_config=setup.model,
        config=setup.config,
        pad_token_id=chat.pad_token_id,
        resuming=resume is not None,
    )
    model = load_model(setup.model, seed, setup.config.num_heads)
    on_main_process(lambda: rehearse_saving(model, chat))
    keep_own_base(
        model,
        setup.model.model_name_or_path,
        Path(setup.run.output_dir),
        chat,
        dtype=frozen_dtype(setup.model),
        manifest_of=partial(manifest_of, setup, stage=MERGED_BASE),
    )
    steps = train_reward_model(
        model,
        rankings,
        held_out,
        run=setup.run,
        model_config=setup.model,
        config=setup.config,
        pad_token_id=chat.pad_token_id,
        data_sha256=setup.uses[0].sha256,
        resume=resume,
    )
    final = merged(model, Path(setup.run.output_dir))
    scorer = Scorer(final, bf16=False)
    health = measure(scorer, held_out, chat.pad_token_id) if held_out else None
    scale = NOT_NORMALIZED
    if setup.demonstrations:
        scale = normalization(scorer, chat, setup.demonstrations, seed=seed)
    weight = merge_heads(final)  # from here on the scorer has one head, their mean
    heads = None
    if weight is not None:
        offsets = scale.offsets if scale.rows else [0.0] * len(weight)
        heads = Heads(weight=weight, offset=torch.tensor(offsets))
    return Trained(scorer=scorer, model=final, heads=heads, steps=steps, health=health, scale=scale)


def save(setup: Setup, trained: Trained) -> None:
    """Model, samples, card and manifest."""
    folder = Path(setup.run.output_dir)
    scale, seed = trained.scale, setup.run.seed
    save_reward_model(folder, trained.model, setup.chat, scale.mean, scale.std)
    if trained.heads is not None:
        save_heads(folder, trained.heads)
    write_ranked_samples(
        folder,
        trained.scorer,
        setup.chat,
        setup.rows.held_out,
        scale,
        count=setup.config.num_samples,
        seed=seed,
    )
    manifest = manifest_of(setup, folder, stage="reward_model")
    publish(
        folder,
        replace(manifest, reward_mean=scale.mean, reward_std=scale.std),
        title="reward model",
        figures=summary(trained.steps, trained.health, scale),
        loads_with="AutoModelForSequenceClassification",
        places={
            "held-out rankings with rewards": folder / "samples",
            "use it": f"recipes/ppo.py --reward {folder}",
        },
    )


def manifest_of(setup: Setup, folder: Path, *, stage: str) -> Manifest:
    """Of a model in `folder`, with everything that it was made from."""
    base = setup.model.model_name_or_path
    return stage_manifest(
        folder,
        stage=stage,
        base_model=base,
        chat=setup.chat,
        seed=setup.run.seed,
        world_size=setup.world_size,
        data=setup.uses,
        configs=setup.configs,
        built_on=[base],
    )


def report(setup: Setup) -> None:
    """The health of what was saved: evaluation.json, gate.json, and a table."""
    if not setup.rows.held_out:
        print_once("warning: nothing was held out: no accuracy, no health report")
        return
    folder = setup.run.output_dir
    device = torch.accelerator.current_accelerator() or torch.device("cpu")
    found = make_report(
        RewardModel(folder, device=device),
        setup.rows.held_out,
        setup.demonstrations,
        name="reward_model",
        num_demonstrations=setup.config.num_demonstrations,
        seed=setup.run.seed,
        trained_on=trained_on(setup.rows),
    )
    on_main_process(lambda: write_reward_report(Path(folder), found))
    if is_main_process():
        print_report(found, f"{folder}: {len(setup.rows.held_out)} held-out rankings")


if __name__ == "__main__":
    run(main)
