"""The worlds of the Markov chain: the frontier against enumeration, and the generated data."""

import itertools

import numpy as np
import pytest
import torch

from recipes.toy_tasks.exact.best import Reference, best_gold, efficiency, gold_of_reference, tilted
from recipes.toy_tasks.exact.reference import ENDED, previous_symbols, reference_of_model
from recipes.toy_tasks.markov import chain as world
from recipes.toy_tasks.tiny_model import make_model, make_tokenizer
from rlhf.data.tokenization.chat import decode, sequence_ids
from rlhf.models.load import load_policy
from rlhf.models.tokenizer import tokenizer_of_model

SYMBOLS, STEPS = 3, 4


@pytest.fixture
def tiny():
    """Three symbols, four steps, and different probabilities at each step."""
    rng = np.random.default_rng(3)
    return Reference(
        steps=rng.dirichlet(np.ones(SYMBOLS), size=(STEPS, SYMBOLS)),
        start=np.array([0.2, 0.3, 0.5]),
        gains=np.array([1.0, -0.5, 0.2]),
    )


def enumerate_responses(reference):
    """[S, S^T] probabilities of every response after every start, and [S^T] gold scores."""
    responses = list(itertools.product(range(SYMBOLS), repeat=STEPS))
    probs = np.ones((SYMBOLS, len(responses)))
    for start, (index, response) in itertools.product(range(SYMBOLS), enumerate(responses)):
        for t, (last, symbol) in enumerate(itertools.pairwise((start, *response))):
            probs[start, index] *= reference.steps[t, last, symbol]
    return probs, np.array([reference.gains[list(response)].sum() for response in responses])


def gold_and_kl(policy, probs, golds, start):
    """Expected gold score and KL of responses with probabilities `policy` [S, N]."""
    ratios = np.log(policy / probs, where=policy > 0, out=np.zeros_like(policy))
    return float(start @ (policy * golds).sum(1)), float(start @ (policy * ratios).sum(1))


@pytest.mark.parametrize("beta", [0.1, 0.5, 3.0])
def test_recursion_equals_tilted_policy_over_81_responses(tiny, beta):
    probs, golds = enumerate_responses(tiny)
    policy = probs * np.exp(golds / beta)
    policy /= policy.sum(1, keepdims=True)
    assert tilted(tiny, beta) == pytest.approx(gold_and_kl(policy, probs, golds, tiny.start))


def test_no_policy_has_more_gold_at_its_kl(tiny):
    """A thousand policies near the reference and far from it, over all 81 responses."""
    probs, golds = enumerate_responses(tiny)
    assert gold_of_reference(tiny) == pytest.approx(tiny.start @ (probs * golds).sum(1))
    rng = np.random.default_rng(0)
    for _ in range(1000):
        policy = probs * np.exp(rng.normal(size=probs.shape) + golds * rng.uniform(0, 4))
        policy /= policy.sum(1, keepdims=True)
        gold, kl = gold_and_kl(policy, probs, golds, tiny.start)
        assert gold <= best_gold(tiny, kl) + 1e-9
        assert efficiency(tiny, gold, kl) <= 1 + 1e-9


def test_best_policy_has_efficiency_one(tiny):
    gold, kl = tilted(tiny, 0.4)
    assert best_gold(tiny, kl) == pytest.approx(gold)
    assert efficiency(tiny, gold, kl) == pytest.approx(1.0)
    assert best_gold(tiny, 0.0) == pytest.approx(gold_of_reference(tiny), abs=1e-4)


def test_markov_model_is_recovered_exactly(tmp_path, monkeypatch):
    """The next symbol depends only on the last one, so the residual KL is 0."""
    chain, rng = world.chain_of(0), np.random.default_rng(1)
    prompts = world.draw_prompts(chain, 400, rng)
    responses = world.walk(chain, prompts[:, -1], world.LENGTH, rng)
    texts = [list(map(world.write, rows)) for rows in (prompts, responses)]
    previous = previous_symbols(*texts)
    assert (previous[:, 0] == prompts[:, -1]).all()
    assert (previous[:, 1:] == responses[:, :-1]).all()
    next_probs = np.append(chain.transitions[previous], np.zeros((400, world.LENGTH, 1)), axis=2)
    monkeypatch.setattr(
        "recipes.toy_tasks.exact.reference.next_symbols", lambda folder, *texts: next_probs
    )
    reference, residual_kl = reference_of_model(tmp_path, chain, *texts)
    assert residual_kl == pytest.approx(0.0, abs=1e-9)
    occurring = np.unique(previous[:, 5])
    np.testing.assert_allclose(reference.steps[5, occurring, :ENDED], chain.transitions[occurring])


def test_ended_response_stays_ended():
    assert previous_symbols(["a b c d"], ["p o"]).tolist() == [[3, 15, 14, *[ENDED] * 13]]


def test_gold_counts_the_first_sixteen_symbols():
    """Weights over 4: two of `a` and one of `c`; the last four of twenty symbols do not count."""
    weights = world.chain_of(5).weights
    assert weights.mean() == pytest.approx(0)
    assert (weights**2).mean() == pytest.approx(1)
    scores = world.gold(["b"] * 2, ["a c a", " ".join("a" * 16 + "pppp")], [5, 5])
    assert scores == pytest.approx([(2 * weights[0] + weights[2]) / 4, 4 * weights[0]])
    assert world.complete(["b"] * 2, ["a c a", " ".join("a" * 20)]) == [-13.0, 0.0]


def test_penalty_counts_equal_pairs_beyond_twenty():
    """7 equal symbols are 21 pairs, 4 and 3 more make 6 + 3: ten above 20 at a quarter point."""
    response = " ".join("aaaaaaabbbbccc")
    assert world.equal_pairs(world.read(response)) == 30
    plain, penalized = (f([""], [response], [2])[0] for f in (world.gold, world.gold_with_penalty))
    assert plain - penalized == pytest.approx(2.5)


def test_pairs_have_the_stated_noise_and_flips():
    """Chosen wins as often as under Bradley-Terry; exactly the given share is reversed."""

    def chosen_texts(flipped):
        return [row["chosen"] for row in world.pairs(1, 2000, part=0, flipped=flipped)]

    rows = list(world.pairs(1, 2000, part=0))
    scores = [
        np.array(world.gold([""] * 2000, [row[side] for row in rows], [1] * 2000))
        for side in ("chosen", "rejected")
    ]
    gap = scores[0] - scores[1]
    expected = (1 / (1 + np.exp(-np.abs(gap)))).mean()
    assert (gap > 0).mean() == pytest.approx(expected, abs=3 * np.sqrt(0.25 / 2000))
    plain = chosen_texts(0.0)
    reversed_rows = {
        share: {
            i for i, (a, b) in enumerate(zip(plain, chosen_texts(share), strict=True)) if a != b
        }
        for share in (0.25, 0.5, 1.0)
    }
    assert [len(rows) for rows in reversed_rows.values()] == [500, 1000, 2000]
    assert reversed_rows[0.25] < reversed_rows[0.5] < reversed_rows[1.0]


def test_rows_depend_on_world_and_part_only():
    assert list(world.demonstrations(3, 5)) == list(world.demonstrations(3, 5))
    assert list(world.demonstrations(3, 5)) != list(world.demonstrations(4, 5))
    train, held_out = (list(world.prompt_rows(3, 50, part=part)) for part in (0, 1))
    assert train != held_out
    assert {row["world"] for row in train} == {3}


def test_model_has_100_352_weights_and_decodes_its_tokens(tmp_path):
    make_model(tmp_path / "one", make_tokenizer(world.SYMBOLS), seed=0)
    make_model(tmp_path / "two", make_tokenizer(world.SYMBOLS), seed=0)
    one, two = (load_policy(tmp_path / name) for name in ("one", "two"))
    assert sum(p.numel() for p in one.parameters()) == 100_352
    assert torch.equal(one.lm_head.weight, two.lm_head.weight)
    chat = tokenizer_of_model(str(tmp_path / "one"), "auto")
    ids = sequence_ids(chat, "a b c d", "p o n")
    assert len(ids) == 4 + 1 + 3 + 1
    assert decode(chat, ids[5:]) == "p o n"
