"""The engine that a run's keys name."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import gettempdir, mkdtemp

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list

from rlhf.errors import ConfigError
from rlhf.rollouts.config import RolloutConfig
from rlhf.rollouts.engine import RolloutEngine
from rlhf.rollouts.native import NativeEngine
from rlhf.rollouts.server import Server, check_tokens, connected, started, wait_until_ready
from rlhf.rollouts.vllm import VLLMEngine
from rlhf.runtime.distributed import on_main_process, print_once
from rlhf.runtime.nodes import spans_nodes
from rlhf.runtime.run_lock import hold, was_abandoned

MEMORY = Path("/dev/shm")
PREFIX = "rlhf-rollouts-"
LOG = "rollout_server.log"
OPTIONS = ("--logprobs-mode", "processed_logprobs")  # those at the sampling temperature
SLEEP = "--enable-sleep-mode"


def load_engine(
    config: RolloutConfig,
    *,
    model: str,
    max_length: int,
    bf16: bool,
    seed: int,
    folder: Path,
    cuda_graphs: bool,
    copies: bool,
    texts: Sequence[str],
    ids: Sequence[Sequence[int]],
    sleeps: bool = False,
) -> RolloutEngine:
    """The engine, ready to be given weights. Call it on all processes, and `close` it.

    Args:
        config: keys of the engine.
        model: folder or hub id of the policy at the start.
        max_length: longest prompt and response together, in tokens.
        bf16: whether the run computes in bf16.
        seed: of the run.
        folder: the run folder, for the log of a server.
        cuda_graphs: of the native engine.
        copies: whether the native engine samples from a copy of the policy.
        texts: some rendered prompts, which a server's tokenizer has to read as the policy's does.
        ids: their token ids.
        sleeps: whether a started server frees its GPU memory between rollouts.

    Raises:
        ConfigError: a server that cannot be reached or started.
        CheckpointError: a server with another tokenizer.
    """
    if config.rollout_engine == "native":
        return NativeEngine(cuda_graphs=cuda_graphs, copies=copies)
    if config.rollout_engine == "transformers":
        from rlhf.rollouts.continuous import ContinuousEngine  # of newer versions only

        return ContinuousEngine()
    servers: list[Server] = []  # one, on the main process

    def prepare() -> None:
        if config.rollout_server is not None:
            server = connected(config.rollout_server)
        else:
            server = started(
                config,
                model=model,
                max_length=max_length,
                bf16=bf16,
                seed=seed,
                log=folder / LOG,
                options=[*OPTIONS, SLEEP] if sleeps else OPTIONS,
            )
            print_once(f"vLLM starts at {server.address}; its log is {folder / LOG}")
            wait_until_ready(server)
        servers.append(server)
        check_tokens(server, texts, ids)

    on_main_process(prepare)
    server = _shared(servers[0] if servers else None)
    dtype = torch.bfloat16 if bf16 else torch.float32
    return VLLMEngine(server, _weights_folder(folder), dtype=dtype, sleeps=sleeps)


def _shared(server: Server | None) -> Server:
    """The server on all processes; only the first one can end it."""
    names = [None if server is None else (server.address, server.model)]
    [pair] = broadcast_object_list(names)
    assert pair is not None
    return server or Server(address=pair[0], model=pair[1])


def _weights_folder(folder: Path) -> Path:
    """A folder for weights, in memory where the machine has such a folder.

    Raises:
        ConfigError: a run on several nodes, whose server may not see the folder.
    """
    if spans_nodes():
        raise ConfigError(
            "rollout_engine=vllm renews the server's weights through files of one machine, but "
            "this run has several nodes; use rollout_engine=native.",
            code="unsupported",
        )
    if not PartialState().is_main_process:
        return folder
    parent = MEMORY if MEMORY.is_dir() else Path(gettempdir())
    for other in parent.glob(f"{PREFIX}*"):
        if was_abandoned(other):  # a killed run's weights, which would stay in memory
            shutil.rmtree(other, ignore_errors=True)
    made = Path(mkdtemp(prefix=PREFIX, dir=parent))
    hold(made)
    return made
