"""The benchmark of rollout engines: its tables by literal numbers, and workers that sample."""

import argparse

import pytest

from benchmarks import rollout_engines
from benchmarks.engines import Engine
from benchmarks.measure import Measured
from benchmarks.rollout_worker import EngineRollouts
from benchmarks.workloads import Variant
from tests.rollouts.fake_server import FakeServer
from tests.tiny_models import make_model


def engine(name, rates):
    return Engine(name=name, process=None, worker=None, log=None, rates={2: rates})


def test_ratios_are_taken_within_a_turn():
    """10 / 20, 30 / 10 and 20 / 20: the median is 1, though the medians are 20 and 20 as well."""
    lines = rollout_engines.rate_table(
        [engine("native", [10, 30, 20]), engine("vllm", [20, 10, 20])], [2], [5, 7, 100]
    )
    assert lines[0] == "| prompts | tokens | native | vllm | native / vllm |"
    assert lines[2] == "| 2 | 12 | 20 (10 to 30) | 20 (10 to 20) | 1.00 (0.50 to 3.00) |"


def test_table_of_iterations_has_medians_and_speeds():
    def measured(label, seconds, peak):
        turns = [
            {
                "seconds": value,
                "seconds_rollout": value / 2,
                "seconds_score": value / 4,
                "seconds_update": value / 4,
                "response_tokens": 100.0,
            }
            for value in seconds
        ]
        variant = Variant(engine="rlhf", label=label, rollout_engine=label)
        return Measured(variant=variant, peak=peak * 2**20, turns=turns)

    lines = rollout_engines.iteration_table(
        [measured("native", [10.0, 20.0, 100.0], 50), measured("vllm", [40.0, 40.0, 40.0], 90)]
    )
    assert lines[2:] == [
        "| native | 20.0 (10.0 to 100.0) | 10.0 | 5.0 | 5.0 | 100 | 5 | 1.00 | 50 |",
        "| vllm | 40.0 (40.0 to 40.0) | 20.0 | 10.0 | 10.0 | 100 | 2 | 0.50 | 90 |",
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("rollout_engines") / "model", "wide_llama")


@pytest.mark.parametrize("name", ["native", "transformers", "vllm"])
def test_engines_sample_the_lengths_of_the_job(folder, tmp_path, name):
    """3 + 6 tokens of the first two prompts; 2 + 2 where a response is cut to two."""
    server = FakeServer(folder) if name == "vllm" else None
    keys = {"rollout_engine": name}
    if server is not None:
        keys["rollout_server"] = server.address
    job = {
        "model": str(folder),
        "prompts": ["Name a cat.", "Where is the ball?", "Tell me a story."],
        "limits": [3, 6, 5],
        "bf16": False,
    }
    rollouts = EngineRollouts(job, keys, tmp_path)
    assert rollouts.sample(2, 6, seed=0)["units"] == 9
    assert rollouts.sample(2, 2, seed=1)["units"] == 4
    if server is not None:
        assert server.asked.count("/collective_rpc") == 2  # new weights before each turn
        server.close()


def test_job_warms_up_each_size_before_the_counted_turns(folder):
    options = argparse.Namespace(model=str(folder), rows=[2, 3], turns=2, threads=1, bf16=False)
    job = rollout_engines.rollout_job(rollout_engines.engine_keys(None), options)
    assert job["turns"] == [(2, 8), (3, 8), (2, 80), (3, 80), (2, 80), (3, 80)]
    assert len(job["prompts"]) == len(job["limits"]) == 3
    assert job["engines"] == {
        "native": {"rollout_engine": "native"},
        "transformers": {"rollout_engine": "transformers"},
    }


@pytest.mark.slow
def test_page_of_two_engines(root, tmp_path):
    page = tmp_path / "ROLLOUT-ENGINES.md"
    arguments = ["--busy", "--rows", "2", "--turns", "1", "--iterations", "1", "--threads", "1"]
    model = str(root / "data" / "pocket" / "model")
    assert rollout_engines.main([model, *arguments, "--output", str(page)]) == 0
    rows = [line[2:-2].split(" | ") for line in page.read_text().splitlines() if "| " in line]
    assert [row[0] for row in rows] == ["prompts", "---:", "2", "engine", "---", "native",
                                        "transformers"]  # fmt: skip
