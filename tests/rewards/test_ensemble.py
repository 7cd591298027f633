"""Heads of one model and several models as one reward, by hand and against the parts."""

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.models.heads import Heads, load_heads, merge_heads, save_heads
from rlhf.models.load import load_reward_model, new_reward_model
from rlhf.models.save import save_reward_model
from rlhf.models.scorer import Scorer, head_scores
from rlhf.rewards.ensemble import aggregate
from rlhf.rewards.model import RewardModel
from rlhf.rewards.reward import load_reward
from tests.errors import raises
from tests.tiny_models import make_model

PROMPTS = ["Where is the red ball?", "Name three animals.", "Hi"]
RESPONSES = ["In the box.", "A cat, a dog and a bird.", ""]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A reward model of three heads, mean 0.25 and std 0.5; and one of a single head."""
    root = tmp_path_factory.mktemp("reward")
    base = make_model(root / "base", "qwen2")
    chat = load_tokenizer(str(base))
    model = new_reward_model(base, seed=1, num_heads=3)
    weight = merge_heads(model)
    save_reward_model(root / "three", model, chat, 0.25, 0.5)
    save_heads(root / "three", Heads(weight=weight, offset=torch.tensor([0.1, 0.2, -0.3])))
    save_reward_model(root / "one", new_reward_model(base, seed=2), chat, 0.0, 2.0)
    return str(root / "three"), str(root / "one")


def test_literal_aggregations():
    """Members 1, 2, 6 and 3, 3, 3: mean 3, 3; lowest 1, 3; variance 14/3, so 3 - 7/3 = 2/3, 3."""
    members = torch.tensor([[1.0, 2.0, 6.0], [3.0, 3.0, 3.0]])
    aggregated = {
        name: aggregate(members, name, uncertainty_coef=0.5).tolist()
        for name in ("mean", "worst", "uncertainty")
    }
    assert aggregated["mean"] == [3.0, 3.0]
    assert aggregated["worst"] == [1.0, 3.0]
    assert aggregated["uncertainty"] == pytest.approx([2 / 3, 3.0])


def test_heads_start_different_and_merge_to_their_mean(folders):
    """What plain transformers gives is the mean of the heads' scores."""
    three, _ = folders
    model = RewardModel(three)
    plain = AutoModelForSequenceClassification.from_pretrained(three, num_labels=1)
    heads = load_heads(three, plain)
    assert heads.weight.shape[0] == 3
    torch.testing.assert_close(heads.weight.mean(dim=0, keepdim=True), plain.score.weight.data)
    assert (heads.weight[0] - heads.weight[1]).norm() > 0.5
    apart = model.score_heads(PROMPTS, RESPONSES) + heads.offset
    torch.testing.assert_close(apart.mean(dim=1), torch.tensor(model.score(PROMPTS, RESPONSES)))


def test_heads_score_equally_in_training_and_from_disk(tmp_path):
    base = make_model(tmp_path / "base", "llama")
    chat = load_tokenizer(str(base))
    model = new_reward_model(base, seed=3, num_heads=2)
    rows = [[5, 6, 7], [8, 9]]
    trained = head_scores(Scorer(model, bf16=False), rows, chat.pad_token_id)
    weight = merge_heads(model)
    save_reward_model(tmp_path / "out", model, chat, 0.0, 1.0)
    save_heads(tmp_path / "out", Heads(weight=weight, offset=torch.zeros(2)))
    again = load_reward_model(tmp_path / "out")
    again.score.weight = torch.nn.Parameter(load_heads(tmp_path / "out", again).weight)
    loaded = head_scores(Scorer(again, bf16=False), rows, chat.pad_token_id)
    torch.testing.assert_close(loaded, trained, rtol=1e-5, atol=1e-5)


def test_worst_case_over_the_heads_and_a_second_model(folders):
    """Each member normalised by its own model, then the lowest of four."""
    three, one = folders
    members = torch.cat(
        [
            (RewardModel(three).score_heads(PROMPTS, RESPONSES) - 0.25) / 0.5,
            torch.tensor(RewardModel(one).score(PROMPTS, RESPONSES))[:, None] / 2.0,
        ],
        dim=1,
    )
    scores = load_reward([three, one], aggregation="worst").score(PROMPTS, RESPONSES)
    torch.testing.assert_close(scores.scores, members.min(dim=1).values, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        scores.breakdown[three], members[:, :3].mean(dim=1), rtol=1e-4, atol=1e-5
    )


def test_mean_of_the_heads_is_the_model(folders):
    three, _ = folders
    alone = load_reward([three]).score(PROMPTS, RESPONSES).scores
    mean = load_reward([three], aggregation="mean").score(PROMPTS, RESPONSES).scores
    torch.testing.assert_close(mean, alone, rtol=1e-4, atol=1e-5)


def test_functions_are_added_to_an_ensemble(folders, tmp_path):
    three, _ = folders
    (tmp_path / "f.py").write_text(
        "def length(prompts, completions):\n    return [len(text) for text in completions]\n"
    )
    ensemble = load_reward([three], aggregation="worst").score(PROMPTS, RESPONSES).scores
    both = load_reward([three, f"2*{tmp_path}/f.py:length"], aggregation="worst")
    expected = ensemble + 2 * torch.tensor([float(len(text)) for text in RESPONSES])
    torch.testing.assert_close(both.score(PROMPTS, RESPONSES).scores, expected)


def test_non_finite_head_is_skipped_or_stops_the_run(folders, monkeypatch):
    """One NaN of three heads leaves the second answer without a score, and the others theirs."""
    three, _ = folders
    whole = load_reward([three], aggregation="worst").score(PROMPTS, RESPONSES).scores
    score_heads = RewardModel.score_heads

    def breaks(self, prompts, responses, tools):
        values = score_heads(self, prompts, responses, tools)
        values[1, 2] = float("nan")
        return values

    monkeypatch.setattr(RewardModel, "score_heads", breaks)
    with raises("no-reward", "nan", "1 of 3", "Name three"):
        load_reward([three], aggregation="worst").score(PROMPTS, RESPONSES)
    skipped = load_reward([three], aggregation="worst", on_error="skip").score(PROMPTS, RESPONSES)
    assert [bool(failure) for failure in skipped.failures] == [False, True, False]
    assert torch.equal(skipped.scores[[0, 2]], whole[[0, 2]])
    assert skipped.scores[1].isnan()


def test_one_model_or_a_weight_is_no_ensemble(folders):
    three, one = folders
    with raises("key-conflict", "reward_aggregation=mean"):
        load_reward([one], aggregation="mean")
    with raises("key-conflict", "reward_aggregation=worst", one):
        load_reward([three, f"0.5*{one}"], aggregation="worst")
