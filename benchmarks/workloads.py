"""Workloads: models, lengths and batches. Imports only the standard library."""

from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Literal

Engine = Literal["rlhf", "trl", "trl_groups"]  # TRL 1.12's PPO; TRL 1.16's GRPO and RLOO
Method = Literal["gae", "grpo", "rloo"]


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A Llama with random weights and its rollouts, with 16 optimizer steps each."""

    name: str
    about: str
    num_layers: int
    hidden_size: int
    intermediate_size: int
    num_heads: int
    num_kv_heads: int
    vocab_size: int
    prompt_lengths: tuple[int, int]  # tokens, uniform, both ends included
    max_response_length: int  # tokens
    eos_hazard: float  # probability of EOS at each token; 0: every response has full length
    batch_size: int  # responses per iteration, over all processes
    num_epochs: int = 4
    num_minibatches: int = 4
    num_mlp_matrices: ClassVar[int] = 3

    @property
    def head_size(self) -> int:
        """Width of an attention head."""
        return self.hidden_size // self.num_heads


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One engine with one setting: a row of the table."""

    engine: Engine
    label: str
    bf16: bool = False
    tuned: bool = False  # trl: with settings that make it faster
    rows_per_device: int | None = None  # trl_groups: of a forward pass; None: all rows
    mode: str = "separate"  # rlhf
    method: Method = "gae"
    num_processes: int = 1
    num_threads: int = 2  # of each process
    spins: bool = False  # rlhf: waiting threads spin, as OpenMP's own default is
    rollout_engine: str = "native"  # rlhf
    rollout_python: str | None = None  # rlhf: of the environment with vLLM


@dataclass(frozen=True, kw_only=True)
class Job:
    """The settings of a worker; both engines get the same ones."""

    policy: str
    reward_model: str
    prompts: str  # JSONL of {"prompt", "ids"}
    output_dir: str
    iterations: int
    seed: int
    batch_size: int
    num_epochs: int
    num_minibatches: int
    max_prompt_length: int
    max_response_length: int
    learning_rate: float
    kl_coef: float
    missing_eos_penalty: float | None
    variant: Variant
    num_generations: int = 1  # responses to each prompt

    def as_dict(self) -> dict[str, object]:
        """Plain values, for JSON."""
        return asdict(self)


def job_from(fields: dict[str, Any]) -> Job:
    """The inverse of `Job.as_dict`."""
    return Job(**{**fields, "variant": Variant(**fields["variant"])})


A = Workload(
    name="A",
    about="fixed length",
    num_layers=8,
    hidden_size=384,
    intermediate_size=1024,
    num_heads=6,
    num_kv_heads=6,
    vocab_size=4096,
    prompt_lengths=(64, 64),
    max_response_length=64,
    eos_hazard=0.0,
    batch_size=32,
)
B = replace(
    A,
    name="B",
    about="variable length",
    prompt_lengths=(16, 64),
    max_response_length=128,
    eos_hazard=1 / 32,
)
C = Workload(
    name="C",
    about="wide vocabulary",
    num_layers=6,
    hidden_size=288,
    intermediate_size=768,
    num_heads=6,
    num_kv_heads=6,
    vocab_size=32000,
    prompt_lengths=(64, 64),
    max_response_length=64,
    eos_hazard=0.0,
    batch_size=32,
)
SMOKE = Workload(
    name="smoke",
    about="seconds, for the tests",
    num_layers=2,
    hidden_size=32,
    intermediate_size=64,
    num_heads=4,
    num_kv_heads=4,
    vocab_size=128,
    prompt_lengths=(4, 8),
    max_response_length=8,
    eos_hazard=1 / 8,
    batch_size=8,
    num_epochs=1,
    num_minibatches=2,
)
WORKLOADS = {workload.name: workload for workload in (A, B, C)}


def variants(num_threads: int, *, bf16: bool) -> list[Variant]:
    """The variants of A, B and C. `trl` in float32 is TRL as its users run it: its default
    bf16=True has no effect there.

    bf16: whether the device is fast at it. Else the bf16 variants are left out or use float32.
    """
    precision = "bf16" if bf16 else "fp32"
    settings = [("rlhf fp32", False, "separate")] + [("rlhf bf16", True, "separate")] * bf16
    settings += [(f"rlhf {precision} {mode}", bf16, mode) for mode in ("shared_trunk", "lora")]
    return [
        Variant(engine="trl", label="trl", num_threads=num_threads),
        Variant(engine="trl", label="trl tuned", tuned=True, bf16=bf16, num_threads=num_threads),
        *(
            Variant(engine="rlhf", label=label, bf16=half, mode=mode, num_threads=num_threads)
            for label, half, mode in settings
        ),
    ]


def process_variants(*, bf16: bool) -> list[Variant]:
    """The variants of E: workload A on 1 process x 1 thread, 1 x 2, and 2 x 1."""
    return [
        Variant(
            engine="rlhf",
            label=f"rlhf {processes} x {threads}",
            bf16=bf16,
            num_processes=processes,
            num_threads=threads,
        )
        for processes, threads in ((1, 1), (1, 2), (2, 1))
    ]
