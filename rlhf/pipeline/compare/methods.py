"""The methods that are compared, each with the values of one key: its strength.

methods:
  grpo:                                  # any name
    recipe: ppo                          # default: the name
    config: recipes/pocket/ppo.yaml      # keys of the recipe
    keys: {advantage: grpo, num_generations: 8}
    sweep: {kl_coef: [0.1, 0.3, 1.0]}
"""

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast, get_args

from rlhf.errors import ConfigError
from rlhf.runtime.yaml_keys import is_number

Recipe = Literal["ppo", "dpo", "kto", "rejection_sampling", "best_of_n"]
BEST_OF_N: Recipe = "best_of_n"
FIELDS = ("recipe", "config", "keys", "sweep")
# What compare sets itself, so that all methods have the same models, data and folders.
SET_HERE = (
    *("model_name_or_path", "train_data", "reward", "normalize_reward", "seed", "output_dir"),
    *("overwrite", "resume_from_checkpoint", "push_to_hub", "dry_run", "skip_plan", "report_to"),
    *("chat_template", "chat_template_kwargs", "num_processes", "cpu_threads", "drop_bad_rows"),
)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")


@dataclass(frozen=True, kw_only=True)
class Method:
    """A recipe with its keys, and the values of the key that is swept."""

    name: str
    recipe: Recipe
    config: str | None  # YAML file with the keys of the recipe
    keys: Mapping[str, object]  # that override the file
    swept: str
    values: Sequence[float]

    @property
    def trains(self) -> bool:
        """Whether it makes a policy; best of N samples from the SFT model."""
        return self.recipe != BEST_OF_N

    @property
    def uses_reward(self) -> bool:
        """Whether it optimizes the score of the reward model; dpo and kto read the labels."""
        return self.recipe not in ("dpo", "kto")


def parse_methods(text: str) -> list[Method]:
    """The methods in a JSON object by name.

    Raises:
        ConfigError: the method, its field and what it takes.
    """
    try:
        content = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"methods is not a mapping: {error}.", code="bad-value") from None
    if not isinstance(content, dict) or not content:
        raise ConfigError(
            "methods is not a mapping of names to {recipe, config, keys, sweep}; name one method "
            "or several.",
            code="bad-value",
        )
    return [_method(name, fields) for name, fields in content.items()]


def _method(name: str, fields: object) -> Method:
    place = f"methods: {name}"
    if not _NAME.fullmatch(name) or name in ("sft", "labels", "reward_model", "evaluation"):
        raise ConfigError(
            f"{place} is no name for a folder of its own; use letters, digits, _ . + and -.",
            code="bad-value",
        )
    if not isinstance(fields, dict):
        raise ConfigError(f"{place} is not a mapping of {', '.join(FIELDS)}.", code="bad-value")
    for field in fields:
        if field not in FIELDS:
            nearest = difflib.get_close_matches(field, FIELDS, n=1)
            hint = f"did you mean {nearest[0]}?" if nearest else "keys of the recipe go to keys."
            raise ConfigError(f"{place}: unknown field {field!r}; {hint}", code="unknown-key")
    recipe = fields.get("recipe", name)
    if recipe not in get_args(Recipe):
        raise ConfigError(
            f"{place}: recipe={recipe!r}; use one of {', '.join(get_args(Recipe))}.",
            code="bad-value",
        )
    swept, values = _sweep(place, fields.get("sweep"))
    keys = _keys(place, fields.get("keys"), swept)
    config = fields.get("config")
    if config is not None and not isinstance(config, str):
        raise ConfigError(f"{place}: config={config!r} is not a file.", code="bad-value")
    method = Method(
        name=name,
        recipe=cast(Recipe, recipe),
        config=config,
        keys=keys,
        swept=swept,
        values=values,
    )
    _check_best_of_n(place, method)
    return method


def _sweep(place: str, sweep: object) -> tuple[str, list[float]]:
    """The swept key and its values."""
    if not isinstance(sweep, dict) or len(sweep) != 1:
        raise ConfigError(
            f"{place}: sweep needs the key that sets the method's strength and its values, such as "
            "sweep: {kl_coef: [0.1, 0.3]}.",
            code="missing-key" if not sweep else "bad-value",
        )
    [(key, values)] = sweep.items()
    if not isinstance(values, list) or not values or not all(map(is_number, values)):
        raise ConfigError(f"{place}: sweep: {key} is not a list of numbers.", code="bad-value")
    if len(set(values)) < len(values):
        raise ConfigError(
            f"{place}: sweep: {key} has a value twice; leave one out.", code="repeated-key"
        )
    if key in SET_HERE:
        raise ConfigError(f"{place}: sweep: compare itself sets {key}.", code="key-conflict")
    return key, values


def _keys(place: str, keys: object, swept: str) -> dict[str, object]:
    """The keys that override the method's file."""
    if keys is None:
        return {}
    if not isinstance(keys, dict):
        raise ConfigError(f"{place}: keys is not a mapping.", code="bad-value")
    for key in keys:
        if key in SET_HERE:
            raise ConfigError(
                f"{place}: keys: compare itself sets {key}, equally for all methods; leave it out.",
                code="key-conflict",
            )
        if key == swept:
            raise ConfigError(
                f"{place}: {key} is swept; leave it out of keys.", code="key-conflict"
            )
    return keys


def _check_best_of_n(place: str, method: Method) -> None:
    """Best of N has no recipe that would check its keys."""
    if method.recipe != BEST_OF_N:
        return
    if method.keys or method.config:
        raise ConfigError(
            f"{place}: best_of_n trains nothing and takes only sweep; leave keys and config out.",
            code="key-conflict",
        )
    if method.swept != "num_responses":
        raise ConfigError(
            f"{place}: best_of_n has no key {method.swept!r}; sweep num_responses (N).",
            code="unknown-key",
        )
    if any(value != int(value) or value < 2 for value in method.values):
        raise ConfigError(
            f"{place}: num_responses={list(method.values)}; use whole numbers of 2 or more.",
            code="bad-value",
        )
