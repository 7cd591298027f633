"""Live sampling: an annotator types a prompt, models respond, the annotator ranks the responses.

Models run in one worker thread behind a bounded queue, never in the server's event loop.
"""

import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rlhf.errors import RLHFError
from rlhf.labels.records import Candidate
from rlhf.labels.store import LabelStore

MAX_WAITING = 8

Sampler = Callable[[str], Sequence[tuple[str, str]]]
"""Prompt -> (response, model) pairs."""


class PromptQueueFull(Exception):
    """Too many prompts wait for the models."""


class PromptPending(Exception):
    """The annotator's last prompt has no responses yet."""


@dataclass(frozen=True)
class PromptState:
    """The state of an annotator's prompt."""

    state: str  # none, waiting, ready, failed
    item_id: int | None = None
    error: str = ""


class LiveSampling:
    """Runs one prompt per annotator at a time, in the order of their arrival."""

    def __init__(self, store: LabelStore, sampler: Sampler) -> None:
        self._store, self._sampler = store, sampler
        self._waiting: queue.Queue[tuple[str, str]] = queue.Queue(MAX_WAITING)
        self._states: dict[str, PromptState] = {}
        self._lock = threading.Lock()
        threading.Thread(target=self._work, name="rlhf-live", daemon=True).start()

    def submit(self, annotator: str, prompt: str) -> None:
        """Queue the prompt.

        Raises:
            PromptPending: the annotator's last prompt still waits.
            PromptQueueFull: too many other prompts wait.
        """
        with self._lock:
            if self._states.get(annotator, PromptState("none")).state == "waiting":
                raise PromptPending("the models are still responding to your last prompt")
            try:
                self._waiting.put_nowait((annotator, prompt))
            except queue.Full:
                raise PromptQueueFull("too many prompts wait; try again in a moment") from None
            self._states[annotator] = PromptState("waiting")

    def take(self, annotator: str) -> PromptState:
        """The state of the annotator's prompt; "ready" and "failed" are returned once."""
        with self._lock:
            state = self._states.get(annotator, PromptState("none"))
            if state.state != "waiting":
                self._states.pop(annotator, None)
            return state

    def _work(self) -> None:
        while True:
            annotator, prompt = self._waiting.get()
            state = self._respond(prompt)
            with self._lock:
                self._states[annotator] = state

    def _respond(self, prompt: str) -> PromptState:
        try:
            sampled = [(text, model) for text, model in self._sampler(prompt) if text.strip()]
            if len(sampled) < 2:
                return PromptState(
                    "failed", error="the models gave fewer than two responses; try again"
                )
            candidate = Candidate(
                prompt=prompt,
                responses=[text for text, _ in sampled],
                models=[model for _, model in sampled],
                columns={"source": "live"},
            )
            return PromptState("ready", self._store.add_candidates([candidate])[0])
        except RLHFError as error:  # whose message is written for people
            return PromptState("failed", error=str(error))
        # An error of a model must not end the worker, which serves all annotators.
        except Exception as error:
            return PromptState("failed", error=f"{type(error).__name__}: {error}"[:300])
