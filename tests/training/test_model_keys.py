"""Keys of the backbone in SFT, reward models and PPO: LoRA variants, attention, types; resume."""

import pytest
import torch

from rlhf.models.config import ModelConfig, step_keys
from rlhf.models.load import load_policy, set_attention
from rlhf.models.lora import add_lora
from rlhf.models.memory import frozen_dtype
from rlhf.models.reward_init import load_model
from rlhf.training.common.metrics import read_metrics
from rlhf.training.reward.config import RewardModelConfig
from rlhf.training.reward.trainer import RewardTrainer
from rlhf.training.sft.config import SFTConfig
from rlhf.training.sft.trainer import SFTTrainer
from tests.errors import raises
from tests.tiny_models import make_model
from tests.training.ppo.tiny_ppo import make_folder
from tests.training.ppo.tiny_ppo import trainer as ppo_trainer
from tests.training.tiny_runs import assert_same_weights, rankings

LORA = {"use_peft": True, "lora_r": 4}
DEMONSTRATIONS = [
    {"prompt": f"Where is the {thing}?", "completion": f"The {thing} is in the {place}."}
    for thing in ("ball", "cat", "dog", "bird")
    for place in ("box", "sea")
]
RANKINGS = [
    {"prompt": row.prompt, "responses": row.responses, "ranks": row.ranks} for row in rankings(16)
]
KEYS = {"max_steps": 4, "save_steps": 2, "save_total_limit": 9, "learning_rate": 1e-2,
        "per_device_train_batch_size": 2, "logging_steps": 1, "num_samples": 0}  # fmt: skip
VARIANTS = [
    {"lora_dropout": 0.3},
    {"use_dora": True, "use_rslora": True},
]


def model_config(path, **keys):
    return ModelConfig(model_name_or_path=str(path), **({"bf16": False} | keys))


def sft(path, folder, resume=None, **keys):
    model, config = model_config(path, **keys), SFTConfig(**KEYS)
    one = SFTTrainer(
        model, DEMONSTRATIONS, config=config, output_dir=folder, resume_from_checkpoint=resume
    )
    one.train()
    return one._model


def reward(path, folder, resume=None, **keys):
    model, config = model_config(path, **keys), RewardModelConfig(**KEYS)
    one = RewardTrainer(
        model, RANKINGS, config=config, output_dir=folder, resume_from_checkpoint=resume
    )
    one.train()
    return one._scores.scorer.model


def ppo(path, folder, resume=None, **keys):
    options = {"mode": "lora", "lora_r": 4, "max_steps": 2} | keys
    one = ppo_trainer(path.parent, folder, resume, **options)
    one.train()
    return one.models.policy


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("keys")) / "policy"


@pytest.mark.parametrize("train", [sft, reward])
@pytest.mark.parametrize("keys", VARIANTS, ids=str)
def test_resumed_run_with_lora_keys_is_bit_identical(policy, tmp_path, train, keys):
    """Dropout draws the same masks after step 2; without it the weights are others."""
    whole = train(policy, tmp_path / "whole", **LORA, **keys)
    again = train(policy, tmp_path / "again", tmp_path / "whole" / "checkpoint-2", **LORA, **keys)
    assert_same_weights(whole, again, rtol=0, atol=0)
    plain = dict(train(policy, tmp_path / "plain", **LORA).named_parameters())
    changed = {name: p for name, p in whole.named_parameters() if name in plain}
    assert not all(torch.equal(plain[name], weight) for name, weight in changed.items())


def test_resumed_ppo_run_with_lora_keys_is_bit_identical(policy, tmp_path):
    keys = {"use_dora": True, "use_rslora": True}
    whole = ppo(policy, tmp_path / "whole", **keys)
    again = ppo(policy, tmp_path / "again", tmp_path / "whole" / "checkpoint-1", **keys)
    assert_same_weights(whole, again, rtol=0, atol=0)


@pytest.mark.parametrize("train", [sft, reward, ppo])
def test_checkpoint_of_other_lora_keys_is_rejected(policy, tmp_path, train):
    lora = {} if train is ppo else LORA
    train(policy, tmp_path / "run", **lora)
    checkpoint = tmp_path / "run" / ("checkpoint-1" if train is ppo else "checkpoint-2")
    with raises("other-run", "use_rslora", True):
        train(policy, tmp_path / "again", checkpoint, use_rslora=True, **lora)


def test_saved_dora_adapter_loads_merged(policy, tmp_path):
    keys = {"use_dora": True, "use_rslora": True}
    one = SFTTrainer(model_config(policy, **LORA, **keys), DEMONSTRATIONS, config=SFTConfig(**KEYS))
    one.train()
    loaded = load_policy(one.save(tmp_path / "saved")).eval()
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        trained, before = one._model.eval()(ids).logits, load_policy(policy).eval()(ids).logits
        torch.testing.assert_close(loaded(ids).logits, trained, rtol=1e-4, atol=1e-4)
    assert (trained - before).abs().max() > 1e-2


def test_rank_stabilised_scale_divides_by_the_root_of_the_rank(policy):
    """8 / √4 = 4 in place of 8 / 4 = 2."""
    scales = []
    for keys in ({}, {"use_rslora": True}):
        config = model_config(policy, use_peft=True, lora_r=4, lora_alpha=8, **keys)
        model = add_lora(load_policy(policy), config, "CAUSAL_LM")
        layer = next(m for name, m in model.named_modules() if name.endswith("q_proj"))
        scales.append(layer.scaling["default"])
    assert scales == [2, 4]


def test_dropout_is_off_in_evaluation(policy):
    config = model_config(policy, lora_dropout=0.5, **LORA)
    model = add_lora(load_policy(policy), config, "CAUSAL_LM")
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if ".lora_B." in name:
                weight.normal_()
    ids = torch.tensor([[5, 6, 7]])
    model.eval()
    assert torch.equal(model(ids).logits, model(ids).logits)
    model.train()
    assert not torch.equal(model(ids).logits, model(ids).logits)


@pytest.mark.parametrize(
    ("keys", "dtype"),
    [
        ({"bf16": True}, torch.bfloat16),
        ({"bf16": True, "dtype": "bfloat16"}, torch.bfloat16),
        ({"bf16": True, "dtype": "float32"}, torch.float32),
        ({"bf16": False}, torch.float32),
    ],
)
def test_dtype_is_that_of_frozen_weights(policy, tmp_path, keys, dtype):
    """Trained weights are float32 whatever the key. A reward model is merged in float32."""
    for model in (
        sft(policy, tmp_path / "sft", **LORA, **keys),
        ppo(policy, tmp_path / "ppo", **keys),
        load_model(config := model_config(policy, **LORA, **keys), seed=0,
                   dtype=frozen_dtype(config, bf16=keys["bf16"])),
    ):  # fmt: skip
        types = {p.dtype for name, p in model.named_parameters() if "q_proj.base_layer" in name}
        assert types == {dtype}
        assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}


@pytest.mark.parametrize("train", [sft, reward])
def test_eager_attention_gives_the_same_losses(policy, tmp_path, train):
    losses = []
    for name in ("eager", "sdpa"):
        model = train(policy, tmp_path / name, attn_implementation=name)
        assert (name == "eager") == (model.config._attn_implementation == "eager")
        losses.append([x["loss"] for x in read_metrics(tmp_path / name) if "loss" in x])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_attention_is_set_in_every_model_of_ppo(policy, tmp_path):
    one = ppo_trainer(policy.parent, tmp_path / "run", attn_implementation="eager")
    one.train()
    with one.models.reference() as reference:
        models = [one.models.policy, reference, one.models.critic.trunk]
    assert {model.config._attn_implementation for model in models} == {"eager"}


def test_attention_that_a_model_lacks_is_an_error(tmp_path):
    model = load_policy(make_model(tmp_path / "mamba2", "mamba2"))
    with raises("unsupported", "attn_implementation=flash_attention_2"):
        set_attention(model, "flash_attention_2")


@pytest.mark.parametrize(
    ("keys", "code", "name"),
    [
        ({"lora_dropout": 0.1}, "key-conflict", "use_peft"),
        ({"use_dora": True}, "key-conflict", "use_peft"),
        ({"use_rslora": True}, "key-conflict", "use_peft"),
        ({"dtype": "float32"}, "key-conflict", "use_peft"),
        ({**LORA, "lora_dropout": 1.0}, "bad-value", "lora_dropout=1.0"),
        ({**LORA, "lora_dropout": -0.1}, "bad-value", "lora_dropout=-0.1"),
        ({**LORA, "lora_dropout": float("nan")}, "bad-value", "lora_dropout=nan"),
        ({**LORA, "dtype": "float16"}, "bad-value", "dtype"),
        ({**LORA, "dtype": "bfloat16", "bf16": False}, "key-conflict", "dtype=bfloat16"),
        ({"attn_implementation": "fast"}, "bad-value", "attn_implementation"),
    ],
)
def test_keys_without_effect_or_out_of_range_raise(keys, code, name):
    with raises(code, name):
        ModelConfig(model_name_or_path="x", **keys)


def test_bf16_weights_need_a_device_that_computes_in_bf16():
    """With bf16 left out, the device decides."""
    config = ModelConfig(model_name_or_path="x", dtype="bfloat16", **LORA)
    assert frozen_dtype(config, bf16=True) == torch.bfloat16
    with raises("key-conflict", "dtype=bfloat16", "bf16"):
        frozen_dtype(config, bf16=False)


def test_checkpoints_without_the_keys_equal_runs_without_them():
    config = ModelConfig(model_name_or_path="x")
    assert set(step_keys(config).values()) == {None}
