"""Supervised fine-tuning on demonstrations.

    accelerate launch --config_file accelerate_config.yaml recipes/sft.py \\
        --config recipes/pocket/sft.yaml

Rows are {"prompt", "completion"} or {"messages"}; the loss is on the answer and its end of turn.
The output folder loads with plain AutoModelForCausalLM (with use_peft it is a PEFT adapter).
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from accelerate import PartialState
from peft import PeftModel
from transformers import PreTrainedModel

from rlhf.data.config import DataConfig
from rlhf.data.held_out import TrainAndHeldOut, load_train_and_held_out
from rlhf.data.rows.bad_rows import REJECTS, BadRows
from rlhf.data.rows.load import load_demonstrations
from rlhf.data.show import introduce
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.manifest import Manifest
from rlhf.models.compatibility import load_checked_tokenizer
from rlhf.models.config import ModelConfig
from rlhf.models.context_length import beyond_training
from rlhf.models.cpu_kernels.attention import use_fast_cpu_attention
from rlhf.models.generation.generate import Answer, sample_responses
from rlhf.models.lineage import MERGED_BASE
from rlhf.models.load import add_lora, load_policy
from rlhf.models.memory import frozen_dtype, model_size
from rlhf.models.recurrent import check_not_recurrent
from rlhf.models.save import rehearse_saving, save_policy
from rlhf.report.write import write_report
from rlhf.runtime.config import parse_config
from rlhf.runtime.distributed import is_main_process, on_main_process, print_once
from rlhf.runtime.entrypoint import run
from rlhf.runtime.printing import rlhf_command
from rlhf.runtime.run_folder import RunConfig, begin_run, open_run_folder
from rlhf.training.common.adapter_base import keep_own_base
from rlhf.training.common.metrics import MetricsWriter
from rlhf.training.common.provenance import stage_manifest
from rlhf.training.common.publish import publish, push_to_hub
from rlhf.training.common.resume import resume_point
from rlhf.training.common.samples import write_samples
from rlhf.training.sft.config import SFTConfig
from rlhf.training.sft.end_token import end_probability, end_warnings, untrained_end_warnings
from rlhf.training.sft.trainer import SFTResult, train_sft
from rlhf.types import Demonstration, Prompt

Model = PreTrainedModel | PeftModel
SAMPLE_TEMPERATURE = 0.7


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What is settled before a weight is loaded."""

    run: RunConfig
    model: ModelConfig
    data: DataConfig
    config: SFTConfig
    world_size: int
    chat: ChatTokenizer
    rows: TrainAndHeldOut[Demonstration]

    @property
    def configs(self) -> tuple[RunConfig, ModelConfig, DataConfig, SFTConfig]:
        """Everything that was set."""
        return self.run, self.model, self.data, self.config


@dataclass(frozen=True, kw_only=True)
class Trained:
    """The model, and the same prompts answered before and after."""

    result: SFTResult
    shown: Sequence[Prompt]
    answers: Mapping[str, Sequence[Answer]]
    end_probability: float | None  # of the end token at the end of held-out responses


def main() -> None:
    """Check, train, save."""
    setup = check()
    rows = setup.rows
    print_once(*setup.chat.notes)
    print_once(*beyond_training(setup.model.model_name_or_path, setup.data.max_length))
    print_once(f"{len(rows.train)} demonstrations to train on, {len(rows.held_out)} held out")
    if setup.run.dry_run:
        print_once(model_size(setup.model, "CAUSAL_LM"))
        return
    on_main_process(lambda: start(setup))
    trained = train(setup)
    on_main_process(lambda: save(setup, trained))


def start(setup: Setup) -> None:
    """The run's folder, and its first rows as the model reads them."""
    folder = open_run_folder(*setup.configs)
    introduce(folder, setup.chat, setup.rows.train, count=setup.data.show_rows)


def check() -> Setup:
    """Keys, folder, tokenizer, then every row: what is wrong is said before a weight is loaded."""
    run_config, model, data, config = parse_config(
        RunConfig, ModelConfig, DataConfig, SFTConfig, description=__doc__
    )
    world_size = begin_run(run_config, sharding="accelerate")
    path = model.model_name_or_path
    chat, _ = load_checked_tokenizer(
        path, data.chat_template, template_kwargs=data.template_kwargs, samples=False
    )
    if config.num_samples or config.packing:
        check_not_recurrent(path, "train it with --num_samples 0 --packing false")
    rejects = Path(run_config.output_dir) / REJECTS
    with BadRows(drop=data.drop_bad_rows, reject_file=rejects) as bad_rows:
        rows = load_train_and_held_out(
            partial(load_demonstrations, train_on=config.train_on),
            data,
            chat,
            bad_rows,
            seed=run_config.seed,
        )
    return Setup(
        run=run_config,
        model=model,
        data=data,
        config=config,
        world_size=world_size,
        chat=chat,
        rows=rows,
    )


def train(setup: Setup) -> Trained:
    """Answer, train, answer again."""
    resume = resume_point(setup.run)
    model = load_model(setup.model)
    print_once(*untrained_end_warnings(model, setup.model, setup.chat))
    on_main_process(lambda: rehearse_saving(model, setup.chat))
    keep_own_base(
        model,
        setup.model.model_name_or_path,
        Path(setup.run.output_dir),
        setup.chat,
        dtype=frozen_dtype(setup.model),
        manifest_of=partial(manifest_of, setup, stage=MERGED_BASE),
    )
    shown = pick_prompts(setup)
    before = answer(model, setup, shown)
    result = train_sft(
        model,
        setup.chat,
        setup.rows.train,
        setup.rows.held_out,
        run=setup.run,
        model_config=setup.model,
        config=setup.config,
        max_length=setup.data.max_length,
        resume=resume,
    )
    after = answer(result.model, setup, shown)
    return Trained(
        result=result,
        shown=shown,
        answers={"before": before, "after": after},
        end_probability=measure_end(result, setup),
    )


def measure_end(result: SFTResult, setup: Setup) -> float | None:
    """P(end) on held-out responses, logged; None where nothing is held out."""
    if not is_main_process() or not setup.rows.held_out:
        return None
    probability = end_probability(result.model, setup.chat, setup.rows.held_out)
    metrics = MetricsWriter(Path(setup.run.output_dir))
    metrics.write(result.steps, {"eval_end_probability": probability})
    print_once(*end_warnings(probability, setup.model, setup.chat))
    return probability


def load_model(config: ModelConfig) -> Model:
    """The policy to train, with fresh LoRA adapters where they were asked for."""
    model = load_policy(
        config.model_name_or_path, dtype=frozen_dtype(config), load_in_4bit=config.load_in_4bit
    )
    use_fast_cpu_attention(model)
    return add_lora(model, config, "CAUSAL_LM") if config.use_peft else model


def pick_prompts(setup: Setup) -> list[Prompt]:
    """Prompts to show, held-out ones where there are any, the same on every process."""
    rows = list(setup.rows.held_out or setup.rows.train)
    picked = random.Random(setup.run.seed).sample(rows, min(setup.config.num_samples, len(rows)))
    return [row.prompt for row in picked]


def answer(model: Model, setup: Setup, prompts: Sequence[Prompt]) -> list[Answer]:
    """One answer to each prompt, on the main process; none on the others."""
    if not is_main_process() or not prompts:
        return []
    model.to(PartialState().device)
    answers = sample_responses(
        model,
        setup.chat,
        prompts,
        num_responses=1,
        max_new_tokens=setup.config.sample_max_new_tokens,
        temperature=SAMPLE_TEMPERATURE,
        seed=setup.run.seed,
        batch_size=len(prompts),
    )
    return [group[0] for group in answers]


def save(setup: Setup, trained: Trained) -> None:
    """Samples, model, card and manifest."""
    folder = Path(setup.run.output_dir)
    write_samples(folder, "random", trained.shown, trained.answers)
    save_policy(folder, trained.result.model, setup.chat)
    publish(
        folder,
        manifest_of(setup, folder, stage="sft"),
        title="supervised fine-tuning",
        figures=figures(trained, len(setup.rows.held_out)),
        loads_with="AutoModelForCausalLM",
        places={
            "answers before and after": folder / "samples" / "random.jsonl",
            "talk to it": rlhf_command("chat", folder),
        },
    )
    print_once(f"report: {write_report(folder)}")
    push_to_hub(folder, setup.run.push_to_hub)


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
        data=setup.rows.uses,
        configs=setup.configs,
        built_on=[base],
    )


def figures(trained: Trained, held_out: int) -> dict[str, str]:
    """The run's figures in words."""
    result = trained.result
    if result.eval_loss_before is None or result.eval_loss_after is None:
        return {"optimizer steps": str(result.steps), "held-out loss": "nothing was held out"}
    return {
        "optimizer steps": str(result.steps),
        "held-out loss before": f"{result.eval_loss_before:.3f} nats per token",
        "held-out loss after": f"{result.eval_loss_after:.3f} nats per token",
        "held-out rows": str(held_out),
        "P(end) on held-out rows": f"{trained.end_probability or 0.0:.3f}",
        **({"stopped early": "the held-out loss lay flat"} if result.stopped_early else {}),
    }


if __name__ == "__main__":
    run(main)
