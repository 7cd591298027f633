"""python -m benchmarks.profile_pass MODEL: where the time of a forward and backward pass goes.

    python -m benchmarks.profile_pass SmolLM2-135M-Instruct

The pass is that of DPO and of PPO's update: log-probs of responses that share a prompt, under bf16
autocast. The table has the operators of PyTorch's profiler by their own time.
"""

import argparse
import sys
from collections.abc import Sequence

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.options import check_idle, model_parser
from rlhf.data.tokenization.policy_rows import TokenResponse
from rlhf.models.config import ModelConfig
from rlhf.models.cpu_kernels.layers import use_fast_cpu_layers
from rlhf.models.response_logprobs import ResponseLogprobs, response_batch
from rlhf.training.common.policy import load_policy_to_train


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = _parser()
    options = parser.parse_args(argv)
    check_idle(parser, busy=options.busy)
    torch.set_num_threads(options.threads)
    model = load_policy_to_train(
        ModelConfig(model_name_or_path=options.model), dtype=torch.float32, bf16=True
    )
    use_fast_cpu_layers(model)
    module = ResponseLogprobs(model.train(), bf16=True)
    rows = _rows(model.config.vocab_size, options.prompt, options.response, options.responses)
    _pass(module, rows)  # not counted
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        _pass(module, rows)
    table = profiler.key_averages().table(
        sort_by="self_cpu_time_total", row_limit=options.operators, max_name_column_width=40
    )
    print(table)
    return 0


def _pass(module: ResponseLogprobs, rows: Sequence[TokenResponse]) -> None:
    module(*response_batch(rows, torch.device("cpu")).tensors).sum().backward()
    module.zero_grad()


def _rows(vocabulary: int, prompt: int, response: int, responses: int) -> list[TokenResponse]:
    """Responses of random tokens to one prompt of random tokens."""
    draw = torch.Generator().manual_seed(0)

    def tokens(number: int) -> tuple[int, ...]:
        return tuple(torch.randint(vocabulary, (number,), generator=draw).tolist())

    prompt_ids = tokens(prompt)
    return [
        TokenResponse(prompt_ids=prompt_ids, response_ids=tokens(response))
        for _ in range(responses)
    ]


def _parser() -> argparse.ArgumentParser:
    parser = model_parser("profile_pass", __doc__, None)
    add = parser.add_argument
    add("--prompt", type=int, default=512, help="Tokens of the prompt.")
    add("--response", type=int, default=256, help="Tokens of a response.")
    add("--responses", type=int, default=4, help="Responses to the prompt.")
    add("--operators", type=int, default=25, help="Rows of the table.")
    return parser


if __name__ == "__main__":
    sys.exit(main())
