"""Log-probs in parts with sharded weights (FSDP2) and DDP: the gradients of one process."""

import json
import os
import subprocess
import sys

import pytest
import torch

from rlhf.models.load import load_policy
from rlhf.training.ppo.config import PPOConfig
from rlhf.training.ppo.modes import Actor
from tests.models.test_forward import sequences
from tests.tiny_models import make_model

# Both processes read the same rows: the mean of their gradients is the gradient of one process.
SCRIPT = """
import json, sys
import torch
from torch.nn.parallel import DistributedDataParallel
from rlhf.models.load import load_policy
from rlhf.models.shard import full, shard
from rlhf.ops import chunked_head
from rlhf.training.ppo.config import PPOConfig
from rlhf.training.ppo.modes import Actor
from tests.models.test_forward import sequences

chunked_head.LOGITS, chunked_head.MIN_ROWS = 0, 2
torch.distributed.init_process_group("gloo")
policy = load_policy(sys.argv[1])
actor = Actor(policy, PPOConfig(max_steps=1, temperature=0.7))
if sys.argv[3] == "fsdp":
    shard(actor, policy._no_split_modules, torch.device("cpu"))
    wrapped = actor
else:
    wrapped = DistributedDataParallel(actor)
for _ in range(2):
    actor.zero_grad()
    logprobs = wrapped(sequences()).logprobs
    (logprobs * torch.arange(1.0, 10).view(3, 3)).sum().backward()
norms = {name: full(p.grad).norm().item() for name, p in actor.named_parameters()}
if torch.distributed.get_rank() == 0:
    with open(sys.argv[2], "w") as file:
        json.dump({"logprobs": logprobs.tolist(), "norms": norms}, file)
torch.distributed.destroy_process_group()
"""


@pytest.mark.parametrize("family", ["llama", "gemma"])  # Gemma's embeddings are tied
@pytest.mark.parametrize("kind", ["fsdp", "ddp"])
def test_two_processes_give_the_gradients_of_one(tmp_path, root, family, kind):
    script, result = tmp_path / "script.py", tmp_path / "result.json"
    script.write_text(SCRIPT)
    model = make_model(tmp_path / family, family)
    subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc_per_node", "2", script, model, result, kind),
        ],
        env=os.environ | {"PYTHONPATH": str(root)},
        check=True,
        timeout=300,
    )
    actor = Actor(load_policy(model), PPOConfig(max_steps=1, temperature=0.7))
    logprobs = actor(sequences()).logprobs
    (logprobs * torch.arange(1.0, 10).view(3, 3)).sum().backward()
    written = json.loads(result.read_text())
    torch.testing.assert_close(torch.tensor(written["logprobs"]), logprobs.detach())
    expected = {name: p.grad.norm().item() for name, p in actor.named_parameters()}
    assert written["norms"] == pytest.approx(expected, rel=1e-4, abs=1e-6)
