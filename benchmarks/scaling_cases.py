"""Models, machines, engines, batches and assumptions of docs/explanation/scaling.md."""

from dataclasses import dataclass, field

from benchmarks.roofline import kv_size, trunk_weights
from rlhf.models.generation.decoder import ALIVE_SHARE, ALIVE_SHARE_OF_GRAPHS
from rlhf.models.memory import GIB

GPUS_PER_NODE = 8
# Operations without views in a step of the native decoder under bf16 autocast: of each layer, and
# of the rest (mask, embedding, output, sampling). tests/benchmarks/test_scaling.py counts them.
OPS_PER_LAYER, OPS_PER_STEP = 45, 68


@dataclass(frozen=True, kw_only=True)
class Model:
    """A Qwen2 or Llama decoder; the sizes are those of its config.json."""

    name: str
    num_layers: int
    hidden_size: int
    intermediate_size: int
    num_heads: int
    num_kv_heads: int
    vocab_size: int
    tied: bool  # whether the output layer is the embedding
    bias: bool  # whether the projections to queries, keys and values have biases

    @property
    def embedding(self) -> int:
        """Weights of the embedding, and of the output layer."""
        return self.vocab_size * self.hidden_size

    @property
    def parameters(self) -> int:
        """Of the language model."""
        return self.value_parameters - self.hidden_size + (0 if self.tied else self.embedding)

    @property
    def value_parameters(self) -> int:
        """Of a critic or reward model: the trunk and a head of one output."""
        norms = (2 * self.num_layers + 1) * self.hidden_size
        biases = self.num_layers * (self.hidden_size + 2 * kv_size(self)) if self.bias else 0
        return self.embedding + trunk_weights(self) + norms + biases + self.hidden_size


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A GPU and its links, peak rates in one direction."""

    name: str
    flops: float  # dense bf16, per second
    memory_rate: float  # bytes per second
    memory: int  # bytes
    nvlink: float = 450e9  # bytes per second of a GPU to the others of its node
    network: float = 400e9  # bytes per second of a node: eight links of 400 Gb/s

    def link_rate(self, num_gpus: int) -> float:
        """Bytes per second of a ring of GPUs: NVLink in a node, else the slower of the two."""
        return self.nvlink if num_gpus <= GPUS_PER_NODE else min(self.nvlink, self.network)


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


@dataclass(frozen=True, kw_only=True)
class Engine:
    """What samples the responses."""

    name: str
    launches: bool  # starts every operation of the layers from Python
    alive_share: float  # drops finished rows at this share of unfinished ones
    separate: bool  # has a copy of the weights, and a fixed cost per step
    whole_cache: bool = False  # each step reads the cache's capacity, not only the tokens so far
    tensor_parallel: tuple[int, ...] = (1,)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """An iteration's responses, and the passes over them. Lengths in tokens."""

    name: str
    critic: bool
    num_prompts: int
    num_generations: int
    prompt_length: int = 512
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
    def max_length(self) -> int:
        """The longest row."""
        return self.prompt_length + self.max_response


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is predicted: policy, critic, reference and reward model are of one size."""

    model: Model
    batch: Batch
    num_gpus: int
    engine: Engine
    machine: Machine
    achieved: Achieved = field(default_factory=Achieved)


QWEN_05B = Model(
    name="0.5B", num_layers=24, hidden_size=896, intermediate_size=4864, num_heads=14,
    num_kv_heads=2, vocab_size=151936, tied=True, bias=True,
)  # fmt: skip
QWEN_15B = Model(
    name="1.5B", num_layers=28, hidden_size=1536, intermediate_size=8960, num_heads=12,
    num_kv_heads=2, vocab_size=151936, tied=True, bias=True,
)  # fmt: skip
LLAMA_8B = Model(
    name="8B", num_layers=32, hidden_size=4096, intermediate_size=14336, num_heads=32,
    num_kv_heads=8, vocab_size=128256, tied=False, bias=False,
)  # fmt: skip
LLAMA2_7B = Model(
    name="7B", num_layers=32, hidden_size=4096, intermediate_size=11008, num_heads=32,
    num_kv_heads=32, vocab_size=32000, tied=False, bias=False,
)  # fmt: skip
MODELS = (QWEN_05B, QWEN_15B, LLAMA_8B)

H100 = Machine(name="H100", flops=989e12, memory_rate=3.35e12, memory=80 * GIB)
H200 = Machine(name="H200", flops=989e12, memory_rate=4.8e12, memory=141 * GIB)
A100 = Machine(name="A100", flops=312e12, memory_rate=2.039e12, memory=80 * GIB, nvlink=300e9)
L4 = Machine(name="L4", flops=121e12, memory_rate=300e9, memory=24 * GIB)

NATIVE = Engine(name="native", launches=True, alive_share=ALIVE_SHARE, separate=False)
GRAPHED = Engine(
    name="cuda_graphs", launches=False, alive_share=ALIVE_SHARE_OF_GRAPHS, separate=False,
    whole_cache=True,
)  # fmt: skip
PLANNED = Engine(
    name="engine", launches=False, alive_share=1.0, separate=True, tensor_parallel=(1, 2, 4, 8)
)

PPO = Batch(name="PPO", critic=True, num_prompts=512, num_generations=1)
GRPO = Batch(name="GRPO", critic=False, num_prompts=128, num_generations=8)
BATCHES = (PPO, GRPO)
NUM_GPUS = (1, 8, 64)
