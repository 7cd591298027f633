"""One text, one score: trainer, PPO, evaluation and plain transformers, on six architectures."""

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from rlhf.data.tokenization.chat import judged_ids
from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.evaluation.core.config import EvaluateConfig
from rlhf.evaluation.core.records import Record
from rlhf.evaluation.judges.scoring import judge_records, judges_of_config
from rlhf.evaluation.reward_model.scored_rankings import score_texts
from rlhf.models.load import new_reward_model
from rlhf.models.save import save_reward_model
from rlhf.models.scorer import Scorer, score_ids
from rlhf.rewards.model import RewardModel
from rlhf.rewards.reward import load_reward
from rlhf.runtime.distributed import start_processes
from rlhf.types import PromptRow, Ranking
from tests.tiny_models import make_model
from tests.training.tiny_runs import train_reward

FAMILIES = ("llama", "qwen2", "gpt_neox", "gemma", "mistral", "gpt2")
PROMPTS = ["Where is the red ball?", [{"role": "user", "content": "Name three animals."}], "Hi"]
RESPONSES = ["In the box.", "A cat, a dog and a bird.", ""]
ROWS = [
    Ranking(
        prompt=f"Where is the {thing}?", responses=[f"The {thing}.", "No", "A"], ranks=[1, 2, 2]
    )
    for thing in ("ball", "cat", "dog", "bird")
]


@pytest.mark.parametrize("family", FAMILIES)
def test_text_has_the_same_score_in_every_path(tmp_path, family):
    start_processes(1)
    base = make_model(tmp_path / "base", family)
    chat = load_tokenizer(str(base), judges=True)
    model = new_reward_model(base, seed=0)
    train_reward(
        base, tmp_path / "run", ROWS, model=model, chat=chat, max_steps=2,
        per_device_train_batch_size=2,
    )  # fmt: skip
    ids = [judged_ids(chat, p, a) for p, a in zip(PROMPTS, RESPONSES, strict=True)]
    trainer = score_ids(Scorer(model, bf16=False), ids, chat.pad_token_id)
    folder = tmp_path / "reward"
    save_reward_model(folder, model, chat, 0.5, 2.0)

    plain = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1)
    with torch.no_grad():
        alone = torch.stack([plain(torch.tensor([row])).logits[0, 0] for row in ids])
    ppo = load_reward([str(folder)], normalize="none").score(PROMPTS, RESPONSES).scores
    texts = [(prompt, text, ()) for prompt, text in zip(PROMPTS, RESPONSES, strict=True)]
    health = torch.tensor(score_texts(RewardModel(folder), texts))
    for scores in (trainer, ppo, health):
        torch.testing.assert_close(scores, alone, rtol=0, atol=1e-5)
    torch.testing.assert_close(evaluated(folder), (alone - 0.5) / 2, rtol=0, atol=1e-5)


def evaluated(folder):
    """The normalised scores that evaluate.py's judge gives."""
    records = [
        Record(prompt_index=i, sample=0, model="m", text=a, num_tokens=1, ended_with_eos=True)
        for i, a in enumerate(RESPONSES)
    ]
    config = EvaluateConfig(models=["m=x"], eval_data="x", reward_model=[str(folder)])
    rows = [PromptRow(prompt=prompt) for prompt in PROMPTS]
    judged = judge_records(records, rows, judges_of_config(config), device=torch.device("cpu"))
    return torch.tensor([record.scores["reward_model"] for record in judged])
