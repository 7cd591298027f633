"""Judges with a known bias (position, length, noise) and the metrics that result."""

import random

import pytest

from rlhf.evaluation.core.metrics import MetricSpec
from rlhf.evaluation.core.records import Record
from rlhf.evaluation.core.results import find
from rlhf.evaluation.judges.llm import judge_prompt, read_verdict
from rlhf.evaluation.judges.pairwise import (
    FIRST,
    SECOND,
    TIE,
    AnonymousPair,
    Pair,
    Verdict,
    compare_pairs,
    judge_health,
    make_pairs,
)
from rlhf.evaluation.judges.pairwise_metrics import verdict_metrics
from rlhf.types import PromptRow


def _chance(logit):
    return 1 / (1 + 2.718281828**-logit)


def _judge(rng, *, bias=0.0, by_length=0.0, unparsable=0.0):
    """P(first) = σ(bias + by_length · difference of length)."""

    def judge(pairs):
        verdicts = []
        for pair in pairs:
            logit = bias + by_length * (len(pair.first) - len(pair.second))
            verdict = FIRST if rng.random() < _chance(logit) else SECOND
            verdicts.append(None if rng.random() < unparsable else verdict)
        return verdicts

    return judge


def _records(rng, models, *, prompts=1600, longer=0):
    """Responses of random length; the last model's are `longer` characters longer on average."""
    records = []
    for model in models:
        more = longer if model == models[-1] else 0
        for prompt in range(prompts):
            text = f"{model} {prompt} " + "x" * max(0, round(rng.gauss(60 + more, 20)))
            records.append(
                Record(
                    prompt_index=prompt,
                    sample=0,
                    model=model,
                    text=text,
                    num_tokens=1,
                    ended_with_eos=True,
                )
            )
    return records


def _spec(models, prompts=1600):
    return MetricSpec(
        models=models, baseline="sft", judges=(), categories=[None] * prompts, resamples=200
    )


def _verdicts(rng, judge, **options):
    records = _records(rng, ("sft", "ppo"), **options)
    pairs = make_pairs(records, ("sft", "ppo"), "sft", per_prompt=1, seed=0)
    return compare_pairs(pairs, [PromptRow(prompt=f"p{i}") for i in range(1600)], judge)


def test_position_bias_does_not_change_win_rate_of_equal_models():
    """+0.8 logits for the first: P(first) = 0.69, and half of the pairs are decided by position."""
    values, firsts = [], []
    for seed in range(5):
        rng = random.Random(seed)
        results = verdict_metrics(_verdicts(rng, _judge(rng, bias=0.8)), _spec(("ppo",)))
        values.append(find(results, "win_rate", "ppo", judge="llm").value)
        firsts.append(find(results, "judge_first", "ppo").value)
        # Both orders agree with chance 2 · 0.69 · 0.31 = 0.43.
        assert find(results, "judge_inconsistency", "ppo").value == pytest.approx(0.57, abs=0.07)
    assert values == pytest.approx([0.5] * 5, abs=0.03)
    assert firsts == pytest.approx([0.69] * 5, abs=0.04)


def test_one_order_alone_is_biased():
    """The bias that both orders together remove."""
    rng = random.Random(0)
    verdicts = _verdicts(rng, _judge(rng, bias=0.8))
    naive = sum(verdict.ours_first == FIRST for verdict in verdicts) / len(verdicts)
    assert naive == pytest.approx(0.69, abs=0.05)


def test_win_rate_at_equal_length_has_no_length_bias():
    values = []
    for seed in range(5):
        rng = random.Random(seed)
        verdicts = _verdicts(rng, _judge(rng, by_length=0.2), longer=15)
        results = verdict_metrics(verdicts, _spec(("ppo",)))
        assert find(results, "win_rate", "ppo").value > 0.6
        values.append(find(results, "equal_length_win_rate", "ppo").value)
    assert sum(values) / 5 == pytest.approx(0.5, abs=0.03)


def test_unparsable_replies_are_ties_and_counted():
    rng = random.Random(0)
    verdicts = _verdicts(rng, _judge(rng, bias=-9.0, unparsable=1.0))
    health = judge_health(verdicts, resamples=50)
    assert {verdict.win for verdict in verdicts} == {0.5}
    assert health["judge_unparsable"].value == 1.0
    assert "judge_first" not in health


@pytest.mark.parametrize(
    ("one", "other", "win", "inconsistent"),
    [
        (FIRST, SECOND, 1.0, False),
        (SECOND, FIRST, 0.0, False),
        (FIRST, FIRST, 0.5, True),
        (TIE, TIE, 0.5, False),
        (FIRST, TIE, 0.5, True),
        (FIRST, None, 0.5, False),
    ],
)
def test_win_needs_both_orders(one, other, win, inconsistent):
    pair = Pair(prompt_index=0, model="ppo", baseline="sft", ours="a", theirs="b")
    verdict = Verdict(pair=pair, ours_first=one, theirs_first=other)
    assert (verdict.win, verdict.inconsistent) == (win, inconsistent)


def test_pairs_of_equal_texts_are_ties_without_a_request():
    pair = Pair(prompt_index=0, model="ppo", baseline="sft", ours="same", theirs="same")
    [verdict] = compare_pairs([pair], [PromptRow(prompt="p")], lambda pairs: [FIRST] * len(pairs))
    assert verdict.win == 0.5
    assert judge_health([verdict]) == {}


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ("Both are fine, yet B invents a fact.\n[[A]]", FIRST),
        ("[[ B ]]", SECOND),
        ("I call it a tie: [[C]]", TIE),
        ("**B**", SECOND),
        ("tie.", TIE),
        ("[[A]] or maybe [[B]]", None),
        ("Is it [[A]]? It invents a fact.\n\n**[[B]]**\n", SECOND),
        ("[[A]]\nor [[B]], who knows", None),
        ("Answer A is better", None),
        ("", None),
        ("[[D]]", None),
    ],
)
def test_verdict_is_read_from_the_reply(reply, verdict):
    assert read_verdict(reply) == verdict


def test_judge_prompt_has_the_conversation_and_both_responses():
    prompt = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi {x}"}]
    text = judge_prompt(AnonymousPair(prompt=prompt, first="{one}", second="two"))
    assert "system: Be brief.\nuser: Hi {x}" in text
    assert text.index("{one}") < text.index("two")
