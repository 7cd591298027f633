"""Plain TRL on the same pairs: the loss of a batch for each kind, and the weights of a run."""

import pytest
import torch
from datasets import Dataset
from trl import DPOConfig as TRLConfig
from trl import DPOTrainer as TRLTrainer

from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.models.load import load_policy
from rlhf.models.response_logprobs import ResponseLogprobs
from rlhf.training.dpo.objective import DPOObjective
from rlhf.training.sft.trl_trainer import own_accelerate_state
from rlhf.types import Ranking
from tests.tiny_models import make_model
from tests.training.dpo.tiny_dpo import dpo_setup, train_dpo
from tests.training.tiny_runs import assert_same_weights

PAIRS = [
    ("Where is the ball?", " In the box.", " A cat and a bird."),
    ("Who is in the sea?", " A dog.", " The red ball is in the sea."),
    ("Hi", " Tell me a story.", " No."),
]
ROWS = [Ranking(prompt=p, responses=[c, r], ranks=[1, 2]) for p, c, r in PAIRS]
KINDS = {
    "sigmoid": {},
    "robust": {"label_smoothing": 0.1},
    "hinge": {},
    "ipo": {},
    "apo_zero": {},
    "apo_down": {},
}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("base"), "gpt_neox")


def trl_trainer(base, folder, *, steps=1, **keys):
    """TRL's trainer on the pairs as texts, which it ends with EOS."""
    chat = load_tokenizer(str(base), "none")
    rows = [dict(zip(("prompt", "chosen", "rejected"), pair, strict=True)) for pair in PAIRS]
    args = TRLConfig(
        output_dir=str(folder),
        per_device_train_batch_size=len(PAIRS),
        max_steps=steps,
        learning_rate=1e-3,
        lr_scheduler_type="linear",
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        **keys,
    )
    return TRLTrainer(
        model=load_policy(base),
        ref_model=load_policy(base),
        args=args,
        train_dataset=Dataset.from_list(rows),
        processing_class=chat.tokenizer,
    )


def moved(module):
    """The module with other weights than the reference's."""
    with torch.no_grad():
        for index, parameter in enumerate(module.parameters()):
            noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(index))
            parameter += 0.05 * noise
    return module


@pytest.mark.parametrize("kind", KINDS)
def test_loss_of_a_batch_equals_trl(base, tmp_path, kind):
    """Both models are moved alike; TRL's own tokens and ours give one loss and one margin."""
    keys = KINDS[kind]
    with own_accelerate_state():
        theirs = trl_trainer(base, tmp_path / "trl", loss_type=[kind], beta=0.3, **keys)
        moved(theirs.model).eval()  # as it is at the start of an evaluation
        batch = next(iter(theirs.get_train_dataloader()))
        expected = theirs.compute_loss(theirs.model, dict(batch))
    chat = load_tokenizer(str(base), "none")
    setup = dpo_setup(base, tmp_path / "run", ROWS, chat=chat, loss_type=kind, beta=0.3, **keys)
    module = ResponseLogprobs(load_policy(base), bf16=False)
    objective = DPOObjective(module, setup)
    moved(module.model)
    ours = objective.loss(module, objective.rows)
    torch.testing.assert_close(ours.loss / len(ROWS), expected, rtol=1e-4, atol=1e-5)
    logged = {name: values[-1] for name, values in theirs._metrics["eval"].items()}
    if kind != "ipo":  # whose reward is per token here
        margin = float(ours.sums["reward_margin"]) / len(ROWS)
        assert margin == pytest.approx(logged["rewards/margins"], abs=1e-4)
    chosen = float(ours.sums["chosen_logprob"]) / len(ROWS)
    assert chosen == pytest.approx(logged["logps/chosen"], rel=1e-5)


def test_run_gives_the_weights_and_losses_of_trl(base, tmp_path):
    """Five steps over all pairs, whose order then does not matter; AdamW, linear decay."""
    with own_accelerate_state():
        theirs = trl_trainer(base, tmp_path / "trl", steps=5)
        theirs.train()
    chat = load_tokenizer(str(base), "none")
    model, lines = train_dpo(
        base, tmp_path / "run", ROWS, chat=chat, max_steps=5, warmup_ratio=0.0,
        per_device_train_batch_size=len(ROWS),
    )  # fmt: skip
    assert_same_weights(model, theirs.model, rtol=1e-3, atol=2e-5)
    losses = [line["loss"] for line in theirs.state.log_history if "loss" in line]
    assert [line["loss"] for line in lines if "loss" in line] == pytest.approx(losses, rel=1e-4)
