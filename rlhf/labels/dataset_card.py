"""The card of exported labels: fields, dates, agreement, consent, guideline."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rlhf.errors import DataError
from rlhf.labels.answers import COLUMN
from rlhf.labels.form_config import FormConfig
from rlhf.labels.form_versions import forms_of
from rlhf.labels.records import LABEL, StoredLabel
from rlhf.labels.stats import agreement_of, label_stats
from rlhf.runtime.printing import counted

if TYPE_CHECKING:
    from rlhf.labels.store import LabelStore

FIELDS = {
    "prompt": "text, or messages with role and content",
    "responses": "texts, in the order of ranks and models",
    "ranks": "a rank for each response; 1 is best, equal ranks tie",
    "annotator": "name of the person who labelled",
    "strength": "how clear the preference was; 1.0 is ordinary",
    "models": "names of the models that wrote the responses; empty if unknown",
    "order_shown": "indices of the responses as they were shown; empty if unknown",
    "seconds": "from seeing the item to submitting; null if not measured",
    "guideline_version": "version of the guideline that was shown; 0 without one",
    "form_version": "version of the form that asked; 0 for labels from elsewhere",
    "guideline_sha256": "hash of that guideline's text; null if the store does not have it",
    "form_sha256": "hash of that form; null if the store does not have it",
    "purpose": "label, gold for an item with known ranks, or adjudication for a decision",
    "gold_ranks": "the known ranks of the item, which the annotator did not see",
    "probability": "of the item being drawn; null if the order of the queue decided",
    "extra": "other fields of the form: flags, comment, overall, rewrite",
    "item_id": "number of the item in the label store",
    "labelled_at": "time of the label, seconds since 1970",
    "repeats": "the annotator's later labels of the same item",
    "day": "ISO date, in the time zone of the program that exported the rows",
    "labels": "labels that were not undone",
    "skips": "items that were skipped",
    "chosen": "the better response",
    "rejected": "the worse response",
    "completion": "a response",
    "label": "true for a thumb up, false for a thumb down",
    "consensus": "the method that made one ranking of several; adjudicated: a person decided",
    "annotators": "number of annotators in the consensus",
    "pair_probabilities": "for each pair [first, second, probability that the first is better, "
    "low, high]; responses count from 0, the interval has 95%",
    "low": "lower end of the 95% interval of the probability",
    "high": "upper end of the 95% interval of the probability",
    "event_id": "number of the event in the label store; events are in their order",
    "kind": "submit, skip, undo, late, or a decision: exclude, reopen, contest",
    "at": "seconds since 1970",
    "reason": "why the item was skipped, or why the administrator acted",
    "comment": "what the annotator wrote about the item",
    "by": "who acted, if not the annotator",
    "undoes": "the event that this one takes back",
    "undone_by": "the event that takes this one back",
}
# Of rows with one ranking of several people.
AGREED_FIELDS = {
    "annotator": "consensus, for the people who labelled the item",
    "probability": "that `chosen` is better than `rejected`",
}


def dataset_card(
    store: "LabelStore",
    kind: str,
    rows: Sequence[Mapping[str, object]],
    left_out: Mapping[str, int],
    *,
    consensus: str = "",
    file: str = "",
    consent: str = "",
    license_name: str = "",
) -> str:
    """The card in Markdown, with the hub's metadata at its beginning.

    Args:
        store: the labels.
        kind: of the rows.
        rows: the exported rows.
        left_out: what they leave out, by reason.
        consensus: how each item has one ranking: the method, and the reward model of its weights;
            "" for the labels themselves.
        file: name of the exported file, for the hub's viewer.
        consent: what the annotators agreed to.
        license_name: the hub's name of a licence.
    """
    labels = store.labels()
    sections = [
        "\n".join(["---", *_metadata(file, license_name), "---"]),
        f"# {kind}",
        f"{counted(len(rows), 'row')}{_origin(rows, labels, consensus)}{_dates(labels)}, "
        "written by `rlhf label export`.",
        "## Fields",
        _fields(rows, AGREED_FIELDS if consensus else {}),
        "## Left out",
        "\n".join(f"- {reason}: {count}" for reason, count in left_out.items()) or "Nothing.",
        "## Agreement",
        _agreement(store, labels),
        "## Consent of the annotators",
        consent or "Not stated.",
        *_guidelines(store, labels),
        *_forms(store, labels),
    ]
    return "\n\n".join(sections) + "\n"


def _metadata(file: str, license_name: str) -> list[str]:
    lines = [f"license: {license_name}"] if license_name else []
    lines.append("tags: [preferences, human-feedback, rlhf]")
    if file:
        lines += ["configs:", "- config_name: default", f"  data_files: {json.dumps(file)}"]
    return lines


def _origin(
    rows: Sequence[Mapping[str, object]], labels: Sequence[StoredLabel], consensus: str
) -> str:
    """How many annotators the rows are from, and how they agreed."""
    if not consensus:
        names = {str(row.get("annotator", "")) for row in rows}
        return f" of {counted(len(names), 'annotator')}"
    names = {label.annotator for label in labels if label.purpose == LABEL}
    return f", the consensus ({consensus}) of {counted(len(names), 'annotator')}"


def _dates(labels: Sequence[StoredLabel]) -> str:
    """The days of the first and last label, in UTC."""
    if not labels:
        return ""
    days = [datetime.fromtimestamp(label.at, UTC).date().isoformat() for label in labels]
    first, last = min(days), max(days)
    return f", labelled on {first}" if first == last else f", labelled from {first} to {last}"


def _fields(rows: Sequence[Mapping[str, object]], own: Mapping[str, str]) -> str:
    """The table of the columns; `own` describes those that have another meaning in these rows."""
    names = dict.fromkeys(key for row in rows for key in row)
    lines = [f"| {_cell(name)} | {own.get(name) or _contents(name)} |" for name in names]
    return "\n".join(["| field | contents |", "|---|---|", *lines])


def _contents(name: str) -> str:
    is_answer = name.startswith(COLUMN)
    unknown = "the answer to this criterion of the form" if is_answer else "a column of the prompts"
    return FIELDS.get(name, unknown)


def _cell(text: str) -> str:
    return "`" + text.replace("|", "\\|").replace("`", "") + "`"


def _agreement(store: "LabelStore", labels: Sequence[StoredLabel]) -> str:
    count = sum(label.purpose == LABEL for label in labels)
    stats = label_stats(store)
    agreement = agreement_of(stats)
    text = str(agreement)
    if agreement.alpha.n or agreement.pairs.n:
        text = f"Krippendorff's {text}"
    lines = [f"{counted(count, 'label')}; {text}. Values in brackets are 95% intervals."]
    shared = [one for one in stats.answers.criteria if one.alpha.n]
    lines += [f"- {_cell(one.name)}: alpha {one.alpha}" for one in shared]
    return "\n".join([lines[0], "", *lines[1:]] if shared else lines)


def _guidelines(store: "LabelStore", labels: Sequence[StoredLabel]) -> list[str]:
    """A section for the newest version of the guideline, and for each that a label records."""
    counts: dict[int, int] = {store.newest_guideline()[0]: 0}
    for label in labels:
        counts[label.guideline_version] = counts.get(label.guideline_version, 0) + 1
    sections = []
    for version in sorted(counts.keys() - {0}):
        sections += [
            f"## Guideline, version {version} ({counted(counts[version], 'label')})",
            _quoted(store, version),
        ]
    return sections


def _quoted(store: "LabelStore", version: int) -> str:
    try:
        text = store.guideline(version)
    except DataError:  # imported labels name versions of another store
        return "This store does not have its text."
    return "\n".join(f"> {line}".rstrip() for line in text.splitlines())


def _forms(store: "LabelStore", labels: Sequence[StoredLabel]) -> list[str]:
    """A section for each form with criteria in which a label was given."""
    with store.read() as connection:
        forms = forms_of(connection)
    sections = []
    for version, form in sorted(forms.items()):
        count = sum(label.form_version == version for label in labels)
        if count and form.criteria:
            sections += [f"## Form, version {version} ({counted(count, 'label')})", _criteria(form)]
    return sections


def _criteria(form: FormConfig) -> str:
    lines = ["| criterion | kind | about | question |", "|---|---|---|---|"]
    for one in form.criteria:
        question = " ".join(one.question.split()).replace("|", "\\|")
        lines.append(f"| {_cell(one.name)} | {one.kind} | {one.about} | {question} |")
    return "\n".join(lines)
