"""Sizes of published models, as in their config.json. Loads neither torch nor transformers."""

from rlhf.models.shape import ModelShape

SMOLLM2 = ModelShape(
    name="SmolLM2-135M", num_layers=30, hidden_size=576, intermediate_size=1536, num_heads=9,
    num_kv_heads=3, vocab_size=49152, tied=True,
)  # fmt: skip
QWEN_05B = ModelShape(
    name="0.5B", num_layers=24, hidden_size=896, intermediate_size=4864, num_heads=14,
    num_kv_heads=2, vocab_size=151936, tied=True, bias=True,
)  # fmt: skip
QWEN_15B = ModelShape(
    name="1.5B", num_layers=28, hidden_size=1536, intermediate_size=8960, num_heads=12,
    num_kv_heads=2, vocab_size=151936, tied=True, bias=True,
)  # fmt: skip
LLAMA_8B = ModelShape(
    name="8B", num_layers=32, hidden_size=4096, intermediate_size=14336, num_heads=32,
    num_kv_heads=8, vocab_size=128256, tied=False, bias=False,
)  # fmt: skip
LLAMA2_7B = ModelShape(
    name="7B", num_layers=32, hidden_size=4096, intermediate_size=11008, num_heads=32,
    num_kv_heads=32, vocab_size=32000, tied=False, bias=False,
)  # fmt: skip
