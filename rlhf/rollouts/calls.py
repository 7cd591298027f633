"""Calls of environments: one after the other, and together where they are async."""

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable, Sequence


class Calls:
    """Calls functions of the user in a batch.

    Async ones run in one event loop, in a thread that lives as long as this object: a client that
    an environment keeps open stays usable from one turn to the next.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self, functions: Sequence[Callable[[], object]]) -> list[object]:
        """What each function returned, or the exception that it raised."""
        results = [_result_of(function) for function in functions]
        waiting = {
            place: result for place, result in enumerate(results) if inspect.isawaitable(result)
        }
        if waiting:
            together = _together(list(waiting.values()))
            future = asyncio.run_coroutine_threadsafe(together, self._started())
            for place, result in zip(waiting, future.result(), strict=True):
                results[place] = result
        return results

    def close(self) -> None:
        """End the loop's thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._loop = None

    def _started(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            run = self._loop.run_forever
            threading.Thread(target=run, name="rlhf-environment-loop", daemon=True).start()
        return self._loop


def _result_of(function: Callable[[], object]) -> object:
    try:
        return function()
    except Exception as error:
        return error


async def _together(awaitables: Sequence[Awaitable[object]]) -> list[object]:
    return list(await asyncio.gather(*awaitables, return_exceptions=True))
