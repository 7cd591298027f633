"""Looks inside: probabilities, what training moved, the growing reward, embeddings on a plane."""

import math

import pytest
import torch

from rlhf.chat.embedding_map import principal_axes, text_plane, token_plane
from rlhf.chat.introspection import as_text, differences, next_tokens, positions, reward_growth
from rlhf.chat.loading import load_chat_model
from rlhf.chat.sampling import Sampling
from rlhf.data.tokenization.chat import decode, prompt_ids
from rlhf.errors import DataError
from rlhf.models.load import new_reward_model
from rlhf.models.save import save_reward_model
from rlhf.rewards.model import RewardModel
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


def test_the_pieces_of_a_text_are_the_text(models):
    model, text = models[0], "Where is the red ball?"
    ids = ids_of(model, text)
    assert "".join(as_text(model, token).text for token in ids) == text
    assert as_text(model, 4).text == "<|eot_id|>"
    half = ids_of(model, "€")[0]
    assert "\ufffd" not in as_text(model, half).text


def test_next_tokens_are_the_models_and_reshaped_as_they_are_drawn(models, prompt):
    """At temperature 2 probabilities become their square roots, normalised over all."""
    model = models[0]
    with torch.no_grad():
        p = model.model(torch.tensor([prompt])).logits[0, -1].softmax(-1)
    found = next_tokens(model, prompt, Sampling(temperature=2.0), most=5)
    assert [one.token.id for one in found] == p.topk(5).indices.tolist()
    assert [one.probability for one in found] == pytest.approx(p.topk(5).values.tolist(), rel=1e-4)
    roots = p.sqrt() / p.sqrt().sum()
    assert [one.reshaped for one in found] == pytest.approx(
        [float(roots[one.token.id]) for one in found], rel=1e-4
    )
    narrow = next_tokens(model, prompt, Sampling(temperature=1.0, top_p=1e-6), most=3)
    assert [one.reshaped for one in narrow] == [1.0, 0.0, 0.0]


def test_positions_rank_what_was_said(models, prompt):
    model = models[0]
    best = next_tokens(model, prompt, PLAIN, most=340)
    answer = [best[6].token.id, 9]
    first, second = positions(model, prompt, answer, PLAIN, most=4)
    assert (first.rank, first.token.id) == (7, answer[0])
    assert first.probability == pytest.approx(best[6].probability, rel=1e-4)
    following = next_tokens(model, [*prompt, answer[0]], PLAIN, most=4)
    assert [one.token.id for one in second.likeliest] == [one.token.id for one in following]
    assert positions(model, prompt, [], PLAIN, most=4) == []


def test_differences_are_enumerated_over_the_vocabulary(models, prompt):
    """KL(first || other) = sum p log(p / q), and 0 from itself."""
    answer = ids_of(models[0], "A dog")
    found = differences([*models, models[0]], prompt, answer)
    rows = []
    with torch.no_grad():
        for model in models:
            ids = torch.tensor([[*prompt, *answer]])
            rows.append(model.model(ids).logits[0].double().softmax(-1))
    for at, one in enumerate(found, len(prompt) - 1):
        p, q = rows[0][at], rows[1][at]
        assert one.kl[0] == pytest.approx(float((p * (p / q).log()).sum()), abs=1e-5)
        assert one.kl[0] > 1e-3
        assert one.kl[1] == pytest.approx(0, abs=1e-6)
        wanted = [math.log(float(r[at][one.token.id])) for r in (rows[0], rows[1], rows[0])]
        assert list(one.logprobs) == pytest.approx(wanted, abs=1e-4)


def test_models_with_other_tokens_cannot_be_compared(models, tmp_path, prompt):
    other = load_chat_model(str(make_model(tmp_path / "other", "qwen2")))
    with pytest.raises(DataError, match="do not have the same tokens"):
        differences([models[0], other], prompt, [9])


def test_the_reward_grows_to_that_of_the_answer(models, tmp_path, prompt):
    """Each value is the normalised score of a beginning: (raw - 0.5) / 2."""
    model = models[0]
    policy = new_reward_model(model.name, seed=0)
    save_reward_model(tmp_path / "rm", policy, model.chat, 0.5, 2.0)
    reward = RewardModel(tmp_path / "rm")
    answer = ids_of(model, "The red ball is in the box.")
    grown = reward_growth(reward, model, "A cat?", answer)
    assert len(grown) == len(answer)
    for at in (0, 3, len(answer) - 1):
        [raw] = reward.score(["A cat?"], [decode(model.chat, answer[: at + 1])])
        assert grown[at] == pytest.approx((raw - 0.5) / 2, abs=1e-5)


def test_principal_axes_of_points_whose_axes_are_known():
    """(+-3, 0, 0), (0, +-1, 0) around (5, 5, 5): variances 18 and 2, nothing in the third."""
    around = torch.tensor([[3.0, 0, 0], [-3, 0, 0], [0, 1, 0], [0, -1, 0]])
    center, axes, explained = principal_axes(around + 5)
    assert center.tolist() == [5, 5, 5]
    torch.testing.assert_close(axes, torch.tensor([[1.0, 0], [0, 1], [0, 0]]))
    assert explained == pytest.approx(1.0)
    assert principal_axes(torch.ones(3, 4))[2] == 0.0


def test_tokens_lie_where_their_embeddings_do(models):
    model = models[0]
    found = token_plane(model, [9, 9, 7])
    assert len(found.points) == len(model.chat.tokenizer)
    assert found.path[0] == found.path[1] != found.path[2]
    assert (found.path[0].x, found.path[0].y) == pytest.approx(
        (found.points[9].x, found.points[9].y), abs=1e-5
    )
    assert 0 < found.explained < 1


def test_prompts_lie_apart_and_an_answer_starts_near_its_own(models):
    """The way's first step is the mean over the prompt and one token more."""
    model = models[0]
    texts = ["A cat?", "Where is the red ball?", "Can you name three animals?", "Please"]
    answer = ids_of(model, "The red ball is in the box.")
    found = text_plane(model, texts, answer)
    assert [point.text for point in found.points] == texts
    assert len(found.path) == len(answer)

    def mean_state(ids: list[int]) -> torch.Tensor:
        with torch.no_grad():
            return model.model.model(torch.tensor([ids])).last_hidden_state[0].mean(0)

    prompts = [prompt_ids(model.chat, text) for text in texts]
    center, axes, _ = principal_axes(torch.stack([mean_state(ids) for ids in prompts]))
    for point, ids in (
        (found.points[1], prompts[1]),
        (found.path[0], [*prompts[-1], *answer[:1]]),
        (found.path[-1], [*prompts[-1], *answer]),
    ):
        wanted = ((mean_state(ids) - center) @ axes).tolist()
        assert [point.x, point.y] == pytest.approx(wanted, abs=1e-4)
    with pytest.raises(DataError, match="three different prompts"):
        text_plane(model, ["a", "b", "a"], [])
