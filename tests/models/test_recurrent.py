"""Models with a recurrent state are turned away before their weights are read."""

import pytest
import transformers

from rlhf.chat.loading import load_chat_model
from rlhf.labels.candidates import sampling_tokenizer
from rlhf.models.compatibility import load_checked_tokenizer
from rlhf.models.config import ModelConfig
from rlhf.models.load import load_config, load_policy
from rlhf.models.lora import add_lora
from rlhf.models.recurrent import is_recurrent
from rlhf.training.ppo.setup import check_models
from tests.errors import raises
from tests.tiny_models import FAMILIES, make_model
from tests.training.ppo.tiny_ppo import settings


@pytest.mark.parametrize(
    "name", ["Mamba2", "FalconH1", "Jamba", "Qwen3Next", "RecurrentGemma", "Rwkv", "MiniMax"]
)
def test_known_recurrent_and_hybrid_configurations(name):
    assert is_recurrent(getattr(transformers, f"{name}Config")())


@pytest.mark.parametrize("family", [*FAMILIES, "gpt2", "mistral", "mixtral", "opt", "falcon"])
def test_attention_models_are_not_recurrent(tmp_path, family):
    assert not is_recurrent(load_config(make_model(tmp_path / family, family)))


def ppo(path):
    keys = {"output_dir": "x", "train_data": "x", "max_steps": 1}
    check_models(settings(model_name_or_path=path, **keys), [])


@pytest.mark.parametrize(
    "start",
    [
        ppo,
        load_chat_model,
        lambda path: sampling_tokenizer(path, "auto", 8),
        lambda path: load_checked_tokenizer(path, "auto"),
    ],
    ids=["ppo", "chat", "sample", "evaluate"],
)
def test_sampling_checks_reject_it_without_weights(tmp_path, start):
    path = make_model(tmp_path / "mamba2", "mamba2")
    (path / "model.safetensors").unlink()
    with raises("unsupported", "(mamba2)"):
        start(str(path))


def test_lora_without_default_targets_names_use_peft(tmp_path):
    model = load_policy(make_model(tmp_path / "mamba2", "mamba2"))
    config = ModelConfig(model_name_or_path="x", use_peft=True)
    with raises("unsupported", "use_peft", "out_proj"):
        add_lora(model, config, "CAUSAL_LM")
