"""A vLLM server: one that runs already, or one that the run starts and ends."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch

from rlhf.errors import CheckpointError, ConfigError, TrainingError
from rlhf.rollouts.config import RolloutConfig
from rlhf.rollouts.http import NoModels, listed_models, request
from rlhf.runtime.http import Rejected
from rlhf.runtime.launcher import own_environment
from rlhf.runtime.progress import waiting

SECONDS_TO_START, SECONDS_TO_END = 1200.0, 20.0
LINES_OF_LOG = 15
NAME = "policy"  # of the model on a started server
GIB = 2**30


@dataclass(kw_only=True)
class Server:
    """Address and model of a server; its process where this process started it."""

    address: str  # without a slash at its end
    model: str
    root: str = ""  # folder or hub id that the server loaded, if it tells
    max_length: int | None = None  # of prompt and response together, in tokens, if it tells
    process: subprocess.Popen[bytes] | None = None
    log: Path | None = None

    def check_alive(self) -> None:
        """Check that a started server still runs.

        Raises:
            TrainingError: it ended; with the end of its log.
        """
        if self.process is None or self.process.poll() is None:
            return
        assert self.log is not None
        raise TrainingError(
            f"the rollout server ended with status {self.process.returncode}. {self.log} ends "
            f"with:\n{end_of(self.log)}\nResume from the last checkpoint.",
            code="engine-lost",
        )

    def close(self) -> None:
        """End a started server and its own processes."""
        if self.process is not None and self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(SECONDS_TO_END)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()


def connected(address: str) -> Server:
    """A server that runs already, with the first model that it lists.

    Raises:
        ConfigError: it cannot be reached, or serves no model.
    """
    address = address.rstrip("/")
    try:
        [model, *_] = listed_models(address, "/v1/models")
    except NoModels as error:
        step = "start vLLM, or leave the key out and the run starts one"
        if error.status in (401, 403):
            step = "start vLLM without --api-key"
        raise ConfigError(
            f"rollout_server={address}: no model is served there ({error}); {step}.",
            code="engine-lost",
        ) from error
    length = model.get("max_model_len")
    return Server(
        address=address,
        model=str(model["id"]),
        root=str(model.get("root") or ""),
        max_length=length if isinstance(length, int) else None,
    )


def started(
    config: RolloutConfig,
    *,
    model: str,
    max_length: int,
    bf16: bool,
    seed: int,
    log: Path,
    options: Sequence[str],
) -> Server:
    """A server of the model that this process starts; it is not waited for.

    It ends with this process: its parent is a guard that watches this one.

    Args:
        config: keys of the server.
        model: folder or hub id of the policy at the start.
        max_length: longest prompt and response together, in tokens.
        bf16: whether it computes in bf16.
        seed: of sampling without a seed of its own.
        log: file for its output.
        options: further words of its command line.
    """
    port = _free_port()
    address = f"http://127.0.0.1:{port}"
    command = server_command(
        config, model=model, max_length=max_length, bf16=bf16, seed=seed, port=port, options=options
    )
    log.parent.mkdir(parents=True, exist_ok=True)
    guarded = [sys.executable, "-m", "rlhf.rollouts.guard", str(os.getpid()), *command]
    with log.open("wb") as output:
        process = subprocess.Popen(
            guarded,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=server_environment(config),
            start_new_session=True,
        )
    return Server(address=address, model=NAME, process=process, log=log)


def server_command(
    config: RolloutConfig,
    *,
    model: str,
    max_length: int,
    bf16: bool,
    seed: int,
    port: int,
    options: Sequence[str],
) -> list[str]:
    """The command line of a server. Arguments as in `started`."""
    python = config.rollout_python or sys.executable
    words: dict[str, object] = {
        "model": model,
        "served-model-name": NAME,
        "host": "127.0.0.1",
        "port": port,
        "dtype": "bfloat16" if bf16 else "float32",
        "seed": seed,
        "max-model-len": max_length,
        "generation-config": "vllm",  # not the model's own settings of sampling
        "tensor-parallel-size": config.rollout_tensor_parallel,
    }
    arguments = [word for name, value in words.items() for word in (f"--{name}", str(value))]
    arguments += options
    if torch.cuda.is_available():
        arguments += ["--gpu-memory-utilization", str(config.rollout_memory_fraction)]
    else:
        # A prompt that is read in parts takes a step back in its random numbers, which vLLM's
        # generators on CPUs cannot.
        arguments += ["--no-enable-chunked-prefill", "--enforce-eager"]
        arguments += ["--max-num-batched-tokens", str(max(8192, max_length))]
    return [python, "-m", "vllm.entrypoints.openai.api_server", *arguments]


def server_environment(config: RolloutConfig) -> dict[str, str]:
    """The environment of a server: without this run's ranks and settings of threads."""
    variables = own_environment() | {"VLLM_SERVER_DEV_MODE": "1", "VLLM_NO_USAGE_STATS": "1"}
    variables.pop("OMP_WAIT_POLICY", None)
    if not torch.cuda.is_available():
        free = psutil.virtual_memory().available * config.rollout_memory_fraction
        variables.setdefault("VLLM_CPU_KVCACHE_SPACE", str(max(1, int(free / GIB))))
    return variables


def wait_until_ready(server: Server) -> None:
    """Return when the server answers.

    Raises:
        ConfigError: the server ended while it started, or does not answer in time.
    """
    end = time.monotonic() + SECONDS_TO_START
    with waiting("waiting for vLLM to start"):
        while time.monotonic() < end:
            try:
                request(server.address, "/v1/models", timeout=10)
                return
            except (TrainingError, Rejected):
                if server.process is not None and server.process.poll() is not None:
                    break
            time.sleep(0.5)
    assert server.log is not None
    status = None if server.process is None else server.process.poll()
    ended = f"did not answer in {SECONDS_TO_START:.0f} s" if status is None else (
        f"ended with status {status}")  # fmt: skip
    server.close()
    raise ConfigError(
        f"the rollout server {ended}. {server.log} ends with:\n{end_of(server.log)}\n"
        "Install vLLM in an environment of its own, and name its Python in rollout_python.",
        code="engine-lost",
    )


def check_tokens(server: Server, texts: Sequence[str], ids: Sequence[Sequence[int]]) -> None:
    """Check that the server's tokenizer gives the ids that the run trains on.

    Raises:
        CheckpointError: a text that it reads otherwise.
    """
    for text, expected in zip(texts, ids, strict=True):
        content = {"model": server.model, "prompt": text, "add_special_tokens": False}
        try:
            answer: Any = request(server.address, "/tokenize", content, timeout=60)
        except Rejected as error:
            if error.status == 404:
                return  # a server without this address; its log-probs are compared anyway
            raise
        if list(answer["tokens"]) != list(expected):
            raise CheckpointError(
                f"the rollout server {server.address} reads {text[:60]!r} as the tokens "
                f"{answer['tokens'][:8]}, and the policy as {list(expected)[:8]}; serve the model "
                "that the run starts from.",
                code="tokenizer-mismatch",
            )


def end_of(log: Path) -> str:
    """The last lines of a log."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(lines[-LINES_OF_LOG:])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
