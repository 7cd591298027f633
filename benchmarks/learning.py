"""D: score per sample and per second of PPO on the pocket model with its reward model."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

from benchmarks.measure import Measured, measure
from benchmarks.workloads import Job, Variant
from rlhf.data.tokenization.chat import prompt_ids
from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.errors import ConfigError
from rlhf.models.config import fast_bf16

PROMPTS = Path(__file__).resolve().parents[1] / "data" / "pocket" / "prompts_ppo.jsonl"
POLICY, REWARD_MODEL = "sft", "reward_model_of_chat"
ITERATIONS, BATCH_SIZE = 60, 128
LAST = 10  # the final score is the mean over these last iterations
RLHF = "rlhf"
TARGET_SHARE = 0.95  # of the lower final score; half of the runs would miss the full score
SETUP = """\
The keys of recipes/pocket/ppo.yaml that both engines have: {batch} responses per
iteration, {iterations} iterations, 2 epochs of 4 minibatches, one learning rate of 1e-4 for
policy and critic, kl_coef 0.3, raw logits of the reward model, no critic warm-up; {seeds}
seeds. Final is the mean of the last {last} iterations, ± the standard error over seeds. Seconds
are those of the iterations alone."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One run: a value for each iteration."""

    label: str
    seconds: list[float]  # since the start
    scores: list[float]
    kls: list[float]  # nats per response

    @property
    def final(self) -> float:
        """Score at the end."""
        return mean(self.scores[-LAST:])

    @property
    def final_kl(self) -> float:
        """KL at the end."""
        return mean(self.kls[-LAST:])

    def seconds_to(self, score: float) -> float:
        """Seconds until the mean of LAST iterations reaches `score`; infinite if it never does."""
        for end in range(LAST, len(self.scores) + 1):
            if mean(self.scores[end - LAST : end]) >= score:
                return self.seconds[end - 1]
        return float("inf")


def measure_learning(
    models: Path, seeds: Sequence[int], num_threads: int, folder: Path, peer: Path | None
) -> list[Curve]:
    """One curve per engine and seed; the engines of one seed run interleaved.

    Args:
        models: folder with sft/, made by `make demo`, and reward_model_of_chat/.
        seeds: seeds of the runs.
        num_threads: CPU threads of each engine.
        folder: folder for the files of the runs.
        peer: Python of the environment with TRL; None to measure only rlhf.

    Raises:
        ConfigError: a model is missing, or the reward model's chat template or vocabulary differs
            from the policy's. TRL passes the policy's tokens to the reward model.
    """
    check_models(models)
    prompts = _prompts(models, folder)
    variants = [Variant(engine="rlhf", label="rlhf", bf16=fast_bf16(), num_threads=num_threads)]
    if peer is not None:
        variants.append(Variant(engine="trl", label="trl", num_threads=num_threads))
    curves = []
    for seed in seeds:
        runs = folder / f"seed-{seed}"
        jobs = [_job(models, prompts, variant, runs / variant.label, seed) for variant in variants]
        measured, _ = measure(jobs, runs, peer_python=peer or Path(), warm_up=0)
        curves += [curve_of(result) for result in measured]
    return curves


def check_models(models: Path) -> None:
    """Check that D can compare the engines with these models; see `measure_learning`."""
    for name in (POLICY, REWARD_MODEL):
        if not (models / name).is_dir():
            raise ConfigError(
                f"{models / name} does not exist, and workload D needs it; run `make demo`, then "
                "`make bench-full`, which trains a reward model on the policy's chat template.",
                code="missing-file",
            )
    policy = load_tokenizer(str(models / POLICY)).tokenizer
    judge = load_tokenizer(str(models / REWARD_MODEL), judges=True).tokenizer
    if (policy.chat_template, policy.get_vocab()) != (judge.chat_template, judge.get_vocab()):
        raise ConfigError(
            f"{models / REWARD_MODEL} has another chat template or vocabulary than "
            f"{models / POLICY}, but TRL passes the policy's tokens to the reward model; train a "
            "reward model from the policy with chat_template: auto.",
            code="template-mismatch",
        )


def learning_lines(curves: Sequence[Curve], plot: str) -> list[str]:
    """The table of D in Markdown; `plot` is the file name of the plot."""
    labels = list(dict.fromkeys(curve.label for curve in curves))
    runs = {label: [curve for curve in curves if curve.label == label] for label in labels}
    target = TARGET_SHARE * min(mean(curve.final for curve in runs[label]) for label in labels)
    text = SETUP.format(
        batch=BATCH_SIZE,
        iterations=ITERATIONS,
        last=LAST,
        seeds=len(runs[labels[0]]),
    )
    header = f"| line | final score | final KL | seconds to score {target:.2f} | seconds in all |"
    rows = [
        f"| {label} | {spread([run.final for run in runs[label]])} | "
        f"{spread([run.final_kl for run in runs[label]])} | "
        f"{spread([run.seconds_to(target) for run in runs[label]])} | "
        f"{spread([run.seconds[-1] for run in runs[label]])} |"
        for label in labels
    ]
    title = ["## D: learning", "", text, "", header, "| --- | ---: | ---: | ---: | ---: |"]
    other_labels = [label for label in labels if label != RLHF and RLHF in labels]
    ratios = [
        f"`{label}` takes {_times(runs[label], runs[RLHF])} times the seconds of rlhf per seed."
        for label in other_labels
    ]
    return [*title, *rows, "", *ratios, "", f"![score per sample and per second]({plot})", ""]


def _times(other_curves: Sequence[Curve], rlhf_curves: Sequence[Curve]) -> str:
    """Mean ratio of the total seconds over seeds; the target is 3 at the same score."""
    pairs = zip(other_curves, rlhf_curves, strict=True)
    return spread([other.seconds[-1] / rlhf.seconds[-1] for other, rlhf in pairs])


def draw_learning(path: Path, curves: Sequence[Curve]) -> None:
    """Plot score and KL over responses and over seconds."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(2, 2, figsize=(10, 6), sharex="col", layout="constrained")
    for curve in curves:
        responses = [BATCH_SIZE * (step + 1) for step in range(len(curve.scores))]
        color = "#888888" if curve.label == "trl" else "#2a6fb0"
        for column, horizontal in enumerate((responses, curve.seconds)):
            for row, values in enumerate((curve.scores, curve.kls)):
                panels[row][column].plot(horizontal, values, color=color, alpha=0.7, linewidth=1)
    panels[0][0].set_ylabel("score")
    panels[1][0].set_ylabel("KL, nats per response")
    panels[1][0].set_xlabel("responses")
    panels[1][1].set_xlabel("seconds")
    panels[0][0].set_title("rlhf blue, trl grey; one line per seed", loc="left", fontsize=10)
    figure.savefig(path)
    pyplot.close(figure)


def _prompts(models: Path, folder: Path) -> Path:
    """Write the prompts as text and as token ids for both engines; returns the file."""
    chat = load_tokenizer(str(models / POLICY))
    folder.mkdir(parents=True, exist_ok=True)
    rows = [json.loads(line)["prompt"] for line in PROMPTS.read_text("utf-8").splitlines()]
    text = "".join(
        json.dumps({"prompt": prompt, "ids": prompt_ids(chat, prompt)}) + "\n" for prompt in rows
    )
    (folder / "prompts.jsonl").write_text(text, encoding="utf-8")
    return folder / "prompts.jsonl"


def _job(models: Path, prompts: Path, variant: Variant, output_dir: Path, seed: int) -> Job:
    return Job(
        policy=str(models / POLICY),
        reward_model=str(models / REWARD_MODEL),
        prompts=str(prompts),
        output_dir=str(output_dir),
        iterations=ITERATIONS,
        seed=seed,
        batch_size=BATCH_SIZE,
        num_epochs=2,
        num_minibatches=4,
        max_prompt_length=96,
        max_response_length=48,
        learning_rate=1e-4,
        kl_coef=0.3,
        missing_eos_penalty=1.0,
        variant=variant,
    )


def curve_of(measured: Measured) -> Curve:
    """The turns of a run as a curve."""
    seconds, total = [], 0.0
    for turn in measured.turns:
        total += turn["seconds"]
        seconds.append(total)
    return Curve(
        label=measured.variant.label,
        seconds=seconds,
        scores=[turn["score"] for turn in measured.turns],
        kls=[turn["kl"] for turn in measured.turns],
    )


def spread(values: list[float]) -> str:
    """Mean ± standard error."""
    if not all(map(math.isfinite, values)):
        return "not reached by all"
    error = stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return f"{mean(values):.2f} ± {error:.2f}"
