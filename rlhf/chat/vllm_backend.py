"""A vLLM server as the backend of a model: prompts go there as ids, and tokens come back.

Templates, thoughts, tool calls and stop texts are handled here, as with rlhf's decoder. The
addresses are those of vLLM 0.32: /v1/completions with token ids, streamed for responses, and with
`prompt_logprobs` for the log-probs of a given text.
"""

import contextlib
import math
import queue
import threading
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from typing import Any

from rlhf.chat.backend import GenerationFailed, QueueFull, RequestGroup
from rlhf.chat.engine import GeneratedToken, GenerationRequest
from rlhf.chat.introspection import LikelyToken, TokenPosition, token_text
from rlhf.chat.policy_info import PolicyInfo
from rlhf.chat.sampling import Sampling
from rlhf.chat.vllm_format import by_id, likeliest, reshaped, streamed_request, tokens_of
from rlhf.rollouts.server import Server
from rlhf.runtime.http import Rejected, Unreachable, request_json, stream_json
from rlhf.runtime.printing import counted

SECONDS = 600.0  # to wait for the next token
PATH = "/v1/completions"

Entry = tuple[RequestGroup, int]


class VLLMBackend:
    """One model of a vLLM server: a `Backend` with a thread for each response that runs.

    Args:
        model: the tokenizer and template of the server's model.
        server: that answers; it is ended with the backend if this process started it.
        slots: responses that run at a time.
        waiting: responses that may wait for a slot.
    """

    def __init__(self, model: PolicyInfo, server: Server, *, slots: int, waiting: int) -> None:
        self.model = model
        self._server, self._slots, self._max_waiting = server, slots, waiting
        self._jobs: queue.SimpleQueue[Entry | None] = queue.SimpleQueue()
        self._wanted: set[Entry] = set()  # neither finished nor cancelled
        self._running: set[Entry] = set()
        self._lock = threading.Lock()
        for _ in range(slots):
            threading.Thread(target=self._work, name="rlhf-vllm", daemon=True).start()

    def submit(self, requests: Sequence[GenerationRequest]) -> RequestGroup:
        """See `Backend`."""
        group = RequestGroup(self, requests)
        entries = [(group, index) for index in range(len(requests))]
        with self._lock:
            unfinished = len(self._wanted | self._running)
            if len(requests) > self._slots + self._max_waiting - unfinished:
                raise QueueFull(
                    f"the server is busy: {counted(len(self._running), 'response')} running, "
                    f"{unfinished - len(self._running)} waiting; try again in a moment"
                )
            self._wanted |= set(entries)
        for entry in entries:
            self._jobs.put(entry)
        return group

    def cancel(self, group: RequestGroup, indices: Collection[int]) -> None:
        """See `Backend`."""
        with self._lock:
            self._wanted -= {(group, index) for index in indices}

    def load(self) -> tuple[int, int]:
        """See `Backend`."""
        with self._lock:
            return len(self._running), len(self._wanted - self._running)

    def scored_tokens(self, ids: Sequence[int], *, most: int) -> list[GeneratedToken]:
        """See `Backend`."""
        tables = self._prompt_logprobs(ids, most)
        return [
            GeneratedToken(
                id=token, logprob=table[token][0], likeliest=likeliest(table)[:most], finish=""
            )
            for token, table in zip(ids[1:], tables, strict=True)
        ]

    def next_tokens(
        self, ids: Sequence[int], sampling: Sampling, *, most: int
    ) -> list[LikelyToken]:
        """See `Backend`."""
        answer = self._ask(ids, {"logprobs": most, "return_tokens_as_token_ids": True})
        with self._understood():
            [top] = answer["choices"][0]["logprobs"]["top_logprobs"]
            return self._likely_tokens(by_id(top)[:most], sampling)

    def positions(
        self, prompt: Sequence[int], response: Sequence[int], sampling: Sampling, *, most: int
    ) -> list[TokenPosition]:
        """See `Backend`."""
        if not response:
            return []
        tables = self._prompt_logprobs([*prompt, *response], most)[len(prompt) - 1 :]
        return [
            TokenPosition(
                token=token_text(self.model, token),
                probability=math.exp(table[token][0]),
                rank=table[token][1],
                likeliest=self._likely_tokens(likeliest(table)[:most], sampling),
            )
            for token, table in zip(response, tables, strict=True)
        ]

    def close(self) -> None:
        """See `Backend`."""
        with self._lock:
            self._wanted.clear()
        for _ in range(self._slots):
            self._jobs.put(None)
        self._server.close()

    def _work(self) -> None:
        while (entry := self._jobs.get()) is not None:
            with self._lock:
                if entry not in self._wanted:
                    continue
                self._running.add(entry)
            group, index = entry
            try:
                self._respond(entry, group.requests[index])
            except GenerationFailed as failed:
                group.put_from_thread(failed)
            finally:
                with self._lock:
                    self._running.discard(entry)
                    self._wanted.discard(entry)

    def _respond(self, entry: Entry, request: GenerationRequest) -> None:
        """Pass on the tokens of a response until it ends or is cancelled."""
        group, index = entry
        with self._answering(), contextlib.closing(self._tokens(request)) as tokens:
            for token in tokens:
                if entry not in self._wanted:
                    return
                if token.finish:
                    with self._lock:
                        self._running.discard(entry)
                        self._wanted.discard(entry)
                group.put_from_thread((index, token))
                if token.finish:
                    return
        raise GenerationFailed(f"the vLLM server {self._server.address} ended a response early")

    def _tokens(self, request: GenerationRequest) -> Generator[GeneratedToken]:
        content = streamed_request(
            request, model=self._server.model, eos_token_ids=self.model.chat.eos_token_ids
        )
        events = stream_json(self._server.address + PATH, content, timeout=SECONDS)
        with contextlib.closing(events):
            for event in events:
                if "error" in event:
                    raise GenerationFailed(f"the vLLM server: {event['error']}"[:300])
                with self._understood():
                    tokens = list(tokens_of(event, request.alternatives))
                yield from tokens

    def _prompt_logprobs(self, ids: Sequence[int], most: int) -> list[dict[int, tuple[float, int]]]:
        """(log-prob, rank) by token id at each position after the first."""
        answer = self._ask(ids, {"prompt_logprobs": most})
        with self._understood():
            return [
                {int(key): (one["logprob"], one["rank"]) for key, one in position.items()}
                for position in answer["choices"][0]["prompt_logprobs"][1:]
            ]

    def _ask(self, ids: Sequence[int], fields: Mapping[str, object]) -> Any:
        content = {
            "model": self._server.model,
            "prompt": list(ids),
            "max_tokens": 1,
            "temperature": 1.0,
            "add_special_tokens": False,
            **fields,
        }
        with self._answering():
            return request_json(self._server.address + PATH, content, timeout=SECONDS)

    @contextlib.contextmanager
    def _answering(self) -> Iterator[None]:
        """Errors of requests as `GenerationFailed`, which names the server."""
        address, log = self._server.address, self._server.log
        try:
            yield
        except Rejected as error:
            raise GenerationFailed(f"the vLLM server {address} rejects it: {error}") from error
        except (Unreachable, ValueError) as error:
            step = f"see {log}, and start rlhf serve again" if log else "start it again"
            raise GenerationFailed(
                f"the vLLM server {address} was lost ({error}); {step}"
            ) from error

    @contextlib.contextmanager
    def _understood(self) -> Iterator[None]:
        """An answer without token ids or log-probs as `GenerationFailed`."""
        try:
            yield
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise GenerationFailed(
                f"the vLLM server {self._server.address} answers without token ids or log-probs "
                f"({type(error).__name__}: {error}); it has to be vLLM 0.10.2 or later"
            ) from error

    def _likely_tokens(
        self, ranked: Sequence[tuple[int, float]], sampling: Sampling
    ) -> list[LikelyToken]:
        return [
            LikelyToken(
                token=token_text(self.model, token),
                probability=math.exp(logprob),
                reshaped=reshaped(place, math.exp(logprob), sampling),
            )
            for place, (token, logprob) in enumerate(ranked)
        ]
