"""samples/embeddings.npz as a map, on which similar prompts are close to each other."""

import zipfile
from pathlib import Path

import numpy as np
from markupsafe import Markup

from rlhf.report.charts import Dot, scatter
from rlhf.report.token_map import shade

MAX_DOTS = 400


def prompt_map(path: Path) -> Markup:
    """The first two principal components, coloured by score.

    Empty if the file is missing or unreadable, or has fewer than three prompts.
    """
    try:
        with np.load(path, allow_pickle=False) as content:
            points = content["embeddings"].astype(np.float64)
            scores = content["scores"].astype(np.float64)
            prompts = [str(prompt) for prompt in content["prompts"]]
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        return Markup("")
    if points.ndim != 2 or not len(points) == len(scores) == len(prompts) or len(points) < 3:
        return Markup("")
    if not (np.isfinite(points).all() and np.isfinite(scores).all()):
        return Markup("")
    plane = principal_plane(points)
    most = float(np.abs(scores - scores.mean()).max())
    dots = [
        Dot(
            x=float(x),
            y=float(y),
            shade=shade(float(score - scores.mean()), most),
            tip=f"{score:.2f}: {prompt}",
        )
        for (x, y), score, prompt in zip(plane, scores, prompts, strict=True)
    ]
    stride = -(-len(dots) // MAX_DOTS)
    return scatter(dots[::stride], x_label="first component", y_label="second", bare=True)


def principal_plane(points: np.ndarray) -> np.ndarray:
    """[N, 2] coordinates along the two directions of most variance, with a fixed sign."""
    centred = points - points.mean(0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    plane = directions[:2]
    # The sign of a direction is arbitrary: the largest component is made positive.
    signs = np.sign(plane[np.arange(len(plane)), np.abs(plane).argmax(1)])
    coordinates: np.ndarray = centred @ (plane * signs[:, None]).T
    if coordinates.shape[1] < 2:
        coordinates = np.hstack([coordinates, np.zeros((len(coordinates), 1))])
    return coordinates
