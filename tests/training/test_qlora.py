"""LoRA on a base in 4 bits (QLoRA), which bitsandbytes computes on CPUs too."""

import pytest
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification

from rlhf.models import four_bit
from rlhf.models.config import ModelConfig
from rlhf.models.four_bit import check_four_bit, dequantise, quantise
from rlhf.models.load import load_policy
from rlhf.models.lora import add_lora
from rlhf.models.merge import merge
from rlhf.models.reward_init import load_model, merged
from rlhf.models.scorer import Scorer, score_ids
from rlhf.training.common.metrics import read_metrics
from rlhf.training.reward.config import RewardModelConfig
from rlhf.training.reward.trainer import RewardTrainer
from rlhf.training.sft.config import SFTConfig
from rlhf.training.sft.trainer import SFTTrainer
from tests.errors import raises
from tests.recipes.ppo_runs import (
    TWO_PROCESSES,
    assert_same_results,
    launch,
    make_inputs,
    ppo_command,
)
from tests.tiny_models import make_model
from tests.training.ppo.tiny_ppo import make_folder
from tests.training.test_model_keys import DEMONSTRATIONS, KEYS, RANKINGS, ppo, reward, sft
from tests.training.tiny_runs import assert_same_weights

QLORA = {"use_peft": True, "lora_r": 4, "load_in_4bit": True}
IDS = torch.tensor([[5, 6, 7, 8]])


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("qlora")) / "policy"


@pytest.fixture
def bitsandbytes():
    return pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")


def config_of(path, **keys):
    return ModelConfig(model_name_or_path=str(path), **({"bf16": False} | QLORA | keys))


def is_four_bit(model):
    """Whether every layer under an adapter is stored in 4 bits."""
    layers = [m for name, m in model.named_modules() if name.endswith("base_layer")]
    kinds = {(type(layer).__name__, layer.weight.dtype) for layer in layers}
    return kinds == {("Linear4bit", torch.uint8)}


def with_random_adapter(model):
    """The model after its adapters were filled with small random numbers."""
    torch.manual_seed(1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if ".lora_B." in name:
                weight.normal_(0, 0.1)
    return model


@pytest.mark.usefixtures("bitsandbytes")
def test_weights_are_rounded_to_the_nearest_of_16_values(policy):
    """Table of appendix E of the paper; 0.4 is between 0.3379 and 0.4407, nearer to the second.

    Every block's largest weight is 1, so that its scale is exact.
    """
    values = [-1.0, -0.6962, -0.5251, -0.3949, -0.2844, -0.1848, -0.0911, 0.0]
    values += [0.0796, 0.1609, 0.2461, 0.3379, 0.4407, 0.5626, 0.7230, 1.0]
    model = load_policy(policy)
    layer = model.model.layers[0].self_attn.q_proj
    weight = torch.tensor(values).repeat(layer.weight.numel() // 16).view_as(layer.weight)
    layer.weight = nn.Parameter(weight.clone())
    layer.weight.data[0, 13] = 0.4
    dequantise(quantise(model, bf16=False))
    weight[0, 13] = 0.4407
    torch.testing.assert_close(layer_of(model).weight.data, weight, atol=5e-5, rtol=0)


def layer_of(model):
    return model.model.layers[0].self_attn.q_proj


@pytest.mark.usefixtures("bitsandbytes")
@pytest.mark.parametrize("bf16", [False, True])
def test_evaluation_changes_neither_values_nor_gradients(policy, bf16):
    """bitsandbytes would store other scales at the first evaluation on CPUs with bf16 units."""
    layer = layer_of(quantise(load_policy(policy), bf16=bf16))
    inputs = torch.randn(3, layer.in_features, requires_grad=True)
    results = []
    for _ in range(2):
        layer.train()
        outputs = layer(inputs)
        results += [outputs, *torch.autograd.grad(outputs.square().sum(), inputs)]
        layer.eval()
        with torch.no_grad():
            assert torch.equal(layer(inputs), outputs)
    assert torch.equal(results[0], results[2])
    assert torch.equal(results[1], results[3])


@pytest.mark.usefixtures("bitsandbytes")
def test_layers_compute_with_their_dequantised_weights(policy):
    model = quantise(load_policy(policy), bf16=False).eval()
    with torch.no_grad():
        before = model(IDS).logits
        dequantise(model)
        torch.testing.assert_close(model(IDS).logits, before, atol=1e-5, rtol=1e-4)
    assert {m.weight.dtype for m in model.modules() if isinstance(m, nn.Linear)} == {torch.float32}


@pytest.mark.usefixtures("bitsandbytes")
def test_output_layer_and_trained_modules_keep_their_type(policy):
    model = quantise(load_policy(policy), bf16=False, kept=["o_proj"])
    kinds = {name.rpartition(".")[2]: type(m).__name__ for name, m in model.named_modules()}
    kept = [kinds[name] for name in ("lm_head", "o_proj", "q_proj")]
    assert kept == ["Linear", "Linear", "Linear4bit"]


@pytest.mark.usefixtures("bitsandbytes")
@pytest.mark.parametrize("train", [sft, reward])
@pytest.mark.parametrize("bf16", [False, True])
def test_resumed_run_is_bit_identical_and_lowers_the_loss(policy, tmp_path, train, bf16):
    keys = QLORA | {"bf16": bf16}
    whole = train(policy, tmp_path / "whole", **keys)
    assert is_four_bit(whole) or train is reward  # which is merged at the end
    assert {p.dtype for p in whole.parameters() if p.requires_grad} <= {torch.float32}
    losses = [line["loss"] for line in read_metrics(tmp_path / "whole") if "loss" in line]
    assert losses[-1] < losses[0]
    again = train(policy, tmp_path / "again", tmp_path / "whole" / "checkpoint-2", **keys)
    assert_same_weights(whole, again, rtol=0, atol=0)


@pytest.mark.usefixtures("bitsandbytes")
@pytest.mark.parametrize("advantage", ["gae", "grpo"])
@pytest.mark.parametrize("bf16", [False, True])
def test_ppo_starts_at_its_reference_and_resumes_exactly(policy, tmp_path, advantage, bf16):
    """The reference is the base in 4 bits."""
    keys = {"load_in_4bit": True, "advantage": advantage, "bf16": bf16}
    whole = ppo(policy, tmp_path / "whole", **keys)
    assert is_four_bit(whole)
    first = read_metrics(tmp_path / "whole")[0]
    assert first["kl_k3_per_token"] < (1e-3 if bf16 else 1e-5)
    assert first["first_ratio"] == pytest.approx(1.0, abs=1e-2 if bf16 else 1e-4)
    again = ppo(policy, tmp_path / "again", tmp_path / "whole" / "checkpoint-1", **keys)
    assert_same_weights(whole, again, rtol=0, atol=0)


@pytest.mark.usefixtures("bitsandbytes")
@pytest.mark.parametrize(
    "keys",
    [{"use_dora": True}, {"gradient_checkpointing": True}, {"lora_modules_to_save": ["lm_head"]}],
    ids=str,
)
def test_other_keys_go_with_4_bits(policy, tmp_path, keys):
    assert is_four_bit(sft(policy, tmp_path / "sft", **QLORA, **keys))
    assert is_four_bit(ppo(policy, tmp_path / "ppo", load_in_4bit=True, advantage="grpo", **keys))


@pytest.mark.slow
@pytest.mark.usefixtures("bitsandbytes")
def test_two_processes_equal_one(tmp_path, root):
    inputs, keys = make_inputs(tmp_path), ("--mode", "lora", "--load_in_4bit", "true")
    launch(ppo_command(inputs, "one", *keys), root)
    launch([*TWO_PROCESSES, *ppo_command(inputs, "two", *keys)], root)
    assert_same_results(inputs / "one", inputs / "two", atol=3e-5)


@pytest.mark.usefixtures("bitsandbytes")
@pytest.mark.parametrize("train", [sft, reward, ppo])
def test_checkpoint_of_a_whole_base_is_rejected(policy, tmp_path, train):
    lora = {} if train is ppo else {"use_peft": True, "lora_r": 4}
    train(policy, tmp_path / "run", **lora)
    checkpoint = tmp_path / "run" / ("checkpoint-1" if train is ppo else "checkpoint-2")
    with raises("other-run", "load_in_4bit", True):
        train(policy, tmp_path / "again", checkpoint, load_in_4bit=True, **lora)


@pytest.mark.usefixtures("bitsandbytes")
def test_reward_model_is_merged_with_the_values_that_it_was_trained_on(policy, tmp_path):
    model = with_random_adapter(load_model(config_of(policy), seed=0))
    ids = [[5, 6, 7], [8, 9, 10, 11]]
    before = score_ids(Scorer(model, bf16=False), ids, 1)
    whole = merged(model, tmp_path)
    torch.testing.assert_close(score_ids(Scorer(whole, bf16=False), ids, 1), before)
    assert (tmp_path / "adapter" / "adapter_model.safetensors").is_file()


@pytest.mark.usefixtures("bitsandbytes")
def test_saved_reward_model_gives_the_scores_of_the_trainer(policy, tmp_path):
    one = RewardTrainer(config_of(policy), RANKINGS, config=RewardModelConfig(**KEYS))
    one.train()
    saved = one.save(tmp_path / "saved")
    plain = AutoModelForSequenceClassification.from_pretrained(saved, num_labels=1).eval()
    ids = one.setup.chat.tokenizer(["a cat"], return_tensors="pt").input_ids
    trained = score_ids(one._checked("score").scorer, ids.tolist(), 1)
    with torch.no_grad():
        torch.testing.assert_close(plain(ids).logits[:, 0], trained, atol=1e-5, rtol=1e-5)


@pytest.mark.usefixtures("bitsandbytes")
def test_saved_policy_is_an_adapter_for_the_whole_base(policy, tmp_path):
    """W + B A α / r with W of the base's folder, after loading and after `rlhf merge`."""
    one = SFTTrainer(config_of(policy), DEMONSTRATIONS, config=SFTConfig(**KEYS))
    one.train()
    saved = one.save(tmp_path / "saved")
    layer = layer_of(one._model.get_base_model())
    down, up = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    expected = layer_of(load_policy(policy)).weight + 32 / 4 * up @ down
    merge(saved, tmp_path / "merged")
    for folder in (saved, tmp_path / "merged"):
        torch.testing.assert_close(layer_of(load_policy(folder)).weight, expected)


@pytest.mark.usefixtures("bitsandbytes")
def test_runs_start_from_an_adapter(policy, tmp_path):
    """The adapter is merged before its base is stored in 4 bits."""
    one = SFTTrainer(config_of(policy), DEMONSTRATIONS, config=SFTConfig(**KEYS))
    one.train()
    start = one.save(tmp_path / "start")
    folder = make_folder(tmp_path / "folder")
    for train in (sft, reward):
        train(start, tmp_path / train.__name__, **QLORA)
    start.rename(folder / "start")
    keys = {"load_in_4bit": True, "model_name_or_path": str(folder / "start")}
    assert is_four_bit(ppo(folder / "policy", tmp_path / "ppo", **keys))


@pytest.mark.usefixtures("bitsandbytes")
def test_model_without_linear_layers_is_an_error(tmp_path):
    model = load_policy(make_model(tmp_path / "gpt2", "gpt2"))
    with raises("unsupported", "load_in_4bit", "GPT2LMHeadModel"):
        quantise(model, bf16=False)


@pytest.mark.usefixtures("bitsandbytes")
def test_adapters_on_4_bits_are_float32(policy):
    """TRL's trainer would round trained weights to bf16 on a model that names itself quantised."""
    model = add_lora(quantise(load_policy(policy), bf16=True), config_of(policy), "CAUSAL_LM")
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    assert not getattr(model, "is_loaded_in_4bit", False)


def test_missing_package_and_sharding_are_errors(monkeypatch):
    check_four_bit(False)
    monkeypatch.setattr(four_bit, "find_spec", lambda name: None)
    with raises("missing-package", "load_in_4bit", "bitsandbytes"):
        check_four_bit(True)
    for name in ("FSDP", "DeepSpeed"):
        with monkeypatch.context() as patch:
            patch.setenv(f"ACCELERATE_USE_{name.upper()}", "true")
            check_four_bit(False)
            with raises("unsupported", "load_in_4bit", name):
                check_four_bit(True)


def test_four_bits_need_adapters():
    with raises("key-conflict", "use_peft"):
        ModelConfig(model_name_or_path="x", load_in_4bit=True)
