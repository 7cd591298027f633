"""One decoding step of a Llama-like model on a CPU, in fewer operators.

transformers' layers compute a step in many small operators, whose fixed costs exceed the arithmetic
for a small model. This step has fewer: one product for queries, keys and values, one for gate and
up, one rotation, and attention that does not repeat keys and values. It is faster where weights are
cast to bf16, and as fast in float32: docs/research/lab-notes.md has measurements.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor, nn
from torch.nn.functional import embedding, linear, rms_norm, scaled_dot_product_attention, silu

from rlhf.models.cpu_kernels.linear import FastLinear
from rlhf.models.cpu_kernels.lora import FastLora
from rlhf.models.generation.kv_cache import SlabCache
from rlhf.models.protocols import CausalLM

# transformers' models with the structure that `LlamaStep` computes.
LLAMA_LIKE = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")
PLAIN_LINEAR, PLAIN_LORA = (nn.Linear, FastLinear), (LoraLinear, FastLora)


class LlamaStep:
    """The next token's logits of every row; weights are read when it is made.

    Make one after each change of the weights, when the cache has the prompts: the step computes in
    the type of the cache. If the weights have another one, or LoRA adapters, they are cast and
    joined once; otherwise they are used without a copy.
    """

    def __init__(self, model: CausalLM, cache: SlabCache) -> None:
        inner = _inner(model)
        config = inner.config
        head_dim = inner.model.layers[0].self_attn.head_dim
        # The precision of the forward pass over the prompts: autocast may be on around the decoder
        # or within the model's own forward.
        dtype = cache.slabs[0].keys.dtype
        self.cache, self.dtype = cache, dtype
        self.embedding = inner.model.embed_tokens.weight
        self.rotary = inner.model.rotary_emb
        self.heads = Heads(config.num_attention_heads, config.num_key_value_heads, head_dim)
        self.layers = [Layer(layer, self.heads, dtype) for layer in inner.model.layers]
        self.norm = Norm(inner.model.norm)
        self.head = Projection([inner.lm_head], dtype)

    def __call__(self, tokens: Tensor, positions: Tensor, mask: Tensor) -> Tensor:
        """Logits [B, V] after one more token in each row; appends its keys and values.

        Args:
            tokens: long [B].
            positions: long [B], of these tokens in their rows.
            mask: bool [B, T], the cells of the cache that the row attends to; the last is the new.
        """
        states = embedding(tokens, self.embedding)
        # [B, 1, head_dim] each, in float32.
        cosine, sine = self.rotary(states.float()[:, None], positions[:, None])
        bias = torch.zeros(mask.shape, dtype=self.dtype).masked_fill_(~mask, float("-inf"))
        bias = bias[:, None, None, :]
        # Autocast would look up every weight in its cache; the weights here have the right type.
        with torch.autocast("cpu", enabled=False):
            for layer, slab in zip(self.layers, self.cache.slabs, strict=True):
                states = layer(states, cosine, sine, bias, slab.append)
            return self.head(self.norm(states).to(self.dtype))


@dataclass(frozen=True)
class Heads:
    """Number and size of the attention heads."""

    num_queries: int
    num_keys: int
    size: int


class Norm:
    """RMS norm in float32."""

    def __init__(self, module: nn.Module) -> None:
        weight: Any = module.weight
        self.weight: Tensor = weight.float()
        self.epsilon: float = module.variance_epsilon  # type: ignore[assignment]

    def __call__(self, states: Tensor) -> Tensor:
        """float32 [..., D] of float [..., D]."""
        return rms_norm(states.float(), self.weight.shape, self.weight, self.epsilon)


class Projection:
    """Linear layers with one input, side by side; with their LoRA adapters, if any.

    An adapter's first matrix A is behind the weights: one product gives the outputs and A x.
    """

    def __init__(self, modules: Sequence[nn.Module], dtype: torch.dtype) -> None:
        bases = [_base(module) for module in modules]
        weights: list[Tensor] = [base.weight for base in bases]
        biases = [base.bias for base in bases if base.bias is not None]
        down, self.up = _adapters(modules, dtype)
        self.size = sum(len(weight) for weight in weights)
        # A cast makes a copy anyway. So does LoRA, whose frozen weights may have the type already.
        if down is not None or weights[0].dtype != dtype:
            parts = weights if down is None else [*weights, down]
            weights = [_packed(torch.cat([part.to(dtype) for part in parts]))]
        self.weights = weights
        self.bias = torch.cat(biases).to(dtype) if biases else None

    def __call__(self, inputs: Tensor) -> Tensor:
        """[B, sum of the layers' outputs] of [B, in]."""
        parts = [_product(inputs, weight) for weight in self.weights]
        outputs = parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)
        if self.up is not None:
            low = outputs[:, self.size :]
            outputs = torch.addmm(outputs[:, : self.size], low, self.up)
        if self.bias is not None:
            outputs += self.bias
        return outputs


class Layer:
    """One decoder layer."""

    def __init__(self, layer: Any, heads: Heads, dtype: torch.dtype) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self.heads, self.dtype, self.scale = heads, dtype, attention.scaling
        self.before_attention = Norm(layer.input_layernorm)
        self.before_mlp = Norm(layer.post_attention_layernorm)
        projections = [attention.q_proj, attention.k_proj, attention.v_proj]
        self.query_key_value = Projection(projections, dtype)
        self.output = Projection([attention.o_proj], dtype)
        self.gate_up = Projection([mlp.gate_proj, mlp.up_proj], dtype)
        self.down = Projection([mlp.down_proj], dtype)
        has_norms = hasattr(attention, "q_norm")
        self.query_norm = Norm(attention.q_norm) if has_norms else None
        self.key_norm = Norm(attention.k_norm) if has_norms else None

    def __call__(
        self, states: Tensor, cosine: Tensor, sine: Tensor, bias: Tensor, append: Any
    ) -> Tensor:
        """Hidden states [B, D] after this layer."""
        inputs = self.before_attention(states).to(self.dtype)
        states = states + self.output(self._attend(inputs, cosine, sine, bias, append))
        gate, up = self.gate_up(self.before_mlp(states).to(self.dtype)).chunk(2, dim=-1)
        return states + self.down(silu(gate) * up)

    def _attend(
        self, inputs: Tensor, cosine: Tensor, sine: Tensor, bias: Tensor, append: Any
    ) -> Tensor:
        heads = self.heads
        projected = self.query_key_value(inputs).view(len(inputs), -1, heads.size)
        rotated = heads.num_queries + heads.num_keys
        turned = _rotate(self._normalised(projected[:, :rotated].float()), cosine, sine)
        turned = turned.to(self.dtype)
        keys, values = append(turned[:, heads.num_queries :], projected[:, rotated:])
        # The queries that share a key are the queries of one head: nothing is repeated.
        shape = (len(inputs), heads.num_keys, -1, heads.size)
        queries = turned[:, : heads.num_queries].reshape(shape)
        output = scaled_dot_product_attention(
            queries, keys, values, attn_mask=bias, scale=self.scale
        )
        return output.reshape(len(inputs), -1)

    def _normalised(self, states: Tensor) -> Tensor:
        if self.query_norm is None or self.key_norm is None:
            return states
        queries, keys = states.tensor_split([self.heads.num_queries], dim=1)
        return torch.cat([self.query_norm(queries), self.key_norm(keys)], dim=1)


def computes_step(model: CausalLM) -> bool:
    """Whether `LlamaStep` computes this model: known structure, full attention, on a CPU."""
    inner = _inner(model)
    if type(inner).__name__ not in LLAMA_LIKE or model.device.type != "cpu":
        return False
    config = inner.config
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    if kinds != {"full_attention"} or config.hidden_act not in ("silu", "swish"):
        return False
    if getattr(config, "sliding_window", None) is not None:
        return False
    return all(map(_is_known, _projections(inner)))


def _projections(inner: Any) -> list[nn.Module]:
    names = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    modules = [
        getattr(part, name)
        for layer in inner.model.layers
        for part in (layer.self_attn, layer.mlp)
        for name in names
        if hasattr(part, name)
    ]
    return [*modules, inner.lm_head]


def _is_known(module: Any) -> bool:
    if type(module) in PLAIN_LORA:
        # Variants are DoRA and others that compute more than B A x.
        plain = not (module.merged or module.lora_variant or any(module.lora_bias.values()))
        return plain and type(module.get_base_layer()) in PLAIN_LINEAR
    return type(module) in PLAIN_LINEAR


def _base(module: Any) -> Any:
    return module.get_base_layer() if type(module) in PLAIN_LORA else module


def _adapters(modules: Sequence[Any], dtype: torch.dtype) -> tuple[Tensor | None, Tensor | None]:
    """A [r, in] and Bᵀ [r, out] such that x Aᵀ Bᵀ is the sum of all active adapters' outputs."""
    downs: list[Tensor] = []
    ups: list[Tensor] = []
    sizes = [_base(module).out_features for module in modules]
    for index, module in enumerate(modules):
        if type(module) not in PLAIN_LORA or module.disable_adapters:
            continue
        for name in module.active_adapters:
            if name in module.lora_A:
                up = module.lora_B[name].weight * module.scaling[name]
                above, below = sum(sizes[:index]), sum(sizes[index + 1 :])
                ups.append(nn.functional.pad(up, (0, 0, above, below)))
                down = module.lora_A[name].weight
                assert isinstance(down, Tensor)
                downs.append(down)
    if not downs:
        return None, None
    return torch.cat(downs).to(dtype), torch.cat(ups, dim=1).T.to(dtype).contiguous()


def _rotate(states: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Rotary position embedding of [B, heads, size], as transformers computes it."""
    first, second = states.chunk(2, dim=-1)
    return states * cosine + torch.cat([-second, first], dim=-1) * sine


def _packed(weight: Tensor) -> Tensor:
    """The weight in oneDNN's blocked layout, which a product of few rows reads faster."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return weight
    return torch.ops.mkldnn._reorder_linear_weight(weight, None)  # type: ignore[no-any-return]


def _product(inputs: Tensor, weight: Tensor) -> Tensor:
    if not weight.is_mkldnn:
        return linear(inputs, weight)
    return torch.ops.mkldnn._linear_pointwise(inputs, weight, None, "none", [], "")  # type: ignore[no-any-return]


def _inner(model: CausalLM) -> Any:
    return model.base_model.model if isinstance(model, PeftModel) else model
