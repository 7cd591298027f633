"""Direct preference optimization (DPO): a policy from rankings, without a reward model.

    rlhf dpo --config recipes/pocket/dpo.yaml

Rows are {"prompt", "responses", "ranks"} or {"prompt", "chosen", "rejected"}, as for `rlhf reward`.
All ordered pairs of a prompt are trained on, and each prompt has the same weight. The reference is
the model that the run starts from. The output folder loads with plain AutoModelForCausalLM; with
use_peft it holds a PEFT adapter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rlhf.data.config import DataConfig
from rlhf.models.config import ModelConfig
from rlhf.recipes.early_checks import check_paths
from rlhf.runtime.config import parse_config
from rlhf.runtime.distributed import on_main_process, print_once
from rlhf.runtime.entrypoint import run
from rlhf.runtime.run_folder import RunConfig
from rlhf.training.dpo.config import DPOConfig

if TYPE_CHECKING:
    from rlhf.training.dpo.setup import DPOSetup

# Functions import what loads torch or transformers, in the order in which they need it: a mistake
# is reported without waiting for the imports of later steps.


def main() -> None:
    """Check, train, save, report."""
    setup = check()
    from rlhf.planning.report import check_fits, lines
    from rlhf.planning.target import launch_target
    from rlhf.training.dpo.plan import plan_of_setup

    planned = plan_of_setup(setup, launch_target(setup.world_size, timed=setup.run.dry_run))
    if setup.run.dry_run:
        print_once(*setup.notes, *lines(planned))
        return
    if not setup.run.skip_plan:
        print_once(*check_fits(planned))
    from rlhf.training.dpo.trainer import DPOTrainer

    trainer = DPOTrainer.from_setup(setup)
    trainer.train()
    trainer.save()
    on_main_process(lambda: finish(setup))


def check() -> DPOSetup:
    """The checked run: keys, folder, tokenizer and every row, before a weight is loaded."""
    configs = parse_config(RunConfig, ModelConfig, DataConfig, DPOConfig, description=__doc__)
    run_config, _, data, _ = configs
    check_paths(run_config, data.train_data, data.eval_data)
    from rlhf.training.dpo.setup import check_run

    return check_run(*configs)


def finish(setup: DPOSetup) -> None:
    """Write report.html and upload the folder. Call it on one process."""
    from rlhf.report.write import write_report
    from rlhf.training.common.publish import push_to_hub

    print_once(f"report: {write_report(setup.folder)}")
    push_to_hub(setup.folder, setup.run.push_to_hub)


if __name__ == "__main__":
    run(main, name="rlhf dpo")
