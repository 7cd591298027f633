"""The update with compiled decoder layers: the same run, and nothing else is compiled."""

import shutil

import pytest
import torch

from rlhf.models import compiled
from rlhf.models.compiled import CompiledLayers
from rlhf.training.common.metrics import read_metrics
from tests.errors import raises
from tests.training.ppo.tiny_ppo import experience_of, make_folder, trainer, update, weights


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("compiled"))


@pytest.fixture(autouse=True)
def fast_linear(monkeypatch):
    """oneDNN's products for these small layers too, as for those of real models."""
    monkeypatch.setattr("rlhf.models.cpu_kernels.linear.SMALLEST", 1)


@pytest.fixture
def graphs(monkeypatch):
    """A list with an entry for each call of a compiled graph, which runs as it was recorded.

    It needs no compiler; what is compiled, and when it is used, is as with the real one.
    """
    calls = []

    def backend(graph, inputs):
        def run(*arguments):
            calls.append(graph)
            return graph.forward(*arguments)

        return run

    torch._dynamo.reset()
    monkeypatch.setattr(compiled, "BACKEND", backend)
    return calls


@pytest.mark.parametrize(
    "mode", ["separate", "shared_trunk", pytest.param("lora", marks=pytest.mark.slow)]
)
def test_only_the_update_is_compiled_and_weights_are_equal(folder, tmp_path, graphs, mode):
    """Two iterations, of which the second samples from what the first has trained."""
    runs = []
    for wanted in (False, True):
        one = trainer(folder, tmp_path / str(wanted), mode=mode, max_steps=2, compile=wanted)
        assert one.updater.packed is not wanted
        one.updater.packed = False  # the rows of both lie alike, and so every bit can be the same
        for step in (1, 2):
            before = len(graphs)
            experience = experience_of(one, step)
            assert len(graphs) == before  # sampling and judging use none
            update(one, experience, step)
            assert (len(graphs) > before) is wanted
        runs.append(weights(one))
    plain, other = runs
    assert plain.keys() == other.keys()
    assert all(torch.equal(tensor, other[name]) for name, tensor in plain.items())


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
@pytest.mark.parametrize("bf16", [False, True])
def test_compiled_update_matches_the_plain_one(folder, tmp_path, bf16):
    """For real. bf16 rounds less often where operations are fused, so that weights drift apart."""
    if bf16 and not torch.cpu._is_avx512_bf16_supported():
        pytest.skip("needs bf16 units")
    torch._dynamo.reset()
    both, first = [], []
    for wanted in (False, True):
        both.append(trainer(folder, tmp_path / str(wanted), compile=wanted, max_steps=2, bf16=bf16))
        both[-1].train()
        first.append(read_metrics(tmp_path / str(wanted))[0])
    plain, other = first
    assert other["first_ratio"] == pytest.approx(1.0, abs=1e-2 if bf16 else 1e-4)
    for name in ("grad_norm", "value_grad_norm", "value_loss", "entropy"):
        assert other[name] == pytest.approx(plain[name], rel=3e-2 if bf16 else 1e-4), name
    if not bf16:
        weights_of = [weights(one) for one in both]
        for name, tensor in weights_of[0].items():
            torch.testing.assert_close(weights_of[1][name], tensor, atol=5e-5, rtol=0, msg=name)


def test_model_without_layers_cannot_be_compiled():
    with raises("unsupported"):
        CompiledLayers([torch.nn.Linear(2, 2)])
