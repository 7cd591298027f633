"""PPO-ptx: beside the reward, go on learning the text the model was pretrained on."""

from collections.abc import Sequence
from functools import partial

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from rlhf.data.collate import right_pad
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.errors import DataError
from rlhf.models.forward import (
    Sequences,
    as_sequences,
    microbatch_schedule,
    partition_rows,
    policy_logprobs,
)
from rlhf.models.shard import as_forward_of, full
from rlhf.training.ppo.config import PPOConfig
from rlhf.training.ppo.models import autocast, computes_in_bf16
from rlhf.training.ppo.modes import PPOModels
from rlhf.training.ppo.rollout import prompts_for_step


class Pretraining:
    """Adds the gradient of ptx_coef * language-model loss to each optimizer step.

    Ouyang et al. 2022 (https://arxiv.org/abs/2203.02155), eq. 2: their 27.8 fits their loss
    scale and is no safe default here. Each step reads `minibatch_size` texts; which ones
    follows from its number, so that a resumed run reads what it would have read.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        models: PPOModels,
        texts: Sequence[str],
        chat: ChatTokenizer,
        config: PPOConfig,
        *,
        seed: int,
    ) -> None:
        self.accelerator, self.config, self.seed = accelerator, config, seed
        self.sharded = models.sharded
        self.logprobs = as_forward_of(
            models.learners[0], partial(policy_logprobs, models.policy, temperature=1.0)
        )
        self.coef = config.ptx_coef or 0.0
        self.texts = encode_texts(texts, chat, config)

    def add_gradients(self, parameters: Sequence[nn.Parameter], number: int) -> dict[str, Tensor]:
        """Add this part's gradient to what `parameters` hold; loss and the norms of both parts.

        number: of the optimizer step, from 0. The gradients of PPO's part have been summed over
        ranks already; this part's are here.
        """
        before = [_gradient(parameter) for parameter in parameters]
        for parameter in parameters:
            parameter.grad = None
        loss = self._backward(number)
        added = [_gradient(parameter) for parameter in parameters]
        if not self.sharded:  # else they are means over ranks already
            added = [self.accelerator.reduce(gradient, "mean") for gradient in added]
        for parameter, mine, others in zip(parameters, added, before, strict=True):
            parameter.grad = mine + others
        return {
            "ptx_loss": self.accelerator.reduce(loss, "sum"),
            "ppo_grad_norm": full(torch.nn.utils.get_total_norm(before)),
            "ptx_grad_norm": full(torch.nn.utils.get_total_norm(added)),
        }

    def _backward(self, number: int) -> Tensor:
        """This rank's part of the loss per token, a scalar, after its backward pass."""
        rows = prompts_for_step(
            self.texts, number, count=self.config.minibatch_size, seed=self.seed
        )
        num_tokens = sum(len(ids) - 1 for ids in rows)  # over all ranks
        device, world = self.accelerator.device, self.accelerator.num_processes
        total = torch.zeros((), device=device)
        lengths = torch.tensor([len(ids) for ids in rows])
        dealt = partition_rows(lengths, world, self.config.microbatch_tokens)
        for group, weight, _ in microbatch_schedule(
            dealt, self.accelerator.process_index, alike=self.sharded
        ):
            sequences = _sequences([rows[row] for row in group.tolist()], device)
            with autocast(device, computes_in_bf16(self.config)):
                loss = -weight * self.logprobs(sequences).sum() / num_tokens
            torch.autograd.backward(self.coef * world * loss)
            total += loss.detach()
        return total


def encode_texts(texts: Sequence[str], chat: ChatTokenizer, config: PPOConfig) -> list[list[int]]:
    """Ids of each text, cut to the longest sequence of the run.

    Raises:
        DataError: a text of fewer than two tokens, which predicts nothing.
    """
    limit = config.max_prompt_length + config.max_completion_length
    encoded = [list(chat.tokenizer(text, verbose=False)["input_ids"])[:limit] for text in texts]
    for text, ids in zip(texts, encoded, strict=True):
        if len(ids) < 2:
            raise DataError(f"ptx_data: the text {text!r} has {len(ids)} tokens; 2 are needed.")
    return encoded


def _sequences(rows: Sequence[list[int]], device: torch.device) -> Sequences:
    """Each text as a prompt of one token and a response of all the others; 0 on padding."""
    ids, mask = (tensor.to(device) for tensor in right_pad(rows, 0))
    return as_sequences(ids[:, :1], mask[:, :1], ids[:, 1:], mask[:, 1:])


def _gradient(parameter: nn.Parameter) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
