"""Kahneman-Tversky optimization (KTO): a policy from thumbs up and down.

    rlhf kto --config recipes/pocket/kto.yaml

Rows are {"prompt", "completion", "label"}, where the label is true for a thumb up: what `rlhf label
export --kind thumbs` writes of votes in a chat. Of rankings and pairs, the best responses are
thumbs up and the worst thumbs down. The reference is the model that the run starts from. The output
folder loads with plain AutoModelForCausalLM; with use_peft it holds a PEFT adapter.
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
from rlhf.training.kto.config import KTOConfig

if TYPE_CHECKING:
    from rlhf.training.kto.setup import KTOSetup

# Functions import what loads torch or transformers, in the order in which they need it: a mistake
# is reported without waiting for the imports of later steps.


def main() -> None:
    """Check, train, save, report."""
    setup = check()
    from rlhf.planning.report import check_fits, lines
    from rlhf.planning.target import launch_target
    from rlhf.training.kto.plan import plan

    target = launch_target(setup.world_size, timed=setup.run.dry_run)
    planned = plan(setup.model, setup.data, setup.config, target, rows=len(setup.rows.train))
    if setup.run.dry_run:
        print_once(*setup.notes, *lines(planned))
        return
    if not setup.run.skip_plan:
        print_once(*check_fits(planned))
    from rlhf.training.kto.trainer import KTOTrainer

    trainer = KTOTrainer.from_setup(setup)
    trainer.train()
    trainer.save()
    on_main_process(lambda: finish(setup))


def check() -> KTOSetup:
    """The checked run: keys, folder, tokenizer and every row, before a weight is loaded."""
    configs = parse_config(RunConfig, ModelConfig, DataConfig, KTOConfig, description=__doc__)
    run_config, _, data, _ = configs
    check_paths(run_config, data.train_data, data.eval_data)
    from rlhf.training.kto.setup import check_run

    return check_run(*configs)


def finish(setup: KTOSetup) -> None:
    """Write report.html and upload the folder. Call it on one process."""
    from rlhf.report.write import write_report
    from rlhf.training.common.publish import push_to_hub

    print_once(f"report: {write_report(setup.folder)}")
    push_to_hub(setup.folder, setup.run.push_to_hub)


if __name__ == "__main__":
    run(main, name="rlhf kto")
