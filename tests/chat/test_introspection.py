"""Inspection: probabilities, differences between models, prefix rewards, embedding maps."""

import math

import pytest
import torch

from rlhf.chat.embedding_map import principal_axes, text_map, token_map
from rlhf.chat.introspection import (
    next_tokens,
    prefix_rewards,
    token_differences,
    token_positions,
    token_text,
)
from rlhf.chat.loading import load_chat_model
from rlhf.chat.sampling import Sampling
from rlhf.data.tokenization.chat import decode, prompt_ids
from rlhf.models.load import new_reward_model
from rlhf.models.save import save_reward_model
from rlhf.rewards.model import RewardModel
from tests.errors import raises
from tests.tiny_models import make_model

PLAIN = Sampling(temperature=1.0)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return [load_chat_model(str(make_model(folder / str(n), seed=n))) for n in range(2)]


@pytest.fixture(scope="module")
def prompt(models) -> list[int]:
    return prompt_ids(models[0].chat, "A cat?")


def ids_of(model, text: str) -> list[int]:
    return list(model.chat.tokenizer(text, add_special_tokens=False)["input_ids"])


def test_token_texts_join_to_the_text(models):
    model, text = models[0], "Where is the red ball?"
    ids = ids_of(model, text)
    assert "".join(token_text(model, token).text for token in ids) == text
    assert token_text(model, 4).text == "<|eot_id|>"
    half = ids_of(model, "€")[0]
    assert "\ufffd" not in token_text(model, half).text


def test_next_tokens_have_model_and_sampling_probabilities(models, prompt):
    """At temperature 2 probabilities become their square roots, normalised over all."""
    model = models[0]
    with torch.no_grad():
        p = model.model(torch.tensor([prompt])).logits[0, -1].softmax(-1)
    likeliest = next_tokens(model, prompt, Sampling(temperature=2.0), most=5)
    assert [one.token.id for one in likeliest] == p.topk(5).indices.tolist()
    probabilities = [one.probability for one in likeliest]
    assert probabilities == pytest.approx(p.topk(5).values.tolist(), rel=1e-4)
    roots = p.sqrt() / p.sqrt().sum()
    assert [one.reshaped for one in likeliest] == pytest.approx(
        [float(roots[one.token.id]) for one in likeliest], rel=1e-4
    )
    narrow = next_tokens(model, prompt, Sampling(temperature=1.0, top_p=1e-6), most=3)
    assert [one.reshaped for one in narrow] == [1.0, 0.0, 0.0]


def test_positions_rank_the_response_tokens(models, prompt):
    model = models[0]
    best = next_tokens(model, prompt, PLAIN, most=340)
    response = [best[6].token.id, 9]
    first, second = token_positions(model, prompt, response, PLAIN, most=4)
    assert (first.rank, first.token.id) == (7, response[0])
    assert first.probability == pytest.approx(best[6].probability, rel=1e-4)
    following = next_tokens(model, [*prompt, response[0]], PLAIN, most=4)
    assert [one.token.id for one in second.likeliest] == [one.token.id for one in following]
    assert token_positions(model, prompt, [], PLAIN, most=4) == []


def test_kl_is_enumerated_over_the_vocabulary(models, prompt):
    """KL(first || other) = sum p log(p / q), and 0 from itself."""
    response = ids_of(models[0], "A dog")
    differences = token_differences([*models, models[0]], prompt, response)
    rows = []
    with torch.no_grad():
        for model in models:
            ids = torch.tensor([[*prompt, *response]])
            rows.append(model.model(ids).logits[0].double().softmax(-1))
    for t, one in enumerate(differences, len(prompt) - 1):
        p, q = rows[0][t], rows[1][t]
        assert one.kl[0] == pytest.approx(float((p * (p / q).log()).sum()), abs=1e-5)
        assert one.kl[0] > 1e-3
        assert one.kl[1] == pytest.approx(0, abs=1e-6)
        expected = [math.log(float(r[t][one.token.id])) for r in (rows[0], rows[1], rows[0])]
        assert list(one.logprobs) == pytest.approx(expected, abs=1e-4)


def test_models_with_different_vocabularies_are_rejected(models, tmp_path, prompt):
    other = load_chat_model(str(make_model(tmp_path / "other", "qwen2")))
    with raises("tokenizer-mismatch", other.name):
        token_differences([models[0], other], prompt, [9])


def test_prefix_rewards_end_at_reward_of_the_response(models, tmp_path, prompt):
    """Each value is the normalised score of a prefix: (raw - 0.5) / 2."""
    model = models[0]
    scorer = new_reward_model(model.name, seed=0)
    save_reward_model(tmp_path / "rm", scorer, model.chat, 0.5, 2.0)
    reward_model = RewardModel(tmp_path / "rm")
    response = ids_of(model, "The red ball is in the box.")
    rewards = prefix_rewards(reward_model, model, "A cat?", response)
    assert len(rewards) == len(response)
    for t in (0, 3, len(response) - 1):
        [raw] = reward_model.score(["A cat?"], [decode(model.chat, response[: t + 1])])
        assert rewards[t] == pytest.approx((raw - 0.5) / 2, abs=1e-5)


def test_principal_axes_of_known_points():
    """(+-3, 0, 0), (0, +-1, 0) around (5, 5, 5): variances 18 and 2, none in the third."""
    offsets = torch.tensor([[3.0, 0, 0], [-3, 0, 0], [0, 1, 0], [0, -1, 0]])
    center, axes, explained = principal_axes(offsets + 5)
    assert center.tolist() == [5, 5, 5]
    torch.testing.assert_close(axes, torch.tensor([[1.0, 0], [0, 1], [0, 0]]))
    assert explained == pytest.approx(1.0)
    assert principal_axes(torch.ones(3, 4))[2] == 0.0


def test_token_map_places_equal_tokens_together(models):
    model = models[0]
    embeddings = token_map(model, [9, 9, 7])
    points, path = embeddings.points, embeddings.path
    assert len(points) == len(model.chat.tokenizer)
    assert path[0] == path[1] != path[2]
    assert (path[0].x, path[0].y) == pytest.approx((points[9].x, points[9].y), abs=1e-5)
    assert 0 < embeddings.explained < 1


def test_text_map_projects_mean_hidden_states(models):
    """The first point of the path is the mean over the prompt and one more token."""
    model = models[0]
    texts = ["A cat?", "Where is the red ball?", "Can you name three animals?", "Please"]
    response = ids_of(model, "The red ball is in the box.")
    embeddings = text_map(model, texts, response)
    assert [point.text for point in embeddings.points] == texts
    assert len(embeddings.path) == len(response)

    def mean_state(ids: list[int]) -> torch.Tensor:
        with torch.no_grad():
            return model.model.model(torch.tensor([ids])).last_hidden_state[0].mean(0)

    prompts = [prompt_ids(model.chat, text) for text in texts]
    center, axes, _ = principal_axes(torch.stack([mean_state(ids) for ids in prompts]))
    for point, ids in (
        (embeddings.points[1], prompts[1]),
        (embeddings.path[0], [*prompts[-1], *response[:1]]),
        (embeddings.path[-1], [*prompts[-1], *response]),
    ):
        expected = ((mean_state(ids) - center) @ axes).tolist()
        assert [point.x, point.y] == pytest.approx(expected, abs=1e-4)
    with raises("bad-value"):
        text_map(model, ["a", "b", "a"], [])
