"""Best of N, the reward-KL frontier and the alignment tax by value."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.evaluation.core.metrics import Judge, MetricSpec
from rlhf.evaluation.core.records import Record
from rlhf.evaluation.core.results import find
from rlhf.evaluation.studies.alignment_tax import (
    Tax,
    TextLoss,
    alignment_tax_metrics,
    measure_tax,
    text_losses,
)
from rlhf.evaluation.studies.best_of_n import best_of_n_metrics
from rlhf.evaluation.studies.checkpoints import steps_of_run
from rlhf.evaluation.studies.frontier import (
    _peak_and_fall,
    content_of,
    make_frontier,
    summary_lines,
)
from rlhf.models.load import load_policy
from tests.tiny_models import make_model

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
    spec = MetricSpec(
        models=("sft",), baseline="sft", judges=(GOLD, PROXY), categories=[None] * 3, resamples=20
    )
    results = best_of_n_metrics(samples, records, spec, model="sft", chooser=PROXY, sizes=(1, 2, 4))
    gold = {n: find(results, "score", f"sft best of {n}", judge="gold").value for n in (1, 2, 4)}
    assert gold == pytest.approx({1: -1.5, 2: -14 / 6, 4: -3.0})
    assert find(results, "win_rate", "sft best of 1", judge="gold").value == pytest.approx(0.25)
    assert find(results, "win_rate", "sft best of 4", judge="gold").value == 0.0
    assert find(results, "kl_bound", "sft best of 4").value == pytest.approx(math.log(4) - 0.75)


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


def _frontier(golds, **options):
    records, names = _checkpoints(golds, **options)
    return make_frontier(
        records, names, proxy=PROXY, held_out=GOLD, num_prompts=100, seed=0, resamples=50
    )


def test_over_optimisation_is_flagged_with_its_peak():
    made = _frontier([0.0, 2.0, 3.0, 1.0, 0.2])
    assert made.over_optimized
    assert made.best == "step 2"
    assert "take step 2" in made.says
    text = json.dumps(content_of(made), allow_nan=False)
    points = json.loads(text)["points"]
    assert [point["name"] for point in points][:2] == ["sft", "step 1"]
    assert points[1]["held_out"]["value"] == pytest.approx(2.0, abs=0.01)
    assert points[1]["held_out"]["mde"] == made.points[1].held_out.mde > 0
    assert "mde" not in points[0]["kl"]  # exact


def test_rise_and_fall_within_noise_are_not_flagged():
    assert not _frontier([0.0, 1.0, 2.0, 3.0]).over_optimized
    slight = _frontier([0.0, 2.0, 3.0, 2.99], noise=1.0)
    assert not slight.over_optimized
    assert slight.best == "step 2"


@pytest.mark.parametrize("checkpoints", [3, 10])
def test_plateau_is_rarely_flagged(checkpoints):
    """Equal checkpoints with noise, 100 prompts: 5% are to be flagged, 12 of 100 a bound on that.

    With 2 standard errors alone the luckiest of ten stands that far above a later one in 35 of
    100 plateaus. A fall of 5.7 standard errors is flagged.
    """
    rng = np.random.default_rng(0)
    flagged = detected = 0
    for _ in range(100):
        prompts = rng.normal(size=100)
        scores = [prompts + rng.normal(size=100) for _ in range(checkpoints)]
        flagged += _peak_and_fall(scores, range(checkpoints), 0)[1] is not None
        last = [*scores[:-1], scores[-1] - 0.8]  # SE of a difference is √2 / 10 = 0.14
        detected += _peak_and_fall(last, range(checkpoints), 0)[1] == checkpoints - 1
    assert flagged <= 12
    assert detected >= 95


def test_fall_of_both_scores_is_not_over_optimisation():
    """The proxy falls too: training went wrong, the reward was not gamed."""
    records, names = _checkpoints([0.0, 3.0, 1.0])
    records = [
        Record(
            **{**vars(r), "scores": {"gold": r.scores["gold"], "reward_model": r.scores["gold"]}}
        )
        for r in records
    ]
    made = make_frontier(
        records, names, proxy=PROXY, held_out=GOLD, num_prompts=100, seed=0, resamples=50
    )
    assert not made.over_optimized


def test_fits_recover_the_curve():
    """gold = d (3 - 0.5 d) at d = 1 … 4 and proxy = d: α = 3, β = 0.5 and 1, 0; R² is 1."""
    made = _frontier([d * (3 - 0.5 * d) for d in range(5)], noise=0.0)
    fits = {(fit.form, fit.judge): fit for fit in made.fits}
    assert {fit.n for fit in made.fits} == {4}
    gold, proxy = fits["d(α-βd)", "held_out"], fits["d(α-β log d)", "proxy"]
    assert (gold.alpha, gold.beta, gold.r2) == pytest.approx((3.0, 0.5, 1.0))
    assert (proxy.alpha, proxy.beta) == pytest.approx((1.0, 0.0))


def test_few_or_equidistant_checkpoints_have_no_fit():
    """Through three points any curve of two numbers goes; at one distance α and β are one."""
    assert not _frontier([0.0, 1.0, 2.0, 3.0]).fits
    records, names = _checkpoints([0.0, 1.0, 2.0, 3.0, 4.0])
    records = [replace(r, kl=r.kl and 2.0) for r in records]
    made = make_frontier(
        records, names, proxy=PROXY, held_out=GOLD, num_prompts=100, seed=0, resamples=50
    )
    assert not made.fits
    assert "step 4: KL 2.00 [2.00, 2.00]" in "\n".join(summary_lines(made))


def test_steps_of_unfinished_run_and_of_adapter_run(tmp_path):
    """The last line of metrics.jsonl is torn; the final model is a LoRA folder."""
    for name in ("checkpoint-5", "checkpoint-10"):
        (tmp_path / name).mkdir()
    (tmp_path / "metrics.jsonl").write_text('{"step": 10}\n{"step": 12}\n{"step": 1')
    assert [step for _, step in steps_of_run(tmp_path)] == [5, 10]
    (tmp_path / "adapter_config.json").write_text("{}")
    assert steps_of_run(tmp_path)[-1] == (tmp_path, 12)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = make_model(tmp_path_factory.mktemp("tiny") / "model", seed=0)
    return load_policy(folder), load_tokenizer(str(folder))


def test_text_loss_equals_that_of_transformers(tiny):
    """Padding to a longer text does not change it."""
    model, chat = tiny
    texts = ["Where is the red ball?", "The red ball is in the box. Can you name three animals?"]
    encoded = [chat.tokenizer(text)["input_ids"] for text in texts]
    losses = text_losses(model, encoded, chat.pad_token_id)
    for ids, loss in zip(encoded, losses, strict=True):
        inputs = torch.tensor([ids])
        expected = model(input_ids=inputs, labels=inputs).loss.item()
        assert loss.nats / loss.tokens == pytest.approx(expected, abs=1e-4)
        assert loss.tokens == len(ids) - 1


def test_int8_loss_is_close_and_perplexity_is_its_exponential(tiny):
    model, chat = tiny
    texts = [f"The red ball number {i} is in the box." for i in range(5)]
    tax = measure_tax(model, chat, texts, name="m", max_length=64)
    results = alignment_tax_metrics([tax], baseline="m", seed=0, resamples=50)
    loss = {p: find(results, "text_loss", "m", precision=p) for p in ("fp32", "int8")}
    perplexity = find(results, "text_perplexity", "m", precision="fp32")
    assert perplexity.value == pytest.approx(math.exp(loss["fp32"].value))
    # Student's t with four degrees of freedom: 2.7764 and 0.9410 of the interval's standard error.
    half = (perplexity.high - perplexity.low) / 2
    assert perplexity.mde == pytest.approx(half * (2.7764 + 0.9410) / 2.7764, rel=1e-4)
    assert 0 < abs(loss["int8"].value - loss["fp32"].value) < 0.05
    assert loss["fp32"].n == 5
    more = find(results, "text_loss_increase", "m", precision="int8")
    assert more.value == pytest.approx(loss["int8"].value - loss["fp32"].value)
    assert find(results, "text_loss_increase", "m", precision="fp32") is None
    # All but the norms and the embeddings, which this model does not share with its head.
    linear = sum(m.weight.numel() for m in model.modules() if type(m) is torch.nn.Linear)
    assert tax.int8_share == linear / sum(p.numel() for p in model.parameters())


def test_tax_is_paired_by_text():
    """Texts of 1 and 9 nats a token, ours 0.1 above: the losses' intervals are wide, the tax's
    has no width. A model of other tokens has none."""
    then = [TextLoss(nats=nats, tokens=10) for nats in (10.0, 90.0)]
    now = [TextLoss(nats=loss.nats + 1.0, tokens=10) for loss in then]
    sft, ppo, other = (
        Tax(name=name, encoded=encoded, losses={"fp32": losses}, int8_share=0.0)
        for name, encoded, losses in (
            ("sft", [[1], [2]], then), ("ppo", [[1], [2]], now), ("other", [[1], [3]], now)
        )
    )  # fmt: skip
    results = alignment_tax_metrics([sft, ppo, other], baseline="sft", seed=0, resamples=50)
    level = find(results, "text_loss", "ppo", precision="fp32")
    assert level.high - level.low > 5
    tax = find(results, "text_loss_increase", "ppo", baseline="sft", precision="fp32")
    assert (tax.value, tax.low, tax.high) == pytest.approx((0.1, 0.1, 0.1))
    assert find(results, "text_loss_increase", "other") is None
