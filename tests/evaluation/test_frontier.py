"""Best of N, the reward-KL frontier and the alignment tax by value."""

import math

import pytest
import torch
from tiny_models import make_model

from rlhf.data.tokenizer import load_tokenizer
from rlhf.evaluation.best_of_models import best_of_figures
from rlhf.evaluation.figures import Judge, Question
from rlhf.evaluation.frontier import frontier
from rlhf.evaluation.records import Record
from rlhf.evaluation.results import find
from rlhf.evaluation.tax import tax_figures, text_losses
from rlhf.models.load import load_policy

GOLD = Judge(key="gold", kind="gold")
PROXY = Judge(key="reward_model", kind="reward_model")


def _record(prompt, sample, model, gold, proxy, kl=None):
    return Record(
        prompt_index=prompt,
        sample=sample,
        model=model,
        text=f"{sample}",
        num_tokens=1,
        ended_with_eos=True,
        kl=kl,
        scores={"gold": gold, "reward_model": proxy},
    )


def test_best_of_n_is_exact_in_the_draw():
    """Four samples with proxies 0 … 3 and gold the opposite; the baseline's gold is 0.5.

    Best of 1 is the mean gold -1.5 and wins with gold 3 - … 0: one of the four values -0, -1,
    -2, -3 is above -0.5. Best of 4 always takes proxy 3, whose gold is -3. Of 2 the picks are
    proxy 3, 2, 1 with chances 3/6, 2/6, 1/6: gold -(9 + 4 + 1)/6.
    """
    samples = [
        _record(prompt, k, "sft", -float(k), float(k)) for prompt in range(3) for k in range(4)
    ]
    records = [_record(prompt, 0, "sft", -0.5, 0.0) for prompt in range(3)]
    question = Question(
        models=("sft",), baseline="sft", judges=(GOLD, PROXY), categories=[None] * 3, resamples=20
    )
    found = best_of_figures(samples, records, question, model="sft", chooser=PROXY, sizes=(1, 2, 4))
    gold = {n: find(found, "score", f"sft best of {n}", judge="gold").value for n in (1, 2, 4)}
    assert gold == pytest.approx({1: -1.5, 2: -14 / 6, 4: -3.0})
    assert find(found, "win_rate", "sft best of 1", judge="gold").value == pytest.approx(0.25)
    assert find(found, "win_rate", "sft best of 4", judge="gold").value == 0.0
    assert find(found, "kl_bound", "sft best of 4").value == pytest.approx(math.log(4) - 0.75)


def _checkpoints(golds, *, noise=0.1):
    """A reference and checkpoints of KL 1, 4, 9, … whose proxy rises by 1 at each."""
    records, names = [], []
    for step, gold in enumerate(golds):
        name = "sft" if step == 0 else f"step {step}"
        names.append((name, step))
        for prompt in range(100):
            off = noise * (1 if (prompt + step * (prompt % 3)) % 2 else -1)
            records.append(_record(prompt, 0, name, gold + off, float(step), kl=float(step**2)))
    return records, names


def _frontier(golds, **how):
    records, names = _checkpoints(golds, **how)
    return frontier(
        records, names, proxy=PROXY, held_out=GOLD, num_prompts=100, seed=0, resamples=50
    )


def test_over_optimisation_is_flagged_and_the_peak_is_named():
    made = _frontier([0.0, 2.0, 3.0, 1.0, 0.2])
    assert made.over_optimized
    assert made.best == "step 2"
    assert "take step 2" in made.says


def test_a_rise_to_the_end_and_a_fall_within_the_noise_are_none():
    assert not _frontier([0.0, 1.0, 2.0, 3.0]).over_optimized
    slight = _frontier([0.0, 2.0, 3.0, 2.99], noise=1.0)
    assert not slight.over_optimized
    assert slight.best == "step 2"


def test_a_fall_of_both_is_no_over_optimisation():
    """The proxy falls too: training went wrong, the reward was not gamed."""
    records, names = _checkpoints([0.0, 3.0, 1.0])
    records = [
        Record(
            **{**vars(r), "scores": {"gold": r.scores["gold"], "reward_model": r.scores["gold"]}}
        )
        for r in records
    ]
    made = frontier(
        records, names, proxy=PROXY, held_out=GOLD, num_prompts=100, seed=0, resamples=50
    )
    assert not made.over_optimized


def test_the_fits_find_the_curve_that_made_the_points():
    """gold = d (3 - 0.5 d) at d = 1 … 4 and proxy = d: α = 3, β = 0.5 and 1, 0; R² is 1."""
    made = _frontier([d * (3 - 0.5 * d) for d in range(5)], noise=0.0)
    fits = {(fit.form, fit.judge): fit for fit in made.fits}
    gold, proxy = fits["d(α-βd)", "held_out"], fits["d(α-β log d)", "proxy"]
    assert (gold.alpha, gold.beta, gold.r2) == pytest.approx((3.0, 0.5, 1.0))
    assert (proxy.alpha, proxy.beta) == pytest.approx((1.0, 0.0))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = make_model(tmp_path_factory.mktemp("tiny") / "model", seed=0)
    return load_policy(folder), load_tokenizer(str(folder))


def test_the_loss_of_a_text_is_what_transformers_says_of_it(tiny):
    """Padding beside a longer text changes nothing."""
    model, chat = tiny
    texts = ["Where is the red ball?", "The red ball is in the box. Can you name three animals?"]
    encoded = [chat.tokenizer(text)["input_ids"] for text in texts]
    losses = text_losses(model, encoded, chat.pad_token_id)
    for ids, loss in zip(encoded, losses, strict=True):
        inputs = torch.tensor([ids])
        theirs = model(input_ids=inputs, labels=inputs).loss.item()
        assert loss.nats / loss.tokens == pytest.approx(theirs, abs=1e-4)
        assert loss.tokens == len(ids) - 1


def test_int8_costs_a_little_and_perplexity_is_the_exponential(tiny):
    model, chat = tiny
    texts = [f"The red ball number {i} is in the box." for i in range(5)]
    found = tax_figures(model, chat, texts, name="m", max_length=64, seed=0, resamples=50)
    loss = {p: find(found, "text_loss", "m", precision=p) for p in ("fp32", "int8")}
    perplexity = find(found, "text_perplexity", "m", precision="fp32")
    assert perplexity.value == pytest.approx(math.exp(loss["fp32"].value))
    assert 0 < abs(loss["int8"].value - loss["fp32"].value) < 0.05
    assert loss["fp32"].n == 5
