"""Responses by a vLLM server over HTTP; its weights are renewed through files.

The endpoints are vLLM's own (0.32): /v1/completions with token ids, /collective_rpc with
`reload_weights`, /reset_prefix_cache, /sleep and /wake_up. All but the first need a server with
VLLM_SERVER_DEV_MODE=1.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from peft import PeftModel
from transformers import PreTrainedModel

from rlhf.errors import ConfigError, TrainingError
from rlhf.models.export import write_weights
from rlhf.models.generation.decoder import Generated
from rlhf.rollouts.engine import Sampling
from rlhf.rollouts.http import request
from rlhf.rollouts.responses import EngineResponse, as_generated
from rlhf.rollouts.server import Server
from rlhf.runtime.distributed import on_main_process
from rlhf.runtime.http import Rejected
from rlhf.runtime.parallel import run_together
from rlhf.runtime.process_activity import excused
from rlhf.runtime.progress import progress, waiting
from rlhf.runtime.run_lock import release
from rlhf.types import PromptBatch

SECONDS_TO_RELOAD = 1800.0
AT_ONCE = 256  # requests of a process that wait for an answer


class VLLMEngine:
    """Samples by a vLLM server.

    Args:
        server: that runs, and is checked.
        folder: for weights; the server has to see it. It is emptied and deleted.
        dtype: of the written weights.
        sleeps: whether the server frees its memory between rollouts.
    """

    name = "vllm"
    is_native = False

    def __init__(
        self, server: Server, folder: Path, *, dtype: torch.dtype, sleeps: bool = False
    ) -> None:
        self.server, self.folder, self.dtype, self.sleeps = server, folder, dtype, sleeps
        self.version = 0
        self.asleep = False

    def update_weights(self, policy: PreTrainedModel | PeftModel) -> None:
        """See `RolloutEngine`. The main process writes the weights; the others wait."""
        self._wake_up()
        on_main_process(lambda: self._send(policy))

    def _send(self, policy: PreTrainedModel | PeftModel) -> None:
        self.version += 1
        folder = self.folder / f"version-{self.version}"
        shutil.rmtree(folder, ignore_errors=True)
        write_weights(folder, policy, dtype=self.dtype)
        reload = {"method": "reload_weights", "kwargs": {"weights_path": str(folder.resolve())}}
        self._post("/collective_rpc", reload, purpose="reload weights")
        # Cached prompts were computed with the old weights.
        self._post("/reset_prefix_cache", {}, purpose="forget its cached prompts")
        shutil.rmtree(folder)

    def generate(self, batch: PromptBatch, sampling: Sampling) -> Generated:
        """See `RolloutEngine`. A request for each prompt, all of them at the same time."""
        self._wake_up()
        rows: list[EngineResponse | None] = [None] * len(batch.prompts)
        parts = [range(start, end) for start, end in _first_rows(batch.group_ids.tolist())]

        def complete(part: range) -> Sequence[EngineResponse]:
            return self._complete(batch, part, sampling)

        with progress("responses of the rollout server", len(rows)) as advance:
            asked = run_together(complete, parts, at_once=AT_ONCE, advance=advance)
            for index, responses in asked:
                for row, response in zip(parts[index], responses, strict=True):
                    rows[row] = response
                advance(len(parts[index]))
        self._sleep()
        return as_generated(
            [row for row in rows if row is not None],
            sampling,
            engine=self.name,
            device=batch.input_ids.device,
        )

    def close(self) -> None:
        """End the server, where the run started it, and delete the folder of weights."""
        self.server.close()
        if PartialState().is_main_process:
            release(self.folder)
            shutil.rmtree(self.folder, ignore_errors=True)

    def _complete(
        self, batch: PromptBatch, rows: range, sampling: Sampling
    ) -> Sequence[EngineResponse]:
        """The responses to the prompt of these rows."""
        first = rows.start
        # The likeliest tokens are the same for all rows, and vLLM gives them once.
        count = len(rows) if sampling.temperature else 1
        ids = batch.input_ids[first][batch.attention_mask[first]].tolist()
        content = completion_request(
            ids,
            replace(sampling, max_new_tokens=sampling.limit_of(first)),
            model=self.server.model,
            count=count,
            # vLLM adds k for response k, so the seeds of prompts are far apart.
            seed=sampling.seed_of(int(batch.row_ids[first])),
        )
        answer = self._checked(
            lambda: request(self.server.address, "/v1/completions", content, timeout=None),
            purpose="sample responses",
        )
        responses = read_completion(answer, self.server.address, count=count)
        return responses * (len(rows) // count)

    def _wake_up(self) -> None:
        """Take the server's memory again, with the weights that it had."""
        if self.asleep:
            on_main_process(lambda: self._post("/wake_up", {}, purpose="wake up"))
            self.asleep = False

    def _sleep(self) -> None:
        """Free the server's memory once all processes have their responses."""
        if not self.sleeps:
            return
        PartialState().wait_for_everyone()
        on_main_process(lambda: self._post("/sleep?level=1", {}, purpose="sleep"))
        self.asleep = True

    def _post(self, path: str, content: object, *, purpose: str) -> None:
        # The other processes wait meanwhile, and this one does nothing.
        with excused(), waiting(f"waiting for the rollout server to {purpose}"):
            self._checked(
                lambda: request(self.server.address, path, content, timeout=SECONDS_TO_RELOAD),
                purpose=purpose,
            )

    def _checked(self, ask: Callable[[], Any], *, purpose: str) -> Any:
        """The answer of the server; its own end comes before a lost connection."""
        try:
            return ask()
        except Rejected as error:
            if error.status == 404:
                raise ConfigError(
                    f"the rollout server {self.server.address} cannot {purpose} (no such address "
                    "there); start it with VLLM_SERVER_DEV_MODE=1.",
                    code="unsupported",
                ) from error
            raise TrainingError(
                f"the rollout server {self.server.address} did not {purpose}: {error}",
                code="engine-lost",
            ) from error
        except TrainingError:
            self.server.check_alive()
            raise


def completion_request(
    ids: Sequence[int], sampling: Sampling, *, model: str, count: int, seed: int
) -> dict[str, object]:
    """What /v1/completions is asked for: `count` responses to a prompt, and their log-probs.

    Every setting of sampling is given, because a server takes the others from the model's
    generation_config. The end tokens are stop tokens: vLLM returns the one that ended a response.
    """
    return {
        "model": model,
        "prompt": list(ids),
        "n": count,
        "seed": seed,
        "max_tokens": sampling.max_new_tokens,
        "temperature": sampling.temperature,
        "top_p": 1.0,
        "top_k": 0,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "ignore_eos": True,
        "stop_token_ids": list(sampling.eos_token_ids),
        "logprobs": 0,
        "return_token_ids": True,
        "add_special_tokens": False,
    }


def read_completion(answer: Any, address: str, *, count: int) -> list[EngineResponse]:
    """The responses in an answer of /v1/completions, in the order of their indices.

    Raises:
        TrainingError: an answer without token ids or log-probs, or with another number of them.
    """
    try:
        choices = sorted(answer["choices"], key=lambda choice: int(choice["index"]))
        rows = [
            EngineResponse(ids=choice["token_ids"], logprobs=choice["logprobs"]["token_logprobs"])
            for choice in choices
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise TrainingError(
            f"the rollout server {address} answers without token ids and log-probs "
            f"({type(error).__name__}: {error}); it has to be vLLM 0.10.2 or later.",
            code="engine-mismatch",
        ) from error
    if len(rows) != count:
        raise TrainingError(
            f"the rollout server {address} gave {len(rows)} responses to a prompt in place of "
            f"{count}.",
            code="engine-mismatch",
        )
    return rows


def _first_rows(groups: Sequence[int]) -> list[tuple[int, int]]:
    """(first row, row after the last) of each run of equal group ids."""
    starts = [i for i, group in enumerate(groups) if i == 0 or group != groups[i - 1]]
    return list(zip(starts, [*starts[1:], len(groups)], strict=True))
