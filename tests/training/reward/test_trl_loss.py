"""Two answers a prompt: our loss is that of TRL's RewardTrainer, on its own batch."""

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from trl import RewardConfig, RewardTrainer

from rlhf.ops.ranking import centering_loss, ranking_loss
from tests.tiny_models import make_model

ROWS = [
    {"prompt": "Where?", "chosen": " In the box.", "rejected": " A cat and a bird.", "margin": 0.5},
    {"prompt": "Who?", "chosen": " A dog.", "rejected": " The sea.", "margin": 0.0},
    {"prompt": "Hi", "chosen": " Tell me.", "rejected": " No.", "margin": 1.25},
]


@pytest.mark.parametrize("coefficient", [None, 0.3])
@pytest.mark.parametrize("with_margin", [False, True])
def test_pair_loss_equals_trl(tmp_path, with_margin, coefficient):
    base = make_model(tmp_path / "base", "gpt_neox")
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.pad_token = tokenizer.eos_token
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
    model.config.pad_token_id = tokenizer.pad_token_id
    rows = [{k: v for k, v in row.items() if with_margin or k != "margin"} for row in ROWS]
    args = RewardConfig(
        output_dir=str(tmp_path / "out"),
        per_device_train_batch_size=3,
        center_rewards_coefficient=coefficient,
        report_to=[],
        use_cpu=True,
        bf16=False,
        disable_dropout=True,
        gradient_checkpointing=False,
    )
    trainer = RewardTrainer(
        model=model, args=args, train_dataset=Dataset.from_list(rows), processing_class=tokenizer
    )
    batch = next(iter(trainer.get_train_dataloader()))
    theirs = trainer.compute_loss(trainer.model, dict(batch))

    plain = {name: batch[name] for name in ("input_ids", "attention_mask")}
    scores = trainer.model(**plain).logits[:, 0]
    ranks = torch.tensor([1, 1, 1, 2, 2, 2])
    groups = torch.tensor([0, 1, 2, 0, 1, 2])
    ours = ranking_loss(scores, ranks, groups, margins=batch.get("margin")).mean()
    ours = ours + (coefficient or 0.0) * centering_loss(scores, groups).mean()
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
