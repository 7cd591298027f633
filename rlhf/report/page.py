"""The content of report.html."""

import re
import shlex
from collections.abc import Mapping

from jinja2 import Environment, PackageLoader

from rlhf.report.changes import changes_light, changes_view
from rlhf.report.curves import curves
from rlhf.report.diagnostics import reward_model_view
from rlhf.report.frontier import frontier_view
from rlhf.report.labels import label_view
from rlhf.report.metrics import forest, length_and_score, strengths, table
from rlhf.report.prompt_map import prompt_map
from rlhf.report.read import Row, RunView, StageView
from rlhf.report.rounds import rounds_view
from rlhf.report.samples import sample_sets
from rlhf.report.settings import parse_settings
from rlhf.report.token_map import heat_maps
from rlhf.report.verdict import Light, verdict
from rlhf.runtime.run_folder import CONFIG

# Command -> a key that only its config.yaml has: a run without a manifest is still training.
COMMANDS = {
    "align": "labels",
    "dpo": "simpo_gamma",
    "evaluate": "bootstrap_samples",
    "kto": "undesirable_weight",
    "ppo": "rollout_batch_size",
    "reward": "center_rewards_coefficient",
    "sft": "packing",
}
BASELINE_METRICS = ("win_rate", "score", "bradley_terry", "kl_bound")
HEADING = re.compile("<h2>(.*?)</h2>")
CONTENTS = "<!-- contents -->"  # where the template wants the links to its sections
PEOPLE = "people"  # the model name of metrics about the human judges


def render(run: RunView, *, refresh: int | None = None) -> str:
    """The page. Jinja escapes every text; charts are markup whose texts are already escaped.

    refresh: seconds after which a browser reloads the page; None: never.
    """
    environment = Environment(
        loader=PackageLoader("rlhf.report", ""),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    judged = next((stage for stage in run.stages if stage.evaluation), None)
    reward_models = (reward_model_view(stage.reward_evaluation) for stage in run.stages)
    labels = (label_view(stage.label_stats) for stage in run.stages)
    html = environment.get_template("report.html.j2").render(
        title=run.folder.resolve().name,
        refresh=refresh,
        lights=_lights(run, judged),
        rounds=rounds_view(run.rounds, run.folder),
        labels=next((view for view in labels if view), None),
        reward_model=next((view for view in reward_models if view), None),
        stages=run.stages,
        sampled_stages=sorted(run.stages, key=lambda stage: not stage.evaluation),
        samples={stage.name: sample_sets(stage) for stage in run.stages},
        curves={stage.name: curves(stage) for stage in run.stages},
        heat_maps={s.name: heat_maps(s.samples.get("tokens", [])) for s in run.stages},
        prompt_maps={stage.name: prompt_map(stage.embeddings) for stage in run.stages},
        manifests=[stage for stage in run.stages if stage.manifest],
        settings=[(s.name, parse_settings(s.config)) for s in run.stages if s.config],
        config=run.config,
        command=command(run),
        **_evaluation_variables(judged),
    )
    return with_contents(html)


def with_contents(html: str) -> str:
    """The page with links to its sections after the verdict.

    Only headings of the template are found: Jinja escapes the `<` of every text.
    """
    titles: list[str] = []

    def numbered(heading: re.Match[str]) -> str:
        titles.append(heading[1])
        return f'<h2 id="s{len(titles)}">{heading[1]}</h2>'

    html = HEADING.sub(numbered, html)
    links = [f'<a href="#s{number}">{title}</a>' for number, title in enumerate(titles, 1)]
    contents = f'<nav class="contents" aria-label="Contents">{" ".join(links)}</nav>'
    return html.replace(CONTENTS, contents if len(links) > 1 else "")


def _lights(run: RunView, judged: StageView | None) -> list[Light]:
    """The indicators; of suites with a baseline whether a figure is worse comes first."""
    changed = changes_light(judged.evaluation) if judged else None
    return [*([changed] if changed else []), *verdict(run)]


def _evaluation_variables(judged: StageView | None) -> Mapping[str, object]:
    """The template's variables from evaluation.json; empty tables without one."""
    evaluation: Row = judged.evaluation if judged else {}
    results: list[Row] = list(evaluation.get("results", []))
    names = dict.fromkeys(str(r["model"]) for r in results)
    models = list(evaluation.get("models", {})) or list(names)
    baselines = [name for name in names if name not in (*models, PEOPLE)]
    return {
        "models": models,
        "metrics": table(results, models),
        "uncontaminated": table(results, models, contaminated=False),
        "by_category": table(results, models, by_category=True),
        "baselines": baselines,
        "baseline_table": table(results, baselines, only=BASELINE_METRICS),
        "baseline_metrics": table(results, baselines),
        "baseline_uncontaminated": table(results, baselines, contaminated=False),
        "people": table(results, [PEOPLE]),
        "forest": forest(results, models[-1] if models else ""),
        "strengths": strengths(results),
        "scatter": length_and_score(judged, models),
        "changes": changes_view(evaluation),
        "frontier": frontier_view(evaluation),
        "data": evaluation.get("data") or {},
        "int8": (evaluation.get("tax") or {}).get("int8_share"),
        "num_prompts": evaluation.get("prompts", 0),
        "contaminated": evaluation.get("contaminated_prompts"),
        "contamination": evaluation.get("contamination", []),
    }


def command(run: RunView) -> str:
    """The command that repeats this run in another folder; "" if no config.yaml is known."""
    keys = {line.partition(":")[0] for line in run.config.splitlines()}
    name = next((name for name, key in COMMANDS.items() if key in keys), None)
    if name is None:
        return ""
    output_dir = f"{run.folder}-again"  # a folder with a run cannot be used
    options = ["--config", str(run.folder / CONFIG), "--output_dir", output_dir]
    return shlex.join(["rlhf", name, *options])
