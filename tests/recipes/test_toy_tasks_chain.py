"""The worlds of the Markov chain: the frontier against enumeration; data that are as claimed."""

import itertools

import numpy as np
import pytest
import torch

from recipes.toy_tasks.exact.best import Reference, best_gold, efficiency, gold_of, tilted
from recipes.toy_tasks.exact.reference import GONE, reference_of_model, symbols_before
from recipes.toy_tasks.markov import chain as world
from recipes.toy_tasks.tiny_model import make_model
from rlhf.data.tokenization.chat import decode, sequence_ids
from rlhf.models.load import load_policy
from rlhf.models.tokenizer import tokenizer_of_model

SYMBOLS, STEPS = 3, 4


@pytest.fixture
def tiny():
    """Three symbols, four steps, other probabilities at each step."""
    rng = np.random.default_rng(3)
    return Reference(
        steps=rng.dirichlet(np.ones(SYMBOLS), size=(STEPS, SYMBOLS)),
        start=np.array([0.2, 0.3, 0.5]),
        gains=np.array([1.0, -0.5, 0.2]),
    )


def enumerated(reference):
    """[S, S^T] probabilities of every answer after every start, and [S^T] gold scores."""
    answers = list(itertools.product(range(SYMBOLS), repeat=STEPS))
    chances = np.ones((SYMBOLS, len(answers)))
    for start, (index, answer) in itertools.product(range(SYMBOLS), enumerate(answers)):
        for t, (last, symbol) in enumerate(itertools.pairwise((start, *answer))):
            chances[start, index] *= reference.steps[t, last, symbol]
    return chances, np.array([reference.gains[list(answer)].sum() for answer in answers])


def gold_and_kl(policy, chances, golds, start):
    """Of answers drawn as `policy` [S, N] says."""
    ratios = np.log(policy / chances, where=policy > 0, out=np.zeros_like(policy))
    return float(start @ (policy * golds).sum(1)), float(start @ (policy * ratios).sum(1))


@pytest.mark.parametrize("beta", [0.1, 0.5, 3.0])
def test_recursion_gives_the_tilted_policy_of_all_81_answers(tiny, beta):
    chances, golds = enumerated(tiny)
    policy = chances * np.exp(golds / beta)
    policy /= policy.sum(1, keepdims=True)
    assert tilted(tiny, beta) == pytest.approx(gold_and_kl(policy, chances, golds, tiny.start))


def test_no_policy_has_more_gold_at_its_kl(tiny):
    """A thousand policies near the reference and far from it, over all 81 answers."""
    chances, golds = enumerated(tiny)
    assert gold_of(tiny) == pytest.approx(tiny.start @ (chances * golds).sum(1))
    rng = np.random.default_rng(0)
    for _ in range(1000):
        policy = chances * np.exp(rng.normal(size=chances.shape) + golds * rng.uniform(0, 4))
        policy /= policy.sum(1, keepdims=True)
        gold, kl = gold_and_kl(policy, chances, golds, tiny.start)
        assert gold <= best_gold(tiny, kl) + 1e-9
        assert efficiency(tiny, gold, kl) <= 1 + 1e-9


def test_the_best_policy_has_efficiency_one(tiny):
    gold, kl = tilted(tiny, 0.4)
    assert best_gold(tiny, kl) == pytest.approx(gold)
    assert efficiency(tiny, gold, kl) == pytest.approx(1.0)
    assert best_gold(tiny, 0.0) == pytest.approx(gold_of(tiny), abs=1e-4)


def test_a_model_that_is_a_chain_is_read_as_that_chain(tmp_path, monkeypatch):
    """An untrained model whose next symbol depends on the last one alone: nothing is left out."""
    chain, rng = world.chain_of(0), np.random.default_rng(1)
    prompts = world.draw_prompts(chain, 400, rng)
    answers = world.walk(chain, prompts[:, -1], world.LENGTH, rng)
    texts = [list(map(world.write, rows)) for rows in (prompts, answers)]
    before = symbols_before(*texts)
    assert (before[:, 0] == prompts[:, -1]).all()
    assert (before[:, 1:] == answers[:, :-1]).all()
    given = np.append(chain.transitions[before], np.zeros((400, world.LENGTH, 1)), axis=2)
    monkeypatch.setattr(
        "recipes.toy_tasks.exact.reference.next_symbols", lambda folder, *texts: given
    )
    reference, left_out = reference_of_model(tmp_path, chain, *texts)
    assert left_out == pytest.approx(0.0, abs=1e-9)
    seen = np.unique(before[:, 5])
    np.testing.assert_allclose(reference.steps[5, seen, :GONE], chain.transitions[seen])


def test_an_answer_that_has_ended_stays_so():
    assert symbols_before(["a b c d"], ["p o"]).tolist() == [[3, 15, 14, *[GONE] * 13]]


def test_gold_counts_the_first_sixteen_symbols():
    """Weights over 4: two of `a` and one of `c`; of twenty symbols the last four do not count."""
    weights = world.chain_of(5).weights
    assert weights.mean() == pytest.approx(0)
    assert (weights**2).mean() == pytest.approx(1)
    scores = world.gold(["b"] * 2, ["a c a", " ".join("a" * 16 + "pppp")], [5, 5])
    assert scores == pytest.approx([(2 * weights[0] + weights[2]) / 4, 4 * weights[0]])
    assert world.complete(["b"] * 2, ["a c a", " ".join("a" * 20)]) == [-13.0, 0.0]


def test_penalty_is_for_pairs_of_equal_symbols_beyond_twenty():
    """7 equal symbols are 21 pairs, 4 and 3 more make 6 + 3: ten above 20 at a quarter point."""
    answer = " ".join("aaaaaaabbbbccc")
    assert world.equal_pairs(world.read(answer)) == 30
    plain, less = (f([""], [answer], [2])[0] for f in (world.gold, world.gold_with_penalty))
    assert plain - less == pytest.approx(2.5)


def test_pairs_are_as_noisy_and_as_flipped_as_they_claim():
    """Chosen wins as often as Bradley-Terry has it; a share of labels is turned round, exactly."""

    def chosen(flipped):
        return [row["chosen"] for row in world.pairs(1, 2000, part=0, flipped=flipped)]

    rows = list(world.pairs(1, 2000, part=0))
    scores = [
        np.array(world.gold([""] * 2000, [row[side] for row in rows], [1] * 2000))
        for side in ("chosen", "rejected")
    ]
    gap = scores[0] - scores[1]
    expected = (1 / (1 + np.exp(-np.abs(gap)))).mean()
    assert (gap > 0).mean() == pytest.approx(expected, abs=3 * np.sqrt(0.25 / 2000))
    plain = chosen(0.0)
    turned = {s: {i for i, (a, b) in enumerate(zip(plain, chosen(s), strict=True)) if a != b}
              for s in (0.25, 0.5, 1.0)}  # fmt: skip
    assert [len(found) for found in turned.values()] == [500, 1000, 2000]
    assert turned[0.25] < turned[0.5] < turned[1.0]


def test_files_follow_from_the_world_alone_and_their_parts_differ():
    assert list(world.demonstrations(3, 5)) == list(world.demonstrations(3, 5))
    assert list(world.demonstrations(3, 5)) != list(world.demonstrations(4, 5))
    train, held_out = (list(world.prompt_rows(3, 50, part=part)) for part in (0, 1))
    assert train != held_out
    assert {row["world"] for row in train} == {3}


def test_model_has_about_100_000_weights_and_gives_texts_back(tmp_path):
    make_model(tmp_path / "one", world.SYMBOLS, seed=0)
    make_model(tmp_path / "two", world.SYMBOLS, seed=0)
    one, two = (load_policy(tmp_path / name) for name in ("one", "two"))
    assert sum(p.numel() for p in one.parameters()) == 100_352
    assert torch.equal(one.lm_head.weight, two.lm_head.weight)
    chat = tokenizer_of_model(str(tmp_path / "one"), "auto")
    ids = sequence_ids(chat, "a b c d", "p o n")
    assert len(ids) == 4 + 1 + 3 + 1
    assert decode(chat, ids[5:]) == "p o n"
