"""Models, engines and batches of docs/explanation/scaling.md."""

from benchmarks.shapes import LLAMA_8B, QWEN_05B, QWEN_15B
from rlhf.planning.case import Batch, Engine
from rlhf.planning.machines import GPUS

MODELS = (QWEN_05B, QWEN_15B, LLAMA_8B)

H100, H200, A100, L4 = (GPUS[name] for name in ("H100-80", "H200-141", "A100-80", "L4-24"))

PLANNED = Engine(
    name="engine", launches=False, alive_share=1.0, separate=True, tensor_parallel=(1, 2, 4, 8)
)

PPO = Batch(name="PPO", critic=True, num_prompts=512, num_generations=1)
GRPO = Batch(name="GRPO", critic=False, num_prompts=128, num_generations=8)
BATCHES = (PPO, GRPO)
NUM_GPUS = (1, 8, 64)
