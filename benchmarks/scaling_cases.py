"""Models, engines and batches of docs/explanation/scaling.md."""

from rlhf.models.shape import ModelShape
from rlhf.planning.case import Batch, Engine
from rlhf.planning.machines import GPUS

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
MODELS = (QWEN_05B, QWEN_15B, LLAMA_8B)

H100, H200, A100, L4 = (GPUS[name] for name in ("H100-80", "H200-141", "A100-80", "L4-24"))

PLANNED = Engine(
    name="engine", launches=False, alive_share=1.0, separate=True, tensor_parallel=(1, 2, 4, 8)
)

PPO = Batch(name="PPO", critic=True, num_prompts=512, num_generations=1)
GRPO = Batch(name="GRPO", critic=False, num_prompts=128, num_generations=8)
BATCHES = (PPO, GRPO)
NUM_GPUS = (1, 8, 64)
