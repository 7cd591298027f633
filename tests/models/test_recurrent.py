"""Models with a recurrent state are turned away before their weights are read."""

import pytest
import transformers

from rlhf.chat.loading import load_chat_model
from rlhf.errors import CheckpointError, ConfigError
from rlhf.labels.candidates import sampling_tokenizer
from rlhf.models.compatibility import load_checked_tokenizer
from rlhf.models.config import ModelConfig
from rlhf.models.load import add_lora, load_config, load_policy
from rlhf.models.recurrent import is_recurrent
from rlhf.training.ppo.setup import check_models
from tests.tiny_models import FAMILIES, make_model
from tests.training.ppo.tiny_ppo import settings


@pytest.mark.parametrize(
    "name", ["Mamba2", "FalconH1", "Jamba", "Qwen3Next", "RecurrentGemma", "Rwkv", "MiniMax"]
)
def test_known_recurrent_and_hybrid_configurations(name):
    assert is_recurrent(getattr(transformers, f"{name}Config")())


@pytest.mark.parametrize("family", [*FAMILIES, "gpt2", "mistral", "mixtral", "opt", "falcon"])
def test_models_with_attention_alone_are_not_recurrent(tmp_path, family):
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
def test_what_samples_rejects_it_without_its_weights(tmp_path, start):
    path = make_model(tmp_path / "mamba2", "mamba2")
    (path / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"\(mamba2\) has layers with a recurrent state"):
        start(str(path))


def test_lora_that_peft_does_not_take_by_default_is_no_fault_of_the_key(tmp_path):
    model = load_policy(make_model(tmp_path / "mamba2", "mamba2"))
    config = ModelConfig(model_name_or_path="x", use_peft=True)
    with pytest.raises(ConfigError, match=r"LoRA finds nothing to adapt .*out_proj.*leave use_p"):
        add_lora(model, config, "CAUSAL_LM")
