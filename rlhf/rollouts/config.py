"""Keys of the engine that samples responses."""

from dataclasses import dataclass, field
from typing import Literal

from rlhf.errors import ConfigError
from rlhf.runtime.field_types import changed_fields

EngineName = Literal["native", "vllm", "transformers"]
# Keys of a server that the run starts itself.
OF_OWN_SERVER = ("rollout_python", "rollout_tensor_parallel", "rollout_memory_fraction")
OF_A_SERVER = ("rollout_server", *OF_OWN_SERVER)


@dataclass(frozen=True, kw_only=True)
class RolloutConfig:
    """Keys of the engine that samples responses."""

    rollout_engine: EngineName = field(
        default="native",
        metadata={
            "help": "What samples responses. native: rlhf's decoder. vllm: a vLLM server. "
            "transformers: continuous batching of transformers."
        },
    )
    rollout_server: str | None = field(
        default=None,
        metadata={
            "help": "Address of a running vLLM server, http://HOST:PORT, that reads this machine's "
            "files. Default: the run starts a server, and ends it."
        },
    )
    rollout_python: str | None = field(
        default=None,
        metadata={"help": "Python of the environment with vLLM. Default: that of the run."},
    )
    rollout_tensor_parallel: int = field(
        default=1, metadata={"help": "GPUs that the started server splits the model over."}
    )
    rollout_memory_fraction: float = field(
        default=0.3,
        metadata={
            "help": "Share of each GPU's memory that the started server may use, for weights and "
            "cache; without a GPU the share of the machine's free memory for its cache."
        },
    )


def check_rollouts(config: RolloutConfig) -> None:
    """Check that the keys have an effect together.

    Raises:
        ConfigError: a key that would be ignored, or one out of range.
    """
    if config.rollout_engine != "vllm":
        for name in changed_fields(config, OF_A_SERVER):
            raise ConfigError(
                f"{name} is set with rollout_engine={config.rollout_engine}; use "
                "rollout_engine=vllm or leave it out.",
                code="key-conflict",
            )
    if config.rollout_server is not None:
        for name in changed_fields(config, OF_OWN_SERVER):
            raise ConfigError(
                f"{name} is an option of a server that the run starts, but rollout_server="
                f"{config.rollout_server} runs already; leave one of them out.",
                code="key-conflict",
            )
        if not config.rollout_server.startswith(("http://", "https://")):
            raise ConfigError(
                f"rollout_server={config.rollout_server}; use an address such as "
                "http://127.0.0.1:8000.",
                code="bad-value",
            )
        # An OpenAI-compatible API has it, as in `rlhf sample --server`.
        whole = config.rollout_server.rstrip("/")
        if whole.endswith("/v1"):
            raise ConfigError(
                f"rollout_server={config.rollout_server}: the engine uses vLLM's other addresses "
                f"too; leave /v1 out: {whole.removesuffix('/v1')}.",
                code="bad-value",
            )
    if config.rollout_tensor_parallel < 1:
        raise ConfigError(
            f"rollout_tensor_parallel={config.rollout_tensor_parallel}; use 1 or more.",
            code="bad-value",
        )
    if not 0 < config.rollout_memory_fraction < 1:
        raise ConfigError(
            f"rollout_memory_fraction={config.rollout_memory_fraction}; use a share above 0 and "
            "below 1.",
            code="bad-value",
        )
