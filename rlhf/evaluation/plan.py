"""What an evaluation will sample, judge and need, before any weights are loaded."""

from pathlib import Path

from rlhf.evaluation.core.config import NULL_BASELINES, EvaluateConfig, named_paths
from rlhf.evaluation.core.study_config import StudyConfig
from rlhf.evaluation.judges.llm import is_address
from rlhf.evaluation.studies.checkpoints import steps_of_run
from rlhf.models.memory import count_parameters, generation_bytes
from rlhf.models.shape import GIB
from rlhf.rewards.spec import RewardSpec
from rlhf.runtime.printing import counted


def plan(config: EvaluateConfig, study: StudyConfig, num_prompts: int) -> list[str]:
    """A line for each model with its parameters, for each study, and for the memory of a device.

    A model and the reference are in memory together, then the reward models one after the other.
    The memory is that of their weights in the precision of `bf16`, with the keys and values of a
    batch of responses.
    """
    paths = config.loaded_paths
    num_responses = num_prompts * config.num_generations
    lines = []
    size = 2 if config.bf16 else 4
    longest = config.max_prompt_length + config.max_completion_length
    weights, cache = {}, {}
    work = counted(num_responses, "response") if study.answers is None else "earlier responses"
    for name, path in paths.items():
        weights[name] = count_parameters(path, "CAUSAL_LM") * size
        rows = config.per_device_eval_batch_size
        cache[name] = generation_bytes(path, rows=rows, length=longest, itemsize=size)
        lines.append(f"{name}: {weights[name] / size / 1e6:,.1f} M parameters; {work}")
    for name, served in config.served.items():
        lines.append(f"{name}: behind {served.address}; {work}")
    reference = weights[config.reference_name] if config.reference_name else 0
    peak = max((weights[n] + (reference if n != config.reference_name else 0) + cache[n]
                for n in paths), default=0)  # fmt: skip
    for name, path in named_paths(config.reward_model, "reward_model").items():
        spec = RewardSpec(path)
        language_model = spec.language_model  # of a generative reward model
        if language_model is None and not spec.is_model:
            lines.append(f"{name}: {path} judges all responses")
            continue
        parameters = (
            count_parameters(path, "SEQ_CLS")
            if language_model is None
            else count_parameters(language_model, "CAUSAL_LM")
        )
        peak = max(peak, parameters * 4)
        lines.append(f"{name}: {parameters / 1e6:,.1f} M parameters; judges all responses")
    lines += _studies(config, study, num_prompts)
    return [*lines, f"about {peak / GIB:,.2f} GiB per device before activations"]


def _studies(config: EvaluateConfig, study: StudyConfig, num_prompts: int) -> list[str]:
    lines = []
    if study.best_of:
        prompts = min(num_prompts, study.best_of_prompts)
        lines.append(f"best_of: {max(study.best_of) * prompts} more responses")
    if study.frontier is not None:
        prompts = min(num_prompts, study.frontier_prompts)
        count = 1 + len(steps_of_run(Path(study.frontier)))
        num_responses = count * prompts * config.num_generations
        lines.append(
            f"frontier: {count} checkpoints with the reference, {num_responses} more responses"
        )
    num_pairs = (len(config.model_paths) - 1) * num_prompts * study.pairs_per_prompt
    if study.judge:
        asked = min(study.human_budget or num_prompts, num_prompts)
        lines.append(f"annotators: about {num_pairs * asked // num_prompts} pairs")
    if study.llm_judge is not None:
        if study.llm_judge_baselines:
            # With train_data there is `lookup`, which is also compared with each model.
            num_null = len(NULL_BASELINES)
            others = num_null + len(config.model_paths) if config.train_data else num_null - 1
            num_pairs += others * num_prompts * study.pairs_per_prompt
        where = "over http" if is_address(study.llm_judge) else "on this machine"
        lines.append(f"llm_judge: {where}, about {2 * num_pairs} requests")
    if study.tax_data is not None:
        lines.append(f"tax: at most {study.tax_texts} texts per model, in fp32 and int8")
    if study.lm_eval:
        lines.append(f"lm_eval: {' '.join(study.lm_eval)} on each model")
    return lines
