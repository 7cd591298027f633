"""The group benchmark: its counts, its table, and a run of both engines."""

import pytest

from benchmarks import groups
from benchmarks.group_results import COLUMNS, Rows, count_group_work, row_of
from benchmarks.groups import GroupWorkload
from benchmarks.length_reward import reward
from benchmarks.measure import Measured
from benchmarks.workloads import Variant
from rlhf.models.shape import ModelShape
from rlhf.planning.rates import Rates

SHAPE = ModelShape(
    name="small", num_layers=1, hidden_size=2, intermediate_size=3, num_heads=1, num_kv_heads=1,
    vocab_size=5, tied=True,
)  # fmt: skip
WORKLOAD = GroupWorkload(
    name="small", num_prompts=1, num_generations=2, prompt_tokens=0, max_response_length=1
)
RATES = Rates(matmul_fp32=1e9, matmul_bf16=2e9, copy=2e9, read=1e9)


def rows_of(*measured):
    return Rows(
        workload=WORKLOAD, prompt_tokens=2, measured=list(measured), rates=RATES, shape=SHAPE
    )


def measured(label, *, seconds, peak, **options):
    turn = {"seconds": seconds, "response_tokens": 2.0, "seconds_rollout": seconds / 2}
    turn |= {"seconds_score": seconds / 4, "seconds_update": seconds / 4}
    engine = "rlhf" if label.startswith("rlhf") else "trl_groups"
    variant = Variant(engine=engine, label=label, method="grpo", **options)
    return Measured(variant=variant, peak=peak, turns=[turn])


def test_work_of_a_group_counted_by_hand():
    """One prompt of 2 tokens, two responses of 1. Trunk 4 * 2 * 2 + 3 * 2 * 3 = 34, head 10.

    Tokens 2 + 2 = 4: 2 * 34 * 4 = 272; head 2 * 10 * 2 = 40. Pairs 2² / 2 + 2 * (2 + 1 / 2) = 7:
    4 * 2 * 7 = 56. Forward 368, four times 1472. One decoding step reads 44 weights, and
    2 * 2.5 * 4 = 20 numbers of keys and values: 64 numbers.
    """
    work = count_group_work(rows_of(), response_tokens=2, bf16=False)
    assert (work.train_flops, work.rollout_flops, work.decode_bytes) == (1472, 368, 64 * 4)
    assert count_group_work(rows_of(), response_tokens=2, bf16=True).decode_bytes == 64 * 2


def test_ratios_refer_to_the_first_row():
    """1472 operations in half of 4e-6 s are 0.736e9 per second, 74% of the rate. The rollout's 368
    take 0.368e-6 s at that rate, longer than 256 bytes at 1e9: 18% of the other half."""
    rows = rows_of(
        measured("trl grpo fp32", seconds=8e-6, peak=2**22),
        measured("rlhf grpo fp32", seconds=4e-6, peak=2**21),
    )
    cells = dict(zip(COLUMNS, row_of(rows.measured[1], rows), strict=True))
    ratios = [cells[f"{name}, × first"] for name in ("speed", "tokens/s", "memory")]
    assert ratios == ["2.00", "2.00", "0.50"]
    assert cells["score and update, share of matmul rate"] == "74%"
    assert cells["rollout, share of floor"] == "18%"
    assert row_of(rows.measured[0], rows)[3] == ""


def test_reward_reads_texts_and_messages():
    texts = ["x" * 120, "x" * 20]
    messages = [[{"role": "assistant", "content": text}] for text in texts]
    assert reward(["", ""], texts) == reward(["", ""], messages) == [0.0, -1.0]


def test_busy_machine_is_rejected(monkeypatch, capsys):
    monkeypatch.setattr("os.getloadavg", lambda: (0.6, 0.0, 0.0))
    with pytest.raises(SystemExit, match="2"):
        groups.main(["model"])
    assert "--busy" in capsys.readouterr().err


@pytest.mark.slow
def test_both_engines_run_on_the_bundled_model(root, tmp_path):
    page = tmp_path / "GROUPS.md"
    model = str(root / "data" / "pocket" / "model")
    arguments = [model, "--busy", "--iterations", "1", "--threads", "1", "--output", str(page)]
    assert groups.main([*arguments, "--only", "fp32", "lora", "rloo"]) == 0
    lines = [line for line in page.read_text().splitlines() if line.startswith("| rlhf ")]
    cells = [line[2:-2].split(" | ") for line in lines]
    assert [row[0] for row in cells] == [
        *("rlhf grpo fp32", "rlhf grpo fp32, spinning"),
        *("rlhf grpo bf16 lora", "rlhf rloo bf16"),
    ]
    assert all(float(dict(zip(COLUMNS, row, strict=True))["speed, × first"]) > 0 for row in cells)
