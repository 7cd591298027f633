"""The page of models: which model annotators preferred."""

from typing import Annotated

import jinja2
from fastapi import FastAPI, Query, Request
from fastapi.responses import HTMLResponse

from rlhf.evaluation.stats.bradley_terry import MIN_PROMPTS
from rlhf.evaluation.stats.parts import LEVEL
from rlhf.labels.model_results import games_of, model_results
from rlhf.labels.store import LabelStore


def add_models_page(app: FastAPI, store: LabelStore, pages: jinja2.Environment) -> None:
    """Add the route of the models."""

    @app.get("/admin/models", response_class=HTMLResponse)
    def page(request: Request, category: Annotated[str, Query(max_length=200)] = "category") -> str:
        items = {item.id: item for item in store.items()}
        games = games_of(items, store.labels(), category=category)
        return pages.get_template("models.html").render(
            csrf=request.scope["session"].csrf,
            role=request.scope["session"].role,
            results=model_results(games),
            min_prompts=MIN_PROMPTS,
            level=LEVEL,
            category=category,
        )
