"""PPO-ptx: train on pretraining text in addition to the reward."""

from collections.abc import Sequence
from functools import partial

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from rlhf.data.collate import right_pad
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.errors import DataError
from rlhf.models.forward import policy_logprobs
from rlhf.models.microbatches import microbatch_schedule, partition_rows
from rlhf.models.sequences import Sequences, as_sequences
from rlhf.models.shard import as_forward_of, full
from rlhf.training.ppo.compute import Compute
from rlhf.training.ppo.config import PPOConfig
from rlhf.training.ppo.modes import PPOModels
from rlhf.training.ppo.rollout import prompts_for_step
from rlhf.training.ppo.setup import PPOSetup


class Pretraining:
    """Adds the gradient of ptx_coef * language-model loss to each optimizer step.

    Ouyang et al. 2022 (https://arxiv.org/abs/2203.02155), eq. 2: their 27.8 fits their loss
    scale and is not a safe default here. Each step reads `minibatch_size` texts. Its number
    determines which, so that a resumed run reads the same ones.
    """

    def __init__(
        self, accelerator: Accelerator, models: PPOModels, setup: PPOSetup, compute: Compute
    ) -> None:
        self.accelerator, self.compute = accelerator, compute
        self.config, self.seed = setup.config, setup.seed
        self.sharded = models.sharded
        self.logprobs = as_forward_of(
            models.policy_module, partial(policy_logprobs, models.policy, temperature=1.0)
        )
        self.coef = setup.config.ptx_coef or 0.0
        self.texts = encode_texts(setup.texts, setup.chat, setup.config)

    def add_gradients(self, parameters: Sequence[nn.Parameter], number: int) -> dict[str, Tensor]:
        """Add this loss's gradient to that of `parameters`; its loss, and the norms of both parts.

        number: of the optimizer step, from 0. PPO's gradients are summed over ranks before; this
        part's are summed here.
        """
        before = [_gradient(parameter) for parameter in parameters]
        for parameter in parameters:
            parameter.grad = None
        loss = self._backward(number)
        added = [_gradient(parameter) for parameter in parameters]
        if not self.sharded:  # else they already are means over ranks
            added = [self.accelerator.reduce(gradient, "mean") for gradient in added]
        for parameter, ptx, ppo in zip(parameters, added, before, strict=True):
            parameter.grad = ptx + ppo
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
        partition = partition_rows(lengths, world, self.compute.microbatch_tokens)
        for group, weight, _ in microbatch_schedule(
            partition, self.accelerator.process_index, alike=self.sharded
        ):
            sequences = _sequences([rows[row] for row in group.tolist()], device)
            with self.compute.autocast():
                loss = -weight * self.logprobs(sequences).sum() / num_tokens
            torch.autograd.backward(self.coef * world * loss)
            total += loss.detach()
        return total


def encode_texts(texts: Sequence[str], chat: ChatTokenizer, config: PPOConfig) -> list[list[int]]:
    """Ids of each text, cut to the longest sequence of the run.

    Raises:
        DataError: a text of fewer than two tokens, which predicts nothing.
    """
    encoded = [
        list(chat.tokenizer(text, verbose=False)["input_ids"])[: config.max_length]
        for text in texts
    ]
    for text, ids in zip(texts, encoded, strict=True):
        if len(ids) < 2:
            raise DataError(
                f"ptx_data: the text {text!r} has {len(ids)} tokens; it needs at least 2.",
                code="bad-row",
            )
    return encoded


def _sequences(rows: Sequence[list[int]], device: torch.device) -> Sequences:
    """Each text as a prompt of one token and a response of all the others; 0 on padding."""
    ids, mask = (tensor.to(device) for tensor in right_pad(rows, 0))
    return as_sequences(ids[:, :1], mask[:, :1], ids[:, 1:], mask[:, 1:])


def _gradient(parameter: nn.Parameter) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
