"""The benchmark of SFT and reward models: its table by literal numbers, and a run of both."""

import pytest

from benchmarks import stages
from benchmarks.engines import Engine


def engine(name, rates, peak):
    return Engine(
        name=name, process=None, worker=None, log=None, rates={0: rates}, peak=peak * 2**20
    )


def test_table_has_medians_and_ratios_against_trl():
    lines = stages.table_lines([engine("rlhf", [3, 6, 9], 100), engine("trl", [1, 2, 4], 400)])
    assert lines[2:] == [
        "| rlhf | 6.00 | 3.00 to 9.00 | 3.00 | 100 | 0.25 |",
        "| trl | 2.00 | 1.00 to 4.00 | 1.00 | 400 | 1.00 |",
    ]


@pytest.mark.slow
def test_both_engines_train_the_bundled_model(root, tmp_path):
    page = tmp_path / "STAGES.md"
    arguments = ["--busy", "--turns", "1", "--threads", "1", "--output", str(page)]
    assert stages.main([str(root / "data" / "pocket" / "model"), *arguments]) == 0
    rows = [line[2:-2].split(" | ") for line in page.read_text().splitlines() if "| " in line]
    names = [row[0] for row in rows if row[0] not in ("engine", "---")]
    assert names == [name for stage in stages.STAGES.values() for name in stage]
    assert all(float(row[1]) > 0 for row in rows if row[0] in names)
