"""Small decoders for tests, and their models."""

from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedModel, Qwen2Config

from rlhf.models.shape import ModelShape

SMALL = ModelShape(
    name="small",
    num_layers=3,
    hidden_size=128,
    intermediate_size=320,
    num_heads=4,
    num_kv_heads=2,
    vocab_size=500,
    tied=True,
)


def config_of(shape: ModelShape) -> LlamaConfig | Qwen2Config:
    """The configuration of a Llama, or of a Qwen2 where there are biases."""
    kind = Qwen2Config if shape.bias else LlamaConfig
    return kind(
        num_hidden_layers=shape.num_layers,
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_attention_heads=shape.num_heads,
        num_key_value_heads=shape.num_kv_heads,
        vocab_size=shape.vocab_size,
        tie_word_embeddings=shape.tied,
        max_position_embeddings=4096,
    )


def model_of(shape: ModelShape) -> PreTrainedModel:
    """The model with random weights."""
    return AutoModelForCausalLM.from_config(config_of(shape))
