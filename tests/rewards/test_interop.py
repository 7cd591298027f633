"""Our reward model in TRL's GRPOTrainer, and somebody else's classifier as our reward."""

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer

from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.models.load import new_reward_model
from rlhf.models.save import save_reward_model
from rlhf.rewards.model import RewardModel
from rlhf.rewards.reward import load_reward
from tests.tiny_models import make_model

QUESTIONS = ["Where is the red ball?", "Name three animals."]


def test_our_model_is_a_reward_function_of_trls_grpo(tmp_path):
    """One step on two prompts with two responses each: TRL logs the mean of our own scores."""
    base = make_model(tmp_path / "base", "llama")
    chat = load_tokenizer(str(base))
    folder = tmp_path / "reward"
    save_reward_model(folder, new_reward_model(base, seed=1), chat, 0.25, 0.5)
    prompts_seen, responses_seen = [], []

    def remember(prompts, completions, **columns):
        prompts_seen.extend(prompts)
        # Llama's template trims contents; an untrained policy may sample spaces at their ends.
        responses_seen.extend(completion[0]["content"].strip() for completion in completions)
        return [0.0] * len(prompts)

    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.pad_token = tokenizer.eos_token
    rows = [{"prompt": [{"role": "user", "content": question}]} for question in QUESTIONS]
    trainer = GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(base),
        reward_funcs=[str(folder), remember],
        args=GRPOConfig(
            output_dir=str(tmp_path / "grpo"),
            per_device_train_batch_size=4,
            num_generations=2,
            max_completion_length=8,
            max_steps=1,
            logging_steps=1,
            report_to=[],
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )
    trainer.train()
    (logged,) = [row for row in trainer.state.log_history if "rewards/reward/mean" in row]
    ours = RewardModel(folder).score(prompts_seen, responses_seen)
    assert len(ours) == 4
    assert logged["rewards/reward/mean"] == pytest.approx(sum(ours) / 4, abs=1e-5)


def test_a_public_style_classifier_is_a_reward_unchanged(tmp_path):
    """Made with transformers alone: no manifest, no normalisation, rendered by its own template."""
    base = make_model(tmp_path / "base", "llama")
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.pad_token = "<|end|>"
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
    model.config.pad_token_id = tokenizer.pad_token_id
    folder = tmp_path / "public"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    responses = ["In the box.", "A cat, a dog and a bird."]
    scores = load_reward([str(folder)]).score(QUESTIONS, responses).scores
    for question, response, score in zip(QUESTIONS, responses, scores, strict=True):
        turns = [{"role": "user", "content": question}, {"role": "assistant", "content": response}]
        ids = tokenizer.apply_chat_template(turns, return_tensors="pt", return_dict=True)
        with torch.no_grad():
            assert model(ids["input_ids"]).logits.item() == pytest.approx(score.item(), abs=1e-5)
