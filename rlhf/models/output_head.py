"""The output layer of a language model, for code that calls it on parts of the hidden states."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import PreTrainedModel

from rlhf.models.cpu_kernels.linear import FastLinear, fast_linear
from rlhf.models.protocols import CausalLM
from rlhf.ops.chunked_head import head_logprobs, head_logprobs_and_entropy

LOGITS = (-90.0, -3.0, -0.5, 0.0, 0.25, 2.0, 70.0)  # to see what a model does with its logits


@dataclass(frozen=True, kw_only=True)
class OutputHead:
    """A linear output layer, and the bound of its logits (Gemma's soft-capping)."""

    layer: nn.Linear
    softcap: float | None

    @property
    def vocabulary(self) -> int:
        """Number of logits of a position."""
        return len(self.layer.weight)

    def logprobs(self, states: Tensor, tokens: Tensor, *, temperature: float) -> Tensor:
        """Log-probs of `tokens`, long [N], float32 [N]. states: float [N, D]."""
        return head_logprobs(
            states,
            self.layer.weight,
            tokens,
            temperature=temperature,
            bias=self.layer.bias,
            softcap=self.softcap,
            linear=fast_linear if isinstance(self.layer, FastLinear) else None,
        )

    def logprobs_and_entropy(
        self, states: Tensor, tokens: Tensor, *, temperature: float
    ) -> tuple[Tensor, Tensor]:
        """`logprobs`, and the entropy of the distribution at each token, float32 [N] each."""
        return head_logprobs_and_entropy(
            states,
            self.layer.weight,
            tokens,
            temperature=temperature,
            bias=self.layer.bias,
            softcap=self.softcap,
            linear=fast_linear if isinstance(self.layer, FastLinear) else None,
        )

    def logits(self, states: Tensor) -> Tensor:
        """Logits [n, V] of states [n, D]."""
        return _capped(self.layer(states), self.softcap)


def plain_head(model: CausalLM) -> OutputHead | None:
    """The output layer, if the model's logits are a linear map of its states, soft-capped or not.

    None for all others: LoRA on the layer, a layer that is trained next to LoRA, quantised
    weights, logits that the model scales (Cohere, Granite). To find out, the model's own forward
    is called on made-up logits, without its decoder; no weight is read.
    """
    inner = model.get_base_model() if isinstance(model, PeftModel) else model
    layer = model.get_output_embeddings()
    if not isinstance(inner, PreTrainedModel) or type(layer) not in (nn.Linear, FastLinear):
        return None
    logits = torch.tensor([[LOGITS]])
    changed = _after_the_head(inner, layer, logits)
    softcap = getattr(inner.config.get_text_config(), "final_logit_softcapping", None)
    for bound in {None, softcap}:
        if changed is not None and torch.allclose(changed, _capped(logits, bound), atol=1e-4):
            return OutputHead(layer=layer, softcap=bound)
    return None


@contextmanager
def replaced_forward(module: nn.Module, function: Callable[..., object]) -> Iterator[None]:
    """Let calls of `module` call `function` inside `with`."""
    own = vars(module).get("forward")
    vars(module)["forward"] = function
    try:
        yield
    finally:
        del vars(module)["forward"]
        if own is not None:
            vars(module)["forward"] = own


class _NotPlainError(Exception):
    """The model calls parts of its decoder itself."""


class _States:
    """The output of a decoder: its states, and None for everything else."""

    def __init__(self) -> None:
        self.last_hidden_state = torch.zeros(1, 1, 1)

    def __getattr__(self, name: str) -> None:
        return None

    def __getitem__(self, index: int) -> Tensor:
        return (self.last_hidden_state,)[index]


@torch.no_grad()
def _after_the_head(model: PreTrainedModel, layer: nn.Module, logits: Tensor) -> Tensor | None:
    """What the model's forward makes of `logits`; None if it needs more than its trunk's states."""
    trunk = model.base_model
    if trunk is model:
        return None

    def stop(*args: object, **kwargs: object) -> None:
        raise _NotPlainError

    def states(*args: object, **kwargs: object) -> _States:
        return _States()

    with ExitStack() as stack:
        for child in trunk.children():  # such a call would gather sharded weights on one process
            stack.enter_context(replaced_forward(child, stop))
        stack.enter_context(replaced_forward(trunk, states))
        stack.enter_context(replaced_forward(layer, lambda _: logits))
        try:
            output: Tensor = model.forward(
                input_ids=torch.zeros(1, 1).long(), use_cache=False
            ).logits
        except (_NotPlainError, AttributeError, IndexError, TypeError, ValueError, RuntimeError):
            return None  # another kind of model
    return output.float() if output.shape == logits.shape else None


def _capped(logits: Tensor, softcap: float | None) -> Tensor:
    return logits if softcap is None else softcap * torch.tanh(logits / softcap)
