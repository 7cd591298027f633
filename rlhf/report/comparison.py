"""compare.svg and compare.html, from the content of compare.json."""

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader

from rlhf.manifest import write_atomically
from rlhf.report.comparison_chart import comparison_chart
from rlhf.report.interval import interval_text
from rlhf.report.read import Row

SVG, HTML = "compare.svg", "compare.html"


def write_page(folder: Path, content: Row) -> Path:
    """Write the picture, and the page with verdict, picture and tables; return the page's path."""
    chart = comparison_chart(content)
    write_atomically(folder / SVG, f"{chart}\n")
    environment = Environment(
        loader=PackageLoader("rlhf.report", ""),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("comparison.html.j2").render(
        title="Comparison of methods",
        verdict=content["verdict"],
        chart=chart,
        points=[point_row(point) for point in content["points"]],
        runs=[row for point in content["points"] for row in run_rows(point)],
        about=about(content),
    )
    path = folder / HTML
    write_atomically(path, page)
    return path


def point_row(point: Row) -> list[str]:
    """A row of the table of points."""
    kl = point["kl"]
    return [
        str(point["method"]),
        f"{point['key']} {point['value']:g}",
        interval_text(point["win_rate"]),
        f"≤ {kl['value']:.3g}" if kl.get("is_bound") else interval_text(kl),
        interval_text(point["reward"]),
        interval_text(point["score"]),
        f"{point['length']:.1f}",
        ", ".join(marks(point)),
    ]


def run_rows(point: Row) -> list[list[str]]:
    """A row for each run of a point."""
    return [
        [
            f"{point['method']}, {point['key']} {point['value']:g}, seed {run['seed']}",
            f"{run['win_rate']:.3f}",
            f"{run['kl']:.2f}",
            f"{run['responses']:,}",
            f"{run['tokens']:,}",
            f"{run['seconds']:,.0f}",
        ]
        for run in point["runs"]
    ]


def marks(point: Row) -> list[str]:
    """The marks of a point in words."""
    texts = ["Pareto front"] if point["pareto"] else []
    if point["peak"] is not None:
        texts.append("over-optimised" if point["over_optimized"] else "beyond its peak")
    return texts


def about(content: Row) -> list[str]:
    """What was compared, a line each."""
    keys: Sequence[str] = ("model_name_or_path", "labels", "prompts", "heldout_prompts", "judge")
    lines = [f"{key}: {content[key]}" for key in keys]
    lines.append(f"seeds: {' '.join(map(str, content['seeds']))}")
    budgets = ("budget_responses", "budget_seconds")
    return lines + [f"{key}: {content[key]:g}" for key in budgets if content.get(key) is not None]
