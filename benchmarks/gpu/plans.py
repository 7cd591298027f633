"""What `rlhf plan` predicts of a model's recipes. Called with JOB.json and RESULT.json."""

from benchmarks.gpu.exchange import read_job, write_result
from benchmarks.planning import plan_of_words
from rlhf.planning.case import Assumed
from rlhf.planning.target import launch_target


def main() -> None:
    """Plan each of them for this machine."""
    target, plans = launch_target(1, timed=True), {}
    for name, each in read_job()["recipes"].items():
        assumed = Assumed(prompt_tokens=each["prompt"], response_tokens=each["response"])
        plan = plan_of_words(each["recipe"], each["words"], target, assumed)
        plans[name] = {"seconds": plan.step_seconds, "peak_bytes": plan.memory.peak}
    write_result({"plans": plans})


if __name__ == "__main__":
    main()
