"""What is measured, in the order of importance. Imports only the standard library, and so do the
modules of rlhf that it imports: the driver runs where nothing is installed yet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from benchmarks.shapes import QWEN_05B, QWEN_15B, SMOLLM2
from rlhf.models.shape import ModelShape

Stage = Literal["machine", "inputs", "plan", "sft", "reward_model", "ppo", "grpo", "trl", "fsdp2"]
ZERO3 = ("-m", "rlhf.runtime.agent", "--config_file", "recipes/accelerate/zero3.yaml",
         "--num_processes", "1", "--module")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Model:
    """A decoder with random weights."""

    shape: ModelShape
    family: Literal["llama", "qwen2"]
    seconds: float  # limit of a section

    @property
    def name(self) -> str:
        """Name of its folder, and in the table."""
        return self.shape.name


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """The work of a step. All prompts are equally long, and so are all responses."""

    sft_rows: int  # packed rows
    row_tokens: int  # of a packed row, which holds four examples
    pairs: int  # prompts of a step of the reward model, with two responses each
    responses: int  # of an iteration of PPO and GRPO
    num_generations: int  # of GRPO, to each prompt
    prompt_tokens: int
    response_tokens: int
    microbatch_rows: int  # TRL's and FSDP2's rows of a forward pass
    steps: int  # counted, after one that is not


@dataclass(frozen=True, kw_only=True)
class Section:
    """One process that measures one thing."""

    name: str
    stage: Stage
    model: Model
    seconds: float  # limit
    keys: Mapping[str, Any] = field(default_factory=dict)  # of the recipe, over those of its stage
    launcher: Sequence[str] = ("-m",)  # what starts the module of the section

    @property
    def key(self) -> tuple[str, str]:
        """What tells sections apart."""
        return self.model.name, self.name


SMALL_SHAPE = ModelShape(
    name="small", num_layers=2, hidden_size=32, intermediate_size=64, num_heads=4,
    num_kv_heads=2, vocab_size=128, tied=True,
)  # fmt: skip
MODELS = (
    Model(shape=SMOLLM2, family="llama", seconds=90),
    Model(shape=replace(QWEN_05B, name="Qwen2.5-0.5B"), family="qwen2", seconds=120),
    Model(shape=replace(QWEN_15B, name="Qwen2.5-1.5B"), family="qwen2", seconds=180),
)
SMALL_MODELS = (Model(shape=SMALL_SHAPE, family="llama", seconds=240),)
SIZES = Sizes(
    sft_rows=8, row_tokens=1024, pairs=16, responses=256, num_generations=8, prompt_tokens=128,
    response_tokens=128, microbatch_rows=16, steps=3,
)  # fmt: skip
SMALL_SIZES = Sizes(
    sft_rows=2, row_tokens=32, pairs=2, responses=8, num_generations=4, prompt_tokens=6,
    response_tokens=8, microbatch_rows=4, steps=2,
)  # fmt: skip
PPO_MINIBATCHES = 4
TO_COMPILE = 60.0  # more seconds
TO_START_A_SERVER = 180.0


def sections(models: Sequence[Model], *, vllm: str | None = None) -> list[Section]:
    """The sections: two models, the keys that no test on a CPU covers, and the other models.

    Args:
        models: the smallest first.
        vllm: Python of an environment with vLLM; None: that of the run.
    """
    first, *others = models
    middle, last = others[:1], others[1:]
    found = [section("machine", "machine", first)]
    for model in (first, *middle):
        found += stages(model)
    found += keys(first, vllm)
    for model in last:
        found += stages(model)
    return found


def stages(model: Model) -> list[Section]:
    """What is measured of each model."""
    return [
        section("inputs", "inputs", model),
        section("GRPO", "grpo", model),
        section("TRL GRPO", "trl", model),
        section("GRPO, CUDA graphs", "grpo", model, {"cuda_graphs": True}),
        section("PPO", "ppo", model),
        section("SFT", "sft", model),
        section("reward model", "reward_model", model),
        section("GRPO, compile", "grpo", model, {"compile": True}, more=TO_COMPILE),
        section("TRL GRPO, no checkpointing", "trl", model, {"tuned": True}),
        section("plan", "plan", model),
    ]


def keys(model: Model, vllm: str | None = None) -> list[Section]:
    """Keys, engines and launches that no test on a CPU covers."""
    qlora = {"use_peft": True, "load_in_4bit": True}
    server: dict[str, Any] = {
        "rollout_engine": "vllm",
        "rollout_sleep": True,
        "rollout_memory_fraction": 0.3,
    }
    server |= {} if vllm is None else {"rollout_python": vllm}
    return [
        section("FSDP2 on one rank", "fsdp2", model),
        section("PPO, LoRA", "ppo", model, {"mode": "lora"}),
        section("SFT, paged_adamw_8bit", "sft", model, {"optim": "paged_adamw_8bit"}),
        section("GRPO, adamw_8bit", "grpo", model, {"optim": "adamw_8bit"}),
        section("SFT, QLoRA", "sft", model, qlora),
        section("GRPO, rollout_lag", "grpo", model, {"rollout_lag": 1}),
        section("SFT, checkpointing", "sft", model, {"gradient_checkpointing": True}),
        section("GRPO, vLLM", "grpo", model, server, more=TO_START_A_SERVER),
        section("GRPO, transformers", "grpo", model, {"rollout_engine": "transformers"}),
        replace(section("SFT, ZeRO-3", "sft", model, more=TO_COMPILE), launcher=ZERO3),
    ]


def section(
    name: str, stage: Stage, model: Model, keys: Mapping[str, Any] | None = None, more: float = 0.0
) -> Section:
    """A section; more: seconds above the limit of the model."""
    return Section(
        name=name, stage=stage, model=model, seconds=model.seconds + more, keys=keys or {}
    )
