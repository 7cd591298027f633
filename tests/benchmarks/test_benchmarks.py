"""The benchmark: its models, counts and tables, and a run in seconds."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch

from benchmarks import __main__ as program
from benchmarks.learning import POLICY, REWARD_MODEL, Curve, check_models, learning_lines
from benchmarks.measure import Measured
from benchmarks.models import EOS, PAD, UNKNOWN, make_folders
from benchmarks.results import COLUMNS, row_of
from benchmarks.roofline import count_work, roofline_seconds
from benchmarks.section import Section
from benchmarks.targets import target_lines
from benchmarks.workloads import (
    SMOKE,
    A,
    B,
    Job,
    Variant,
    job_from,
    variants,
)
from rlhf.data.tokenization.chat import decode, prompt_ids, sequence_ids
from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.models.load import load_policy
from rlhf.planning.rates import Rates
from tests.errors import raises

RATES = Rates(matmul_fp32=1e9, matmul_bf16=2e9, copy=1e9, read=1e9)


def test_smoke_run_writes_page_and_plot(tmp_path):
    """Without TRL, in separate worker processes."""
    page = tmp_path / "RESULTS.md"
    assert program.main(["--smoke", "--iterations", "2", "--output", str(page)]) == 0
    text = page.read_text()
    (row,) = [line for line in text.splitlines() if line.startswith("| rlhf fp32 ")]
    cells = dict(zip(COLUMNS, (cell.strip() for cell in row[1:-1].split(" | ")), strict=True))
    assert float(cells["samples/s"]) > 0
    assert 8 <= float(cells["tokens"]) <= 64  # 8 responses of 1 to 8 tokens
    assert 0 < float(cells["less imports"]) < float(cells["peak MiB"])
    assert (tmp_path / "results.svg").stat().st_size > 1000
    assert "no ratios" in text


def test_unknown_variant_exits_and_lists_known_ones(capsys):
    with pytest.raises(SystemExit, match="2"):
        program.main(["--only", "rlhf fp16"])
    assert "--only rlhf fp16: no such variant; choose from trl, " in capsys.readouterr().err


@pytest.mark.parametrize("hazard", [0.0, 1 / 32])
def test_eos_has_the_probability_of_the_workload(tmp_path, hazard):
    """At every position, for every prefix; pad and unknown have probability 0."""
    workload = dataclasses.replace(SMOKE, eos_hazard=hazard, hidden_size=128)
    make_folders(workload, tmp_path)
    ids = torch.randint(3, workload.vocab_size, (8, 32), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        probs = load_policy(tmp_path / "policy")(input_ids=ids).logits.softmax(-1)
    torch.testing.assert_close(probs[..., EOS], torch.full((8, 32), hazard), rtol=0.1, atol=1e-6)
    assert probs[..., [PAD, UNKNOWN]].max() < 1e-6


def test_reward_model_needs_the_chat_template_of_the_policy(tmp_path):
    """TRL passes the policy's tokens to it: with another template all scores are nearly equal."""
    make_folders(SMOKE, tmp_path / "made")
    for name in (POLICY, REWARD_MODEL):
        shutil.copytree(tmp_path / "made" / "policy", tmp_path / name)
    check_models(tmp_path)
    chat = load_tokenizer(str(tmp_path / REWARD_MODEL), judges=True)
    chat.tokenizer.chat_template = f"{chat.tokenizer.chat_template}That is"
    chat.tokenizer.save_pretrained(tmp_path / REWARD_MODEL)
    with raises("template-mismatch", REWARD_MODEL, POLICY):
        check_models(tmp_path)
    shutil.rmtree(tmp_path / REWARD_MODEL)
    with raises("missing-file", REWARD_MODEL):
        check_models(tmp_path)


def test_text_and_ids_of_prompts_are_equal(tmp_path):
    """rlhf starts from text, TRL from ids: both have the same tokens."""
    make_folders(SMOKE, tmp_path)
    chat = load_tokenizer(str(tmp_path / "policy"))
    rows = [json.loads(line) for line in (tmp_path / "prompts.jsonl").read_text().splitlines()]
    for row in rows[:20]:
        assert prompt_ids(chat, row["prompt"]) == row["ids"]
        response = [5, 6, 7, EOS]
        sequence = sequence_ids(chat, row["prompt"], decode(chat, response))
        assert sequence == [*row["ids"], *response]


def test_work_of_a_small_model_counted_by_hand():
    """One layer, D 2, I 3, one head, V 5, one row of 3 + 1 tokens, one step.

    Trunk 4 * 2 * 2 + 3 * 2 * 3 = 34 weights, output 10. Pairs 4² / 2 = 8.
    Body 2 * 34 * 4 + 4 * 2 * 8 = 336, head 2 * 10 * 1 = 20.
    Update 3 * (336 + 20 + 336) = 2076; rollout 356; score 356 + 672 = 1028.
    Bytes: one decoding step reads 44 weights and 2 * 2 * 8 = 32 keys and values: 304 bytes.
    The optimizer touches (34 + 20) + (34 + 10) = 98 weights ten times: 3920 bytes.
    """
    workload = dataclasses.replace(
        A, num_layers=1, hidden_size=2, intermediate_size=3, num_heads=1, num_kv_heads=1,
        vocab_size=5, batch_size=1, num_epochs=1, num_minibatches=1,
    )  # fmt: skip
    work = count_work(workload, prompt_tokens=3, response_tokens=1)
    assert work.update_flops == 2076
    assert work.flops == 2076 + 356 + 1028
    assert work.bytes == 304 + 3920
    assert roofline_seconds(work, RATES, bf16=True) == pytest.approx((1.73e-6, 4.224e-6))


def measured(label, *, seconds, peak, **changes):
    engine = label.split()[0]
    turn = {"seconds": seconds, "cpu_seconds": seconds, "response_tokens": 2048.0}
    turn |= {f"seconds_{phase}": seconds / 4 for phase in ("rollout", "score")}
    turn |= {"seconds_update": seconds / 2}
    variant = Variant(engine=engine, label=label, bf16="bf16" in label, **changes)
    return Measured(variant=variant, after_imports=2**30, peak=peak, turns=[turn, turn])


def test_ratios_refer_to_untuned_trl():
    """32 responses in 4 s are 8 per second, 2.5 times the peer's rate in 10 s.

    2 of 4 GiB are half; without 1 GiB of imports on both sides it is a third.
    """
    peer = measured("trl", seconds=10, peak=2**32)
    rlhf = measured("rlhf bf16", seconds=4, peak=2**31)
    section = Section(title="A: x", workload=A, measured=[peer, rlhf], rates=RATES)
    cells = dict(zip(COLUMNS, row_of(rlhf, peer, section), strict=True))
    assert (cells["samples/s"], cells["× trl"], cells["tokens/s"]) == ("8.00", "2.50", "512")
    assert (cells["peak MiB"], cells["less imports"], cells["× trl "]) == (
        "2048",
        "1024",
        "0.50, 0.33",
    )
    rows = target_lines([section])
    assert any("rlhf bf16 over trl | at least 2.00 | 2.50 | met" in line for line in rows)
    assert any("at most 0.50 | 0.50, less imports 0.33 | met" in line for line in rows)
    slower = dataclasses.replace(section, measured=[peer, measured("rlhf bf16", seconds=6, peak=9)])
    assert any("1.67 | **missed**" in line for line in target_lines([slower]))


def test_fp32_variants_are_used_if_bf16_is_slow():
    labels = [line.label for line in variants(2, bf16=False)]
    assert labels == ["trl", "trl tuned", "rlhf fp32", "rlhf fp32 shared_trunk", "rlhf fp32 lora"]
    assert not any(line.bf16 for line in variants(2, bf16=False))
    fast = {line.label: line.bf16 for line in variants(2, bf16=True)}
    assert [label for label, half in fast.items() if not half] == ["trl", "rlhf fp32"]
    lines = [measured("trl", seconds=10, peak=2**32), measured("rlhf fp32", seconds=4, peak=2**31)]
    section = Section(title="B: x", workload=B, measured=lines, rates=RATES)
    rows = target_lines([section])
    assert any("rlhf fp32 over trl | at least 4.00 | 2.50 | **missed**" in line for line in rows)
    assert any("rlhf fp32 | at most 0.50 | 0.50, less imports 0.33 | met" in line for line in rows)


def test_two_processes_are_compared_with_one():
    lines = [
        measured("rlhf 1 x 1", seconds=9, peak=1),
        measured("rlhf 2 x 1", seconds=5, peak=1, num_processes=2),
    ]
    section = Section(title="E: processes", workload=A, measured=lines, rates=RATES)
    assert any("at least 1.70 | 1.80 | met" in line for line in target_lines([section]))


def test_seconds_to_a_score_use_the_mean_of_ten_iterations():
    """Scores 0, 1, …, 19 at 2 s each: the mean of ten reaches 9.5 after fifteen iterations."""
    scores = [float(step) for step in range(20)]
    seconds = [2.0 * (step + 1) for step in range(20)]
    curve = Curve(label="rlhf", seconds=seconds, scores=scores, kls=scores)
    assert curve.seconds_to(9.5) == 30.0
    assert curve.final == 14.5
    assert curve.seconds_to(15) == float("inf")


def test_learning_compares_the_seconds_of_both_engines():
    """30/10 and 50/10 s: 4 ± 1; 95% of the lower final score, 8, is reached after ten steps."""

    def curve(label, seconds, score):
        times = [seconds * (step + 1) / 20 for step in range(20)]
        return Curve(label=label, seconds=times, scores=[score] * 20, kls=[1.0] * 20)

    curves = [curve("rlhf", 10, 8.0), curve("rlhf", 10, 8.0)]
    lines = learning_lines([*curves, curve("trl", 30, 9.0), curve("trl", 50, 9.0)], "d.svg")
    assert "`trl` takes 4.00 ± 1.00 times the seconds of rlhf per seed." in lines
    assert any("seconds to score 7.60" in line for line in lines)
    assert "| rlhf | 8.00 ± 0.00 | 1.00 ± 0.00 | 5.00 ± 0.00 | 10.00 ± 0.00 |" in lines
    assert not any("times the seconds" in line for line in learning_lines(curves, "d.svg"))


def test_job_survives_a_round_trip(tmp_path):
    job = program._job(A, Variant(engine="trl", label="trl"), tmp_path, _options())
    assert isinstance(job, Job)
    assert job_from(json.loads(json.dumps(job.as_dict()))) == job


def _options():
    return program._parser().parse_args(["--iterations", "3", "--output", str(Path("x"))])
