"""What is planned: models, batches, a machine, and assumptions about it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from rlhf.models.config import fast_bf16
from rlhf.models.generation.decoder import ALIVE_SHARE, ALIVE_SHARE_OF_GRAPHS
from rlhf.models.shape import ModelShape
from rlhf.planning.machines import Machine

# Operations without views in a step of the native decoder under bf16 autocast: of each layer, and
# of the rest (mask, embedding, output, sampling). tests/benchmarks/test_scaling.py counts them.
OPS_PER_LAYER, OPS_PER_STEP = 45, 68


@dataclass(frozen=True, kw_only=True)
class Achieved:
    """Assumptions: which part of a peak is reached, and fixed costs in seconds."""

    matmul: float = 0.40
    memory: float = 0.70
    link: float = 0.75
    launch: float = 10e-6  # of one operation, by Python and PyTorch
    all_reduce: float = 20e-6  # of tensor parallelism: two in each layer
    engine_step: float = 2e-3  # scheduling and sampling of an inference engine
    transfer_rate: float = 60e9  # bytes per second of new weights into an engine
    usable_memory: float = 0.90


# On a CPU: shares of the rates that `rlhf.planning.rates` measures there, in bf16 and float32.
BF16_ON_CPU, FP32_ON_CPU, LAUNCH_ON_CPU = 0.40, 0.85, 25e-6


def achieved_on(machine: Machine, *, bf16: bool) -> Achieved:
    """The assumptions for a GPU, or for a CPU whose rates were measured."""
    if machine.on_gpu:
        return Achieved()
    return Achieved(matmul=BF16_ON_CPU if bf16 else FP32_ON_CPU, launch=LAUNCH_ON_CPU)


@dataclass(frozen=True, kw_only=True)
class Engine:
    """What samples the responses."""

    name: str
    launches: bool  # starts every operation of the layers from Python
    alive_share: float  # drops finished rows at this share of unfinished ones
    separate: bool  # has a copy of the weights, and a fixed cost per step
    whole_cache: bool = False  # each step reads the cache's capacity, not only the tokens so far
    tensor_parallel: tuple[int, ...] = (1,)


NATIVE = Engine(name="native", launches=True, alive_share=ALIVE_SHARE, separate=False)
GRAPHED = Engine(
    name="cuda_graphs", launches=False, alive_share=ALIVE_SHARE_OF_GRAPHS, separate=False,
    whole_cache=True,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Batch:
    """An iteration's responses, and the passes over them. Lengths in tokens."""

    name: str
    critic: bool
    num_prompts: int
    num_generations: int
    prompt_length: float = 512  # mean
    max_prompt: int | None = None  # longest; None: all prompts have the mean length
    mean_response: float = 512
    max_response: int = 1024
    num_epochs: int = 1
    num_minibatches: int = 4
    microbatch_tokens: int = 4096
    reward_tokens: int = 8192  # of a forward pass of the reward model

    @property
    def rows(self) -> int:
        """Responses of an iteration."""
        return self.num_prompts * self.num_generations

    @property
    def mean_length(self) -> float:
        """Prompt and response tokens of a row."""
        return self.prompt_length + self.mean_response

    @property
    def longest_prompt(self) -> int:
        """Tokens of the longest prompt."""
        return self.max_prompt or round(self.prompt_length)

    @property
    def max_length(self) -> int:
        """The longest row."""
        return self.longest_prompt + self.max_response


@dataclass(frozen=True, kw_only=True)
class Case:
    """A PPO or GRPO run on `num_gpus` devices, each with a process."""

    model: ModelShape  # policy and reference
    batch: Batch
    num_gpus: int
    engine: Engine
    machine: Machine
    achieved: Achieved = field(default_factory=Achieved)
    mode: Literal["separate", "shared_trunk", "lora"] = "separate"
    critic_model: ModelShape | None = None  # of a separate critic; None: the policy's sizes
    reward_models: tuple[ModelShape, ...] | None = None  # None: one with the policy's sizes
    adapter: int = 0  # parameters that the policy trains in mode lora
    critic_adapter: int | None = None  # and the critic; None: as many
    four_bit: bool = False  # the layers under the adapters
    moment_bytes: int = 8  # of AdamW's moments per trained parameter
    bf16: bool = True
    checkpointing: bool = False

    @property
    def critic(self) -> ModelShape | None:
        """The separate critic, if there is one."""
        if not self.batch.critic or self.mode != "separate":
            return None
        return self.critic_model or self.model

    @property
    def rewards(self) -> tuple[ModelShape, ...]:
        """Reward models that are loaded whole."""
        return (self.model,) if self.reward_models is None else self.reward_models

    @property
    def itemsize(self) -> int:
        """Bytes of a number in matrix products."""
        return 2 if self.bf16 else 4


@dataclass(frozen=True, kw_only=True)
class TrainingCase:
    """A run of SFT, a reward model or DPO on `num_gpus` devices, each with a process."""

    task: Literal["sft", "reward_model", "preference"]
    model: ModelShape
    num_gpus: int
    machine: Machine
    rows: int  # of a batch on a device: packed rows, or prompts with all their responses
    responses: int = 1  # of a prompt
    shared: float = 0.0  # tokens that the responses of a prompt share and a CPU reads once
    mean_length: float  # tokens of a row, without padding
    max_length: int
    accumulation: int = 1  # batches of an optimizer step
    packed: bool = False
    samples: int = 0  # responses that are sampled before and after training
    sample_tokens: int = 0  # of the longest of them
    adapter: int = 0  # trained parameters under LoRA; 0: all weights are trained
    four_bit: bool = False
    moment_bytes: int = 8  # of AdamW's moments per trained parameter
    bf16: bool = True
    checkpointing: bool = False
    achieved: Achieved = field(default_factory=Achieved)

    @property
    def parameters(self) -> int:
        """Of the model with its output layer or head."""
        reward_model = self.task == "reward_model"
        return self.model.value_parameters if reward_model else self.model.parameters

    @property
    def trained(self) -> int:
        """Trained parameters."""
        return self.adapter or self.parameters

    @property
    def itemsize(self) -> int:
        """Bytes of a number in matrix products."""
        return 2 if self.bf16 else 4


@dataclass(frozen=True, kw_only=True)
class Target:
    """The devices of a planned run."""

    machine: Machine
    num_devices: int  # each with a process
    sharded: bool = False  # FSDP2

    @property
    def bf16_is_fast(self) -> bool:
        """Whether a run without the key `bf16` computes in it."""
        return self.machine.on_gpu or fast_bf16()


@dataclass(frozen=True, kw_only=True)
class Assumed:
    """What a configuration does not say."""

    model: str | None = None  # has the sizes of models that are not on this machine
    prompt_tokens: float | None = None  # mean length; None: half of the longest
    response_tokens: float | None = None

    def path(self, path: str) -> str:
        """A model with the sizes of the model at `path`."""
        return path if self.model is None or Path(path).is_dir() else self.model

    def row_tokens(self, max_length: int) -> float:
        """Mean length of a row of SFT or of a reward model."""
        if self.prompt_tokens is None and self.response_tokens is None:
            return max_length / 2
        return (self.prompt_tokens or 0.0) + (self.response_tokens or 0.0)
