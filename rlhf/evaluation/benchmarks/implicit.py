"""The implicit reward of a policy: how much more likely than its reference it makes a response."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from rlhf.data.tokenization.policy_rows import TokenResponse, token_response
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.errors import ConfigError
from rlhf.models.compatibility import load_checked_tokenizer
from rlhf.models.load import load_policy, on_device
from rlhf.models.response_logprobs import KnownLogprobs, ResponseLogprobs
from rlhf.rewards.templates import JudgeTemplate
from rlhf.runtime.config import read_yaml
from rlhf.runtime.run_folder import CONFIG
from rlhf.types import Prompt

NONE = "none"
# Losses of `rlhf dpo` that compare log-probs per token, and those without a reference.
PER_TOKEN, WITHOUT_REFERENCE = ("ipo", "simpo", "orpo"), ("simpo", "orpo")


@dataclass(frozen=True, kw_only=True)
class ImplicitReward:
    """log π(y|x) - log π_ref(y|x), the reward that DPO fits up to β and a term of the prompt.

    Rafailov et al. 2023 (https://arxiv.org/abs/2305.18290), equation 5. β scales all rewards alike
    and is left out.

    reference: None: the policy's log-prob alone.
    per_token: whether log-probs are divided by the number of tokens, as IPO, SimPO and ORPO do.
    """

    policy: str
    reference: str | None
    per_token: bool


def implicit_reward(policy: str, reference: str | None, per_token: bool | None) -> ImplicitReward:
    """The implicit reward of a policy; what is None comes from the policy's DPO run.

    Args:
        policy: a folder or hub id.
        reference: a folder or hub id, or `none`.
        per_token: whether log-probs are divided by the number of tokens.

    Raises:
        ConfigError: no reference is given, and the policy is not the folder of a DPO run.
    """
    file = Path(policy) / CONFIG
    keys = read_yaml(file) if file.is_file() else {}
    loss = str(keys.get("loss_type", "")) if "beta" in keys else ""
    if reference is None and loss in WITHOUT_REFERENCE:
        reference = NONE
    if reference is None and not loss:
        raise ConfigError(
            f"policy={policy} is not the folder of a run of `rlhf dpo`, so its reference is "
            "unknown; set reference to the model that it was trained from, or to `none`.",
            code="missing-key",
        )
    chosen = str(keys["model_name_or_path"]) if reference is None else reference
    return ImplicitReward(
        policy=policy,
        reference=None if chosen == NONE else chosen,
        per_token=loss in PER_TOKEN if per_token is None else per_token,
    )


def implicit_scores(
    reward: ImplicitReward,
    prompts: Sequence[Prompt],
    responses: Sequence[str],
    *,
    template: JudgeTemplate,
    device: torch.device,
) -> list[float]:
    """The implicit reward of each response in nats. One model is in memory at a time.

    Raises:
        CheckpointError: a model that does not load.
        DataError: a response that the policy's template cannot render.
    """
    chat = load_checked_tokenizer(
        reward.policy, template.template, template_kwargs=template.kwargs, samples=False
    )[0]
    rows = token_rows(chat, prompts, responses)
    logprobs = _logprobs(reward.policy, rows, device)
    if reward.reference is not None:
        logprobs = logprobs - _logprobs(reward.reference, rows, device)
    if reward.per_token:
        logprobs = logprobs / torch.tensor([len(row.response_ids) for row in rows])
    values: list[float] = logprobs.tolist()
    return values


def token_rows(
    chat: ChatTokenizer, prompts: Sequence[Prompt], responses: Sequence[str]
) -> list[TokenResponse]:
    """The ids of each prompt and response, as the policy reads them."""
    return [
        token_response(chat, prompt, response)
        for prompt, response in zip(prompts, responses, strict=True)
    ]


def _logprobs(path: str, rows: Sequence[TokenResponse], device: torch.device) -> Tensor:
    """Float64 [N], of the responses in nats under the model at `path`."""
    model = on_device(load_policy(path), device)
    known = KnownLogprobs(ResponseLogprobs(model, bf16=False), training=False)
    return known.read_together(rows, title=f"responses with {Path(path).name}").double()
