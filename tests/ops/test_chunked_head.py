import math
import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch

from rlhf.ops import chunked_head as head_module
from rlhf.ops import logprobs as logprobs_module
from rlhf.ops.chunked_head import head_logprobs, head_logprobs_and_entropy, rows_at_once
from rlhf.ops.logprobs import token_logprobs

TOKENS = torch.tensor([0, 6, 3, 3, 1])
WEIGHTS = torch.tensor([1.0, -2.0, 0.5, 0.0, 3.0])  # of the rows in a loss
PEAK = Path("/proc/self/clear_refs")  # writing 5 resets the peak of resident memory


@pytest.fixture(params=[1, 2, 100])
def rows(request, monkeypatch):
    """Rows at a time: one by one, two and a rest of one, all."""
    monkeypatch.setattr(head_module, "LOGITS", 0)
    monkeypatch.setattr(head_module, "MIN_ROWS", request.param)
    monkeypatch.setattr(head_module, "BLOCK", 12)  # three rows of the weight's gradient
    monkeypatch.setattr(logprobs_module, "CHUNK", 7)  # one row


def parts(*, bias, trained=True):
    """States [5, 4], weight [7, 4] and bias [7], or None."""
    torch.manual_seed(0)
    states = torch.randn(5, 4, requires_grad=True)
    weight = torch.randn(7, 4, requires_grad=trained)
    return states, weight, torch.randn(7, requires_grad=trained) if bias else None


def plain(states, weight, bias, *, temperature, softcap):
    """Log-probs and entropies by autograd on all logits."""
    logits = torch.nn.functional.linear(states, weight, bias)
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    logprobs = (logits / temperature).log_softmax(-1)
    return logprobs.gather(1, TOKENS[:, None])[:, 0], -(logprobs.exp() * logprobs).sum(1)


def gradients(loss, inputs):
    return torch.autograd.grad(loss, [part for part in inputs if part is not None])


def test_literal_logprobs_and_entropy():
    """Logits ln 1, ln 3: p = 3/4, and H = 2 ln 2 - 3/4 ln 3 = 0.5623 nats."""
    states, weight = torch.tensor([[math.log(3)]]), torch.tensor([[0.0], [1.0]])
    logprobs, entropy = head_logprobs_and_entropy(
        states, weight, torch.tensor([1]), temperature=1.0
    )
    assert logprobs.item() == pytest.approx(math.log(0.75), abs=1e-6)
    assert entropy.item() == pytest.approx(2 * math.log(2) - 0.75 * math.log(3), abs=1e-6)


def test_literal_softcap_bounds_logits():
    """1000 and -1000 become 2 and -2; at temperature 4 the log-odds are 1."""
    states, weight = torch.tensor([[1000.0]]), torch.tensor([[1.0], [-1.0]])
    logprobs = head_logprobs(states, weight, torch.tensor([0]), temperature=4.0, softcap=2.0)
    assert logprobs.item() == pytest.approx(-math.log(1 + math.exp(-1)), abs=1e-6)


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("temperature", "softcap"), [(1.0, None), (0.7, None), (0.7, 1.5)])
def test_logprobs_and_gradients_equal_those_of_all_logits(bias, temperature, softcap):
    inputs = parts(bias=bias)
    options = {"temperature": temperature, "softcap": softcap}
    expected, _ = plain(*inputs, **options)
    states, weight, offset = inputs
    logprobs = head_logprobs(states, weight, TOKENS, bias=offset, **options)
    torch.testing.assert_close(logprobs, expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(
        gradients((WEIGHTS * logprobs).sum(), inputs),
        gradients((WEIGHTS * expected).sum(), inputs),
        atol=2e-6,
        rtol=0,
    )


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize("softcap", [None, 1.5])
@pytest.mark.parametrize("entropy_alone", [False, True])
def test_entropy_and_gradients_equal_those_of_all_logits(softcap, entropy_alone):
    inputs = parts(bias=True)
    options = {"temperature": 0.7, "softcap": softcap}
    states, weight, bias = inputs
    results = head_logprobs_and_entropy(states, weight, TOKENS, bias=bias, **options)
    expected = plain(*inputs, **options)
    torch.testing.assert_close(results, expected, atol=1e-6, rtol=0)
    both = []
    for logprobs, entropy in (results, expected):
        loss = (WEIGHTS.flip(0) * entropy).sum()
        both.append(loss if entropy_alone else loss + (WEIGHTS * logprobs).sum())
    own, other = (gradients(loss, inputs) for loss in both)
    torch.testing.assert_close(own, other, atol=3e-6, rtol=0)


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize("softcap", [None, 1.5])
def test_frozen_head_gives_the_same_gradient_of_the_states(softcap):
    """It is computed in the forward pass, and scaled in the backward pass."""
    states, weight, bias = parts(bias=True, trained=False)
    options = {"temperature": 0.7, "softcap": softcap}
    expected, _ = plain(states, weight, bias, **options)
    logprobs = head_logprobs(states, weight, TOKENS, bias=bias, **options)
    torch.testing.assert_close(logprobs, expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(
        gradients((WEIGHTS * logprobs).sum(), [states]),
        gradients((WEIGHTS * expected).sum(), [states]),
        atol=2e-6,
        rtol=0,
    )
    with torch.no_grad():
        again = head_logprobs(states, weight, TOKENS, bias=bias, **options)
    torch.testing.assert_close(again, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("trained", [False, True])
def test_bf16_autocast_differs_by_its_rounding(monkeypatch, trained):
    """600 tokens in three parts. The distances from float32 are those of all logits in bf16."""
    monkeypatch.setattr(head_module, "LOGITS", 0)
    torch.manual_seed(0)
    states = torch.randn(600, 64, requires_grad=True)
    weight = torch.randn(500, 64).mul_(0.2).requires_grad_(trained)
    tokens, weights = torch.randint(500, (600,)), torch.randn(600)
    inputs = [states, weight] if trained else [states]

    def run(function, *, bf16):
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logprobs = function()
        assert logprobs.dtype == torch.float32
        return logprobs.detach(), *gradients((weights * logprobs).sum(), inputs)

    def all_logits():
        return token_logprobs(torch.nn.functional.linear(states, weight), tokens, temperature=1.0)

    exact = run(all_logits, bf16=False)
    rounded = run(all_logits, bf16=True)
    own = run(lambda: head_logprobs(states, weight, tokens, temperature=1.0), bf16=True)
    for expected, other, result in zip(exact, rounded, own, strict=True):
        error = (result - expected).norm() / expected.norm()
        assert error < 1.2 * (other - expected).norm() / expected.norm()
        assert error < 2**-7


def test_gradient_of_a_bf16_weight_is_summed_in_float32(monkeypatch):
    """1,024 parts of one token, each of which adds 1 - p = 1/2 to one entry: 512.

    A sum in bf16 would stay at 128, where the next number is 129.
    """
    monkeypatch.setattr(head_module, "LOGITS", 0)
    monkeypatch.setattr(head_module, "MIN_ROWS", 1)
    states = torch.ones(1024, 1).bfloat16()
    weight = torch.zeros(2, 1).bfloat16().requires_grad_()
    tokens = torch.zeros(1024, dtype=torch.long)
    head_logprobs(states, weight, tokens, temperature=1.0).sum().backward()
    assert weight.grad.dtype == torch.bfloat16
    assert weight.grad.tolist() == [[512.0], [-512.0]]


@pytest.mark.usefixtures("rows")
def test_second_backward_pass_gives_the_same_gradients():
    """The first one overwrites the logits that were kept."""
    states, weight, bias = parts(bias=True)
    loss = (WEIGHTS * head_logprobs(states, weight, TOKENS, bias=bias, temperature=1.0)).sum()
    inputs = [states, weight, bias]
    first = torch.autograd.grad(loss, inputs, retain_graph=True)
    torch.testing.assert_close(torch.autograd.grad(loss, inputs), first)


def test_no_tokens_have_no_logprobs():
    states, weight = torch.zeros(0, 3, requires_grad=True), torch.zeros(4, 3, requires_grad=True)
    logprobs = head_logprobs(states, weight, torch.zeros(0).long(), temperature=1.0)
    assert logprobs.shape == (0,)
    logprobs.sum().backward()
    assert torch.all(weight.grad == 0)


def test_number_of_tokens_at_once_depends_on_the_vocabulary():
    """2^25 logits on a CPU, 2^26 on a GPU; at least 256 tokens."""
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert (rows_at_once(49_152, cpu), rows_at_once(152_000, cpu)) == (682, 256)
    assert (rows_at_once(49_152, gpu), rows_at_once(152_000, gpu)) == (1365, 441)


def peak_of(function) -> int:
    """Bytes by which the process grows at its peak inside `function`."""

    def status(name: str) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith(name + ":"))

    before = status("VmRSS")
    PEAK.write_text("5")
    function()
    return status("VmHWM") - before


def peaks(trained: bool) -> tuple[int, int]:
    """Peaks of the log-probs in parts, and of all logits."""
    torch.manual_seed(0)
    states = torch.randn(2048, 64, requires_grad=True)
    weight = torch.randn(49_152, 64).requires_grad_(trained)
    tokens = torch.randint(49_152, (2048,))
    head_logprobs(
        states[:300], weight, tokens[:300], temperature=1.0
    ).sum().backward()  # loads BLAS

    def whole():
        logits = torch.nn.functional.linear(states, weight)
        token_logprobs(logits, tokens, temperature=0.7).sum().backward()

    parts_peak = peak_of(
        lambda: head_logprobs(states, weight, tokens, temperature=0.7).sum().backward()
    )
    return parts_peak, peak_of(whole)


@pytest.mark.skipif(not os.access(PEAK, os.W_OK), reason="needs Linux's peak of resident memory")
@pytest.mark.parametrize("trained", [False, True])
def test_peak_memory_with_a_vocabulary_of_49152(trained):
    """2,048 tokens have 403 MB of logits in float32, and as much of gradients.

    In parts: 134 MB of logits, which become the gradients, 12 MB of float32 numbers at a time, and
    13 MB of the weight's gradient, at a width of 64, and of a product that is added to it.
    A process of its own: pages that the tests before left idle may be reclaimed and come back.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        parts_peak, whole_peak = pool.submit(peaks, trained).result()
    assert parts_peak < 200e6
    assert whole_peak > 4 * parts_peak
