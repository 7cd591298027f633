"""Every YAML file of the repository is executed by a test: a table of which, and its check.

Recipes that name a model of the hub run with a small one. *Executed* is: the recipe trains, samples
or plans its run; a launch configuration starts processes; a tool reads its own settings.
"""

import ast
import subprocess
import sys
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.recipes.families import FAMILIES
from tests.recipes.test_shipped_pipelines import PIPELINES
from tests.recipes.test_shipped_yaml import TRAINING

ROOT = Path(__file__).parents[2]
NAMED = [name for name in FAMILIES if name != "qwen2.5-0.5b"]
NAMED_STAGES = ("sft", "reward_model", "ppo", "grpo", "evaluate")
PIPELINE = "recipes/test_shipped_pipelines.py::test_align_yaml_checks_its_inputs"
SHIPPED = "recipes/test_shipped_yaml.py"
# Test, below tests/ -> the files that it executes, below recipes/; ./ is the root.
EXECUTED: Mapping[str, Sequence[str]] = {
    "runtime/test_entrypoint.py::test_two_processes_form_a_group": [
        "./accelerate_config.yaml",
        "accelerate/ddp.yaml",
    ],
    "runtime/test_entrypoint.py::test_fsdp2_on_two_cpu_processes_needs_own_sharding": [
        "accelerate/fsdp2.yaml"
    ],
    "recipes/test_two_nodes.py::test_two_nodes_equal_one_process": ["accelerate/two-nodes.yaml"],
    "recipes/test_zero3.py::test_launch_without_deepspeed_names_the_package": [
        "accelerate/zero3.yaml"
    ],
    "recipes/test_clusters.py::test_two_nodes_form_one_run": [
        "kubernetes/two-nodes.yaml",
        "skypilot/train.yaml",
    ],
    "recipes/test_clusters.py::test_one_node_is_a_run_of_its_own": ["kubernetes/one-node.yaml"],
    "recipes/test_named_recipes.py::test_one_step_of_each_stage": [
        *(f"{name}/{stage}.yaml" for name in NAMED for stage in NAMED_STAGES),
        "qwen2.5-0.5b/grpo.yaml",
    ],
    PIPELINE: [*(f"{name}/align.yaml" for name in NAMED), "qwen2.5-0.5b/align-*.yaml"],
    "recipes/test_shipped_pipelines.py::test_evaluate_yaml_of_a_real_model": [
        "qwen2.5-0.5b/evaluate.yaml"
    ],
    "recipes/test_smollm2.py::test_training_on_checkable_instructions": [
        "smollm2-135m/instructions_*.yaml"
    ],
    "recipes/test_smollm2.py::test_probes_are_a_metric_each": ["smollm2-135m/evaluate.yaml"],
    "recipes/test_shipped_pipelines.py::test_evaluate_yaml_of_the_story_model": [
        "stories260k/sentiment_evaluate.yaml"
    ],
    "recipes/test_shipped_pipelines.py::test_pretrain_yaml_of_the_embedded_model": [
        "pocket/pretrain.yaml"
    ],
    f"{SHIPPED}::test_sft": [
        "qwen2.5-0.5b/sft-*.yaml",
        "pocket/sft.yaml",
        "pocket/verdicts_sft.yaml",
    ],
    "rewards/test_pocket_judge.py::test_bundled_model_judges_responses": ["pocket/generative.yaml"],
    "rewards/test_pocket_judge.py::test_settings_of_the_trained_judge": [
        "pocket/generative_trained.yaml"
    ],
    f"{SHIPPED}::test_reward_model": [
        "qwen2.5-0.5b/reward_model-*.yaml",
        "pocket/reward_model.yaml",
        "pocket/reward_outcome.yaml",
        "pocket/reward_axes.yaml",
        "smollm2-135m/reward_model.yaml",
        "stories260k/rankings.yaml",
        "stories260k/sentiment_reward.yaml",
    ],
    f"{SHIPPED}::test_ppo": [
        "qwen2.5-0.5b/ppo.yaml",
        "pocket/ppo.yaml",
        "smollm2-135m/ppo.yaml",
        "stories260k/sentiment_ppo.yaml",
    ],
    f"{SHIPPED}::test_dpo": ["pocket/dpo.yaml", "smollm2-135m/dpo.yaml"],
    f"{SHIPPED}::test_kto": ["pocket/kto.yaml"],
    "recipes/test_rejection_sampling.py::test_shipped_file_is_checked": [
        "pocket/rejection_sampling.yaml"
    ],
    "test_wheel.py::test_installed_recipe_runs_to_its_end": ["pocket/align-short.yaml"],
    "recipes/test_pocket_chain.py::test_careful_labels_align_the_policy": [
        "pocket/align.yaml",
        "pocket/evaluate.yaml",
        "pocket/annotators.yaml",
    ],
    "recipes/test_pocket_chain.py::test_random_and_reversed_labels_do_not_align": [
        "pocket/annotators-*.yaml"
    ],
    "recipes/test_toy_tasks_run.py::test_ppo_closes_brackets_that_sft_leaves_open": [
        "toy_tasks/brackets/*.yaml"
    ],
    "recipes/test_toy_tasks_run.py::test_worse_labels_gain_less": [
        *(f"toy_tasks/markov/{stage}.yaml" for stage in ("sft", "reward_model", "ppo", "evaluate"))
    ],
    "recipes/test_plan.py::test_every_training_recipe_is_planned": [
        "toy_tasks/markov/methods.yaml"
    ],
    "recipes/test_compare.py::test_pocket_yaml_is_planned": ["pocket/compare.yaml"],
    "recipes/test_compare.py::test_smollm2_yaml_is_planned": ["smollm2-135m/compare.yaml"],
    "labels/test_criteria.py::test_forms_of_the_package_load_by_name": [
        "./rlhf/labels/forms/*.yaml"
    ],
    "recipes/test_suites.py::test_shipped_suites_run": ["suites/*/suite.yaml"],
    "recipes/test_compare.py::test_toy_yaml_is_planned": ["toy_tasks/markov/compare.yaml"],
    "recipes/test_toy_tasks_run.py::test_ppo_learns_to_take_the_steps": ["toy_tasks/sums/*.yaml"],
    "recipes/test_toy_tasks_run.py::test_ppo_learns_to_call_the_calculator": [
        "toy_tasks/calls/*.yaml"
    ],
    "test_docs.py::test_site_builds_without_warnings": ["./mkdocs.yml"],
    "recipes/test_every_yaml.py::test_pre_commit_reads_its_hooks": ["./.pre-commit-config.yaml"],
}


def tracked() -> Sequence[str]:
    """The YAML files of the repository, below recipes/ or with ./ in the root."""
    command = ["git", "ls-files", "*.yaml", "*.yml"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode or not done.stdout:
        pytest.skip("needs the git repository")
    paths = done.stdout.split()
    return [
        path.removeprefix("recipes/") if path.startswith("recipes/") else f"./{path}"
        for path in paths
    ]


def matching(patterns: Sequence[str]) -> set[str]:
    return {path for path in tracked() if any(fnmatch(path, pattern) for pattern in patterns)}


def test_each_file_has_a_test_and_each_pattern_a_file():
    patterns = [pattern for patterns in EXECUTED.values() for pattern in patterns]
    assert matching(patterns) == set(tracked())
    assert all(matching([pattern]) for pattern in patterns)


@pytest.mark.parametrize("test", EXECUTED)
def test_named_test_exists(test):
    path, name = test.split("::")
    module = ast.parse((ROOT / "tests" / path).read_text(encoding="utf-8"))
    assert name in [node.name for node in module.body if isinstance(node, ast.FunctionDef)]


def test_tests_with_a_list_of_files_have_those_of_the_table():
    for test, patterns in EXECUTED.items():
        if test.startswith(SHIPPED):
            assert matching(patterns) <= set(TRAINING)
    assert matching(EXECUTED[PIPELINE]) == set(PIPELINES)


def test_pre_commit_reads_its_hooks():
    command = [sys.executable, "-m", "pre_commit", "validate-config", ".pre-commit-config.yaml"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
