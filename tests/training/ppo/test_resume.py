"""Which runs a checkpoint resumes; the lines that a run writes to metrics.jsonl."""

import shutil

import pytest

from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.manifest import write_manifest
from rlhf.models.load import new_reward_model
from rlhf.models.save import save_reward_model
from rlhf.training.common.checkpoint import seal_checkpoint
from rlhf.training.common.metrics import read_metrics
from rlhf.training.common.provenance import check_same_base, stage_manifest
from tests.errors import raises
from tests.tiny_models import make_model
from tests.training.ppo.tiny_ppo import make_folder, trainer

LORA = {"mode": "lora", "lora_r": 4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("resume"))


@pytest.fixture(scope="module")
def plain(folder):
    """The checkpoint of one iteration with every weight trained."""
    trainer(folder, folder / "plain", max_steps=1).train()
    return folder / "plain" / "checkpoint-1"


@pytest.fixture(scope="module")
def adapted(folder):
    """The checkpoint of one iteration with adapters."""
    trainer(folder, folder / "adapted", max_steps=1, **LORA).train()
    return folder / "adapted" / "checkpoint-1"


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"lora_r": 8}, ("lora_r 4", 8)),
        ({"lora_alpha": 64}, ("lora_alpha 32", 64)),
        ({"lora_target_modules": ["q_proj"]}, ("lora_target_modules None",)),
    ],
)
def test_adapter_of_other_lora_keys_does_not_resume(folder, tmp_path, adapted, changes, names):
    """Another alpha would silently scale the trained adapter."""
    with raises("other-run", *names):
        trainer(folder, tmp_path, adapted, **{**LORA, **changes})


def test_folder_without_trainer_state_is_no_checkpoint(folder, tmp_path, plain):
    """best/ holds only a policy."""
    shutil.copytree(plain, tmp_path / "best")
    (tmp_path / "best" / "trainer.pt").unlink()
    seal_checkpoint(tmp_path / "best")
    with raises("no-checkpoint", "best", "trainer.pt"):
        trainer(folder, tmp_path / "run", tmp_path / "best")


def test_critic_of_another_shape_does_not_resume(folder, tmp_path, plain):
    """The first began from the policy; this one would begin from a reward model of one layer."""
    base = make_model(tmp_path / "base", "llama")
    model = new_reward_model(base, seed=1)
    del model.model.layers[1:]
    model.config.num_hidden_layers = 1
    chat = load_tokenizer(str(folder / "policy"))
    save_reward_model(tmp_path / "reward", model, chat, 0.0, 1.0)
    with raises("other-run", plain, "value_model_path"):
        trainer(folder, tmp_path / "run", plain, value_model_path=str(tmp_path / "reward"))


def test_checkpoint_of_another_base_does_not_resume(folder, tmp_path, plain):
    """A checkpoint named as the base too: its KL would be that from the checkpoint."""
    policy, chat = str(folder / "policy"), load_tokenizer(str(folder / "policy"))
    shutil.copytree(plain, tmp_path / "checkpoint")
    (tmp_path / "checkpoint" / "manifest.json").unlink()
    check_same_base(tmp_path / "checkpoint", str(plain))  # without a manifest it cannot tell
    manifest = stage_manifest(
        plain, stage="ppo", base_model=policy, chat=chat, seed=0, world_size=1, data=[], configs=[]
    )
    write_manifest(tmp_path / "checkpoint", manifest)
    shutil.copytree(policy, tmp_path / "elsewhere")
    check_same_base(tmp_path / "checkpoint", str(tmp_path / "elsewhere"))
    with raises("base-mismatch", tmp_path / "checkpoint", plain):
        check_same_base(tmp_path / "checkpoint", str(plain))


def test_restarted_run_writes_step_0_once(folder, tmp_path):
    """Cut off before its first checkpoint, `latest` begins at step 0, whose line is there."""
    options = {"max_steps": 2, "eval_data": "unused", "save_steps": 9}
    for checkpoint in (None, "latest"):
        trainer(folder, tmp_path, checkpoint, **options).train()
        assert [line["step"] for line in read_metrics(tmp_path)] == [0, 1, 2]


def test_held_out_metrics_do_not_depend_on_logging_steps(folder, tmp_path):
    """Lines at 3, 6, 7; held-out prompts at 0, 2, 4, 6 and, since it is the last, 7."""
    options = {"max_steps": 7, "eval_data": "unused", "save_steps": 9, "num_ppo_epochs": 1}
    trainer(folder, tmp_path, logging_steps=3, eval_steps=2, **options).train()
    lines = read_metrics(tmp_path)
    assert [line["step"] for line in lines] == [0, 2, 3, 4, 6, 7]
    assert [line["step"] for line in lines if "eval_score" in line] == [0, 2, 4, 6, 7]


def test_best_json_holds_the_metrics_of_best(folder, tmp_path):
    trainer(folder, tmp_path).checkpoints.best({"step": 4, "eval_score": 3.0, "eval_kl": 0.5})
    assert (tmp_path / "best" / "best.json").read_text() == (
        '{"step": 4, "eval_score": 3.0, "eval_kl": 0.5}'
    )
