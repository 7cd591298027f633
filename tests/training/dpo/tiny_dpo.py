"""Tiny DPO runs without files."""

from rlhf.models.load import load_policy
from rlhf.models.response_logprobs import ResponseLogprobs
from rlhf.training.common.loop import TrainingLoop, run_loop
from rlhf.training.dpo.config import DPOConfig
from rlhf.training.dpo.objective import DPOObjective
from rlhf.training.dpo.setup import DPOSetup
from tests.training.tiny_runs import metrics_of, setup_of

SETTINGS = {"learning_rate": 1e-3, "per_device_train_batch_size": 4, "logging_steps": 1}


def dpo_setup(path, folder, rows, *, held_out=(), seed=0, chat=None, bf16=False, **keys):
    """A checked run."""
    config = DPOConfig(**(SETTINGS | keys))
    return setup_of(
        DPOSetup, path, folder, config,
        train=rows, held_out=held_out, seed=seed, chat=chat, bf16=bf16,
    )  # fmt: skip


def train_dpo(path, folder, rows, *, resume=None, model=None, **keys):
    """Train; the model and the lines of metrics.jsonl."""
    setup = dpo_setup(path, folder, rows, **keys)
    folder.mkdir(exist_ok=True)
    model = model if model is not None else load_policy(path)
    objective = DPOObjective(ResponseLogprobs(model, bf16=setup.bf16), setup)
    run_loop(
        TrainingLoop(objective, setup.run, setup.model, setup.config),
        resume=resume,
        on_step=lambda step: None,
    )
    return model, metrics_of(folder)
