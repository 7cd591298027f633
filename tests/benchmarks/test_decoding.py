"""The page of the decoding benchmark by literal numbers, and a worker that really decodes."""

import argparse
import json

import pytest

from benchmarks.decode_worker import continuous, rlhf, transformers
from benchmarks.decoding import Engine, floor_rate, page_lines
from rlhf.models.shape import ModelShape
from rlhf.planning.rates import Rates
from tests.tiny_models import make_model

SHAPE = ModelShape(
    name="small", num_layers=2, hidden_size=4, intermediate_size=6, num_heads=2, num_kv_heads=1,
    vocab_size=10, tied=True,
)  # fmt: skip


def test_floor_counts_weights_once_and_cached_tokens_per_row():
    """A layer has 2*4*(2+1)*2 = 48 and 3*4*6 = 72 weights; two layers and the head: 280.

    A cached token has 2*2*1*2 = 8 numbers; at 7 + 10/2 = 12 tokens a row reads 96. Three rows read
    2 * (280 + 288) = 1136 bytes a step, of 113600 a second: 100 steps of three tokens.
    """
    rates = Rates(matmul_fp32=1.0, matmul_bf16=1e9, copy=1.0, read=113_600.0)
    assert floor_rate(SHAPE, 3, prompt=7, new_tokens=10, rates=rates) == pytest.approx(300)


def test_floor_is_bounded_by_the_operations_of_a_step():
    """A row takes 2 * 280 operations with weights, and 4 * 4 * 2 * 12 = 384 of attention at 12
    tokens: 944. At 9,440 operations a second, ten rows of any batch end in a second."""
    rates = Rates(matmul_fp32=1.0, matmul_bf16=9440.0, copy=1.0, read=1e9)
    assert floor_rate(SHAPE, 3, prompt=7, new_tokens=10, rates=rates) == pytest.approx(10)


def test_page_has_medians_shares_and_ratios():
    engines = [
        Engine(name=name, process=None, worker=None, log=None, rates={3: rates})
        for name, rates in (("rlhf", [100, 150, 900]), ("vllm", [50, 75, 80]))
    ]
    options = argparse.Namespace(rows=[3], prompt=7.0, new_tokens=10, threads=1)
    rates = Rates(matmul_fp32=1.0, matmul_bf16=1e9, copy=1.0, read=113_600.0)
    lines = page_lines(engines, rates, SHAPE, options, ["command"])
    assert lines[-1] == "| 3 | 150 (100 to 900) | 75 (50 to 80) | 50% | 2.00 |"


def test_page_leaves_out_rows_that_an_engine_cannot_decode():
    rlhf_engine = Engine(name="rlhf", process=None, worker=None, log=None, rates={2: [40.0]})
    single = Engine(name="llama.cpp", process=None, worker=None, log=None, rates={1: [20.0]})
    options = argparse.Namespace(rows=[2], prompt=7.0, new_tokens=10, threads=1)
    rates = Rates(matmul_fp32=1.0, matmul_bf16=1e9, copy=1.0, read=113_600.0)
    lines = page_lines([rlhf_engine, single], rates, SHAPE, options, ["command"])
    assert lines[-1].startswith("| 2 | 40 (40 to 40) |  | ")
    assert lines[-1].endswith("% |  |")


@pytest.mark.parametrize("engine", [rlhf, transformers, continuous])
def test_workers_sample_the_tokens_asked_for(engine, tmp_path):
    job = {"model": str(make_model(tmp_path)), "bf16": True, "new_tokens": 5, "threads": 1}
    prompts = [[5, 6, 7], [8, 9]]
    decode = engine(json.loads(json.dumps(job | {"prompts": prompts})))
    assert decode(prompts, 0) == decode(prompts, 1) == 10
