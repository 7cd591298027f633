"""What a comparison will run and about how long that takes, before any weights are loaded."""

from collections.abc import Sequence
from dataclasses import dataclass

from rlhf.pipeline.compare.budget import prompts_within, responses_per_step
from rlhf.pipeline.compare.check import Checked, policies
from rlhf.pipeline.compare.config import CompareConfig
from rlhf.pipeline.compare.methods import Method
from rlhf.pipeline.compare.runs import Run, processes, rounds_of
from rlhf.pipeline.compare.training import Parsed
from rlhf.planning.case import Assumed, Target
from rlhf.planning.plan import Plan
from rlhf.planning.report import check_fits, summary
from rlhf.planning.target import launch_target
from rlhf.runtime.printing import counted
from rlhf.training.dpo.plan import plan as dpo_plan
from rlhf.training.kto.plan import plan as kto_plan
from rlhf.training.ppo.plan import plan as ppo_plan
from rlhf.training.ppo.settings import settings_of as ppo_settings
from rlhf.training.reward.plan import plan as reward_plan


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What a run at one strength is expected to cost."""

    run: Run
    responses: int
    plan: Plan | None  # None: rejection sampling, which plans its SFT when it starts

    @property
    def seconds(self) -> float | None:
        """Of its training steps; None where they are not predicted."""
        if self.plan is None or not self.plan.seconds or self.plan.steps is None:
            return None
        return self.plan.steps * self.plan.step_seconds


def check_memory(config: CompareConfig, checked: Checked) -> list[str]:
    """Warnings of runs that may not fit into memory.

    Raises:
        ConfigError: one does not fit.
    """
    target = launch_target(processes(config))
    plans = [each.plan for each in expected(config, checked, target) if each.plan]
    plans += [reward_model_plan(config, checked, target)] if checked.reward_model else []
    return [line for plan in plans for line in check_fits(plan)]


def lines(config: CompareConfig, checked: Checked) -> list[str]:
    """The plan of a comparison, for --dry_run."""
    target = launch_target(processes(config), timed=True)
    costs = expected(config, checked, target)
    runs = len(costs) * len(config.seeds)
    answers = config.num_generations * checked.heldout * policies(config)
    responses = sum(each.responses for each in costs) * len(config.seeds)
    return [
        f"labels: {counted(checked.rankings, 'ranking')} of "
        f"{counted(checked.label_prompts, 'prompt')}, of which "
        f"{config.label_eval_fraction:.0%} are held out",
        _reward_model_line(config, checked, target),
        *(_method_line(method, config, checked, costs) for method in config.parsed_methods),
        f"evaluation: {counted(policies(config), 'policy', 'policies')} x "
        f"{config.num_generations} responses to {counted(checked.heldout, 'prompt')} "
        f"({checked.contamination}), by {config.judge}",
        f"in total {counted(runs, 'run')}; {responses:,} responses while they train, "
        f"{answers:,} in the evaluation; {_hours(costs, config)}",
    ]


def expected(config: CompareConfig, checked: Checked, target: Target) -> list[Expected]:
    """One for each strength of the methods that train."""
    pairs = zip(checked.runs, checked.configs, strict=True)
    return [_expected(run, parsed, config, checked, target) for run, parsed in pairs]


def reward_model_plan(config: CompareConfig, checked: Checked, target: Target) -> Plan:
    """The plan of the comparison's own reward model."""
    assert checked.reward_model is not None
    _, model, data, reward = checked.reward_model
    share = 1 - config.label_eval_fraction
    return reward_plan(
        model,
        data,
        reward,
        target,
        prompts=round(share * checked.label_prompts),
        responses=checked.responses,
        assumed=Assumed(model=config.model_name_or_path),
    )


def _expected(
    run: Run, parsed: Parsed, config: CompareConfig, checked: Checked, target: Target
) -> Expected:
    assumed = Assumed(model=config.model_name_or_path)
    prompts = round((1 - config.label_eval_fraction) * checked.label_prompts)
    recipe = run.method.recipe
    if recipe == "ppo":
        steps = parsed[4].num_steps
        plan = ppo_plan(ppo_settings(parsed), target, assumed)
        return Expected(run=run, responses=steps * responses_per_step(parsed[4]), plan=plan)
    if recipe == "rejection_sampling":
        responses = _rejection_responses(run, parsed, config, checked)
        return Expected(run=run, responses=responses, plan=None)
    _, model, data, training = parsed
    if recipe == "dpo":
        plan = dpo_plan(
            model,
            data,
            training,
            target,
            prompts=prompts,
            responses=checked.responses,
            assumed=assumed,
        )
    else:
        thumbs = round(2 * checked.rankings * (1 - config.label_eval_fraction))
        plan = kto_plan(model, data, training, target, rows=thumbs, assumed=assumed)
    return Expected(run=run, responses=0, plan=plan)


def _rejection_responses(run: Run, parsed: Parsed, config: CompareConfig, checked: Checked) -> int:
    prompts = checked.prompts
    if config.budget_responses is not None:
        prompts = min(prompts, prompts_within(run, config))
    return prompts * int(parsed[1].num_responses) * rounds_of(run.method)


def _reward_model_line(config: CompareConfig, checked: Checked, target: Target) -> str:
    if checked.reward_model is None:
        return f"reward_model: {config.reward_model}"
    plan = reward_model_plan(config, checked, target)
    return f"reward_model: trained on the labels; {summary(plan)}"


def _method_line(
    method: Method, config: CompareConfig, checked: Checked, costs: Sequence[Expected]
) -> str:
    values = " ".join(map(str, method.values))
    if not method.trains:
        most = max(config.num_generations, *map(int, method.values))
        return (
            f"{method.name}: {method.swept} {values}; no training, {most} responses to each "
            "held-out prompt"
        )
    own = [each for each in costs if each.run.method.name == method.name]
    counts = sorted({each.responses for each in own})
    sampled = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"
    parts = [
        f"{method.name}: {method.swept} {values}, seeds {' '.join(map(str, config.seeds))}: "
        f"{counted(len(own) * len(config.seeds), 'run')} of {sampled} sampled responses each"
    ]
    if own[0].plan is not None:
        steps = own[0].plan.steps
        parts += [counted(steps, "step")] if steps is not None else []
        parts.append(summary(own[0].plan))
    if own[0].seconds is not None:
        parts.append(f"about {own[0].seconds / 60:,.1f} minutes each")
    return "; ".join(parts)


def _hours(costs: Sequence[Expected], config: CompareConfig) -> str:
    """The predicted time of all runs, and what it leaves out."""
    known = [each.seconds for each in costs if each.seconds is not None]
    if config.budget_seconds is not None:
        known = [config.budget_seconds for each in costs]
    hours = sum(known) * len(config.seeds) / 3600
    left = "starts, checkpoints, the reward model and the evaluation"
    if any(each.plan is None for each in costs) and config.budget_seconds is None:
        left += ", and rejection sampling"
    return f"about {hours:,.2f} hours of training steps, without {left}"
