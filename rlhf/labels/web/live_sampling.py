"""Answers on demand: a person types a prompt, models answer it, the person ranks what they wrote.

Models run in one worker thread behind a bounded queue, never in the server's event loop.
"""

import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rlhf.labels.records import Candidate
from rlhf.labels.store import LabelStore

MOST_WAITING = 8

Sampler = Callable[[str], Sequence[tuple[str, str]]]
"""Prompt -> (answer, model) pairs."""


class Busy(Exception):
    """No more prompts are taken for now."""


class Unfinished(Exception):
    """This person's last prompt is not answered yet: theirs to wait for, no fault of the server."""


@dataclass(frozen=True)
class Asked:
    """What became of an annotator's prompt."""

    state: str  # none, waiting, ready, failed
    item_id: int | None = None
    error: str = ""


class LiveSource:
    """One prompt of each annotator at a time, answered in turn."""

    def __init__(self, store: LabelStore, sampler: Sampler) -> None:
        self._store, self._sampler = store, sampler
        self._waiting: queue.Queue[tuple[str, str]] = queue.Queue(MOST_WAITING)
        self._states: dict[str, Asked] = {}
        self._lock = threading.Lock()
        threading.Thread(target=self._work, name="rlhf-live", daemon=True).start()

    def ask(self, annotator: str, prompt: str) -> None:
        """Have the prompt answered.

        Raises:
            Unfinished: their last prompt still waits.
            Busy: too many others do.
        """
        with self._lock:
            if self._states.get(annotator, Asked("none")).state == "waiting":
                raise Unfinished("your last prompt is still being answered")
            try:
                self._waiting.put_nowait((annotator, prompt))
            except queue.Full:
                raise Busy("too many prompts wait; try again in a moment") from None
            self._states[annotator] = Asked("waiting")

    def take(self, annotator: str) -> Asked:
        """How far it is; what is ready or failed is told once."""
        with self._lock:
            state = self._states.get(annotator, Asked("none"))
            if state.state != "waiting":
                self._states.pop(annotator, None)
            return state

    def _work(self) -> None:
        while True:
            annotator, prompt = self._waiting.get()
            state = self._answer(prompt)
            with self._lock:
                self._states[annotator] = state

    def _answer(self, prompt: str) -> Asked:
        try:
            written = [(text, model) for text, model in self._sampler(prompt) if text.strip()]
            if len(written) < 2:
                return Asked("failed", error="the models gave fewer than two answers; ask again")
            candidate = Candidate(
                prompt=prompt,
                responses=[text for text, _ in written],
                models=[model for _, model in written],
                columns={"source": "live"},
            )
            return Asked("ready", self._store.add_candidates([candidate])[0])
        # Whatever a model raises must not end the worker that serves everybody.
        except Exception as error:
            return Asked("failed", error=f"{type(error).__name__}: {error}"[:300])
