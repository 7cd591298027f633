"""Responses that are sampled one iteration ahead, in a thread, while the policy trains."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypedDict

from torch import Tensor

from rlhf.models.generation.decoder import Generated


class AheadState(TypedDict):
    """Responses of this process to the prompts of an iteration, in a checkpoint."""

    step: int
    response_ids: Tensor
    response_mask: Tensor
    logprobs: Tensor
    entropies: Tensor | None
    ended_with_eos: Tensor


class Ahead:
    """Samples the responses of one iteration in the background."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="rollouts")
        self._future: Future[Generated] | None = None
        self.step = 0  # the iteration of the pending responses; 0 for none

    def start(self, step: int, sample: Callable[[], Generated]) -> None:
        """Begin to sample the responses of iteration `step`."""
        self.step, self._future = step, self._pool.submit(sample)

    def put(self, state: AheadState) -> None:
        """Take the responses of a checkpoint."""
        future: Future[Generated] = Future()
        future.set_result(
            Generated(
                response_ids=state["response_ids"],
                response_mask=state["response_mask"],
                logprobs=state["logprobs"],
                entropies=state["entropies"],
                ended_with_eos=state["ended_with_eos"],
            )
        )
        self.step, self._future = state["step"], future

    def take(self, step: int) -> Generated | None:
        """The responses of iteration `step` once they are complete; None if there are none.

        Raises:
            TrainingError: the engine was lost.
        """
        if self._future is None or self.step != step:
            return None
        future, self._future, self.step = self._future, None, 0
        return future.result()

    def wait(self) -> None:
        """Return when the engine is free; an error is raised by `take`."""
        if self._future is not None:
            self._future.exception()

    def state(self) -> AheadState | None:
        """The pending responses, complete, on the CPU; None if there are none, or they failed."""
        if self._future is None or self._future.exception() is not None:
            return None  # `take` raises the error, after the checkpoint
        generated = self._future.result()
        entropies = generated.entropies
        return AheadState(
            step=self.step,
            response_ids=generated.response_ids.cpu(),
            response_mask=generated.response_mask.cpu(),
            logprobs=generated.logprobs.cpu(),
            entropies=None if entropies is None else entropies.cpu(),
            ended_with_eos=generated.ended_with_eos.cpu(),
        )

    def close(self) -> None:
        """End the thread."""
        self._pool.shutdown(wait=True, cancel_futures=True)
