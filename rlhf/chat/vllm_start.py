"""Start a vLLM server for a policy, or connect to one, and check that it fits."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from rlhf.chat.loading import check_policy
from rlhf.chat.policy_info import PolicyInfo
from rlhf.chat.vllm_backend import VLLMBackend
from rlhf.data.tokenization.chat import prompt_text
from rlhf.errors import CheckpointError
from rlhf.models.memory import count_parameters
from rlhf.rollouts.config import RolloutConfig
from rlhf.rollouts.server import Server, check_tokens, connected, started, wait_until_ready

# The page lists up to 50 tokens. Log-probs stay those at temperature 1, vLLM's default.
OPTIONS: Sequence[str] = ("--max-logprobs", "50")
PROBE = "Where is the ball?"


def described_policy(
    path: str, *, chat_template: str, template_kwargs: Mapping[str, object] | None
) -> PolicyInfo:
    """The policy in `path` without its weights, which a vLLM server has to load by itself.

    Raises:
        CheckpointError: no policy, or a LoRA adapter.
    """
    checked = check_policy(path, chat_template, template_kwargs)
    if checked.base is not None:
        raise CheckpointError(
            f"{checked.name} is a LoRA adapter, and --backend vllm serves whole models; merge it "
            f"(rlhf merge {checked.name} --output DIR), and serve DIR.",
            code="unsupported",
        )
    return checked.info(count_parameters(checked.name, "CAUSAL_LM"))


def vllm_backend(
    model: PolicyInfo,
    config: RolloutConfig,
    *,
    max_length: int,
    log: Path,
    slots: int,
    waiting: int,
) -> VLLMBackend:
    """The backend of this policy: a started server, or the running one of `rollout_server`.

    Args:
        model: the policy.
        config: keys of the server.
        max_length: longest prompt and response together, in tokens, where the model allows it.
        log: file for the output of a started server.
        slots: responses that run at a time.
        waiting: responses that may wait.

    Raises:
        ConfigError: a server that cannot be reached or started.
        CheckpointError: a server with another tokenizer.
    """
    if config.rollout_server is not None:
        server = connected(config.rollout_server)
        positions = server.max_length
    else:
        positions = max_length
        server = started(
            config,
            model=model.name,
            max_length=min(max_length, model.positions or max_length),
            bf16=torch.cuda.is_available(),
            seed=0,
            log=log,
            options=OPTIONS,
        )
    try:
        if server.process is not None:
            wait_until_ready(server)
        text = prompt_text(model.chat, PROBE)
        ids = model.chat.tokenizer(text, add_special_tokens=False)["input_ids"]
        check_tokens(server, [text], [ids])
    except BaseException:
        server.close()
        raise
    limits = [limit for limit in (model.positions, positions) if limit is not None]
    positions = min(limits, default=None)
    served = replace(model, positions=positions, facts=(*model.facts, _fact(server)))
    return VLLMBackend(served, server, slots=slots, waiting=waiting)


def _fact(server: Server) -> str:
    """What the server serves; only a person can tell whether a folder there is the one here."""
    fact = f"vLLM at {server.address} serves it as {server.model}"
    return f"{fact}, loaded from {server.root}" if server.root else fact
