import copy

import torch
from tiny_models import make_model

from rlhf.models.attention import NAME, use_fast_cpu_attention
from rlhf.models.load import load_policy


def test_values_and_gradients_are_those_of_plain_attention(tmp_path):
    plain = load_policy(make_model(tmp_path / "llama"))
    fast = copy.deepcopy(plain)
    use_fast_cpu_attention(fast)
    assert fast.config._attn_implementation == NAME
    ids = torch.randint(5, 200, (3, 9))
    for bf16, tolerance in ((False, 0.0), (True, 3e-2)):
        found = []
        for model in (plain, fast):
            model.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                logits = model(ids, use_cache=False).logits
            logits.float().square().mean().backward()
            found.append((logits.float(), model.model.layers[0].self_attn.q_proj.weight.grad))
        torch.testing.assert_close(found[0], found[1], atol=tolerance, rtol=tolerance)


def test_saved_configuration_does_not_name_it(tmp_path):
    model = load_policy(make_model(tmp_path / "llama"))
    use_fast_cpu_attention(model)
    model.save_pretrained(tmp_path / "saved")
    assert NAME not in (tmp_path / "saved" / "config.json").read_text()
