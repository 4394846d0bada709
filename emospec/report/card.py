"""Model card: the file beside a model's weights with its training data, evaluation, intended use and limits.

In the form of Hugging Face's model cards: a YAML header for machines, Markdown for people, whose text is card.md.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from typing import Any

from emospec.errors import RunError
from emospec.evaluation.metrics import by_group, predicted_confusion
from emospec.evaluation.statistics import ACCURACIES, Interval, Metric
from emospec.evaluation.summary import Summary, rows_of_test, summarise
from emospec.report.words import OVERLAP_LABELS, percent, percent_sign
from emospec.runs.record import RunRecord

_HUB_LICENCES = {
    "CC0 1.0": "cc0-1.0",
    "CC BY-NC-SA 4.0": "cc-by-nc-sa-4.0",
    "CC BY-NC-ND 4.0": "cc-by-nc-nd-4.0",
    "ODbL 1.0 (database), DbCL 1.0 (contents)": "odbl",
}
"""The hub's name of a corpus's licence; any other, or several, are `other` with a name."""

_ONE_FOLD = """One run on one fold, tested on few speakers: `emospec crossval` gives all folds, and
`emospec export --crossval` puts their scores here."""


def model_card(run: RunRecord, whole: Summary | None = None, notes: str = "") -> str:
    """Return the model card of a finished run, in Markdown.

    Args:
        run: the run that trained the model.
        whole: a cross-validation of its recipe, on more speakers than its one fold; RunError for another recipe.
        notes: Markdown to stand under Limits.
    """
    if whole:
        _require_same_recipe(run, whole)
    corpora = (
        f"- {corpus.title}: {corpus.utterances} utterances of {corpus.speakers or 'unknown'} speakers. "
        f"Licence: {corpus.licence or 'not stated'}. {corpus.citation}".rstrip()
        for corpus in run.learned_from
    )
    card = resources.files(__package__).joinpath("card.md").read_text("utf-8")
    return _header(run, whole) + card.format(
        classes=", ".join(run.classes),
        number=len(run.classes),
        setting=run.setting,
        version=run.meta.emospec,
        kind=run.settings.frontend.kind,
        corpora="\n".join(corpora),
        scores="\n".join(_score_rows(run, whole)),
        words=run.meta.protocol.words,
        hash=run.meta.protocol.hash,
        audit=(run.scores.audit or "").removeprefix("audit: "),
        crossval="\n".join(_crossval_lines(whole)) if whole else _ONE_FOLD,
        notes=f"{notes.strip()}\n\n" if notes.strip() else "",
        command=run.meta.command,
        **{part: sum(numbers.values()) for part, numbers in run.meta.counts.items()},
    )


def _require_same_recipe(run: RunRecord, whole: Summary) -> None:
    first = whole.runs[0]
    if first.corpora != run.corpora:
        corpora = ", ".join(run.corpora)
        raise RunError(
            f"the cross-validation is of {', '.join(first.corpora)}, {run.folder} learned from {corpora}"
        )
    if whole.classes != run.classes:
        classes = ", ".join(whole.classes)
        raise RunError(f"the cross-validation has the classes {classes}, {run.folder} has others")
    if (run.meta.preset, run.result_settings) != (first.meta.preset, first.result_settings):
        raise RunError(
            f"the cross-validation is of {whole.setting}, {run.folder} of {run.setting}, or of other settings"
        )


def _score_rows(run: RunRecord, whole: Summary | None) -> Iterator[str]:
    protocol = run.meta.protocol
    # The one fold that the model itself was tested on, then what more speakers say of its recipe.
    fold = f"fold {protocol.fold} of {protocol.folds}, repeat {protocol.repeat}"
    overlap = OVERLAP_LABELS[protocol.speaker_overlap]
    yield _score_row(f"{protocol.name}, {fold}, {overlap}", summarise([run]).intervals)
    if whole is not None:
        name, overlap = whole.runs[0].meta.protocol.name, OVERLAP_LABELS[whole.speaker_overlap]
        yield _score_row(f"its recipe: {name}, {whole.how}, {overlap}", whole.intervals)
        for corpus, ua in whole.by_corpus.items():
            yield _score_row(f"its recipe, on {corpus} alone", {"UA": ua})


def _score_row(name: str, intervals: Mapping[Metric, Interval]) -> str:
    cells = [name]
    for score in (intervals.get(metric) for metric in ACCURACIES):
        ends = f"[{percent(score.low)}, {percent(score.high)}]" if score else ""
        words = f"(no interval: {score.reason})" if score and score.reason else ends
        cells.append(f"{percent_sign(score.estimate)} {words}" if score else "")
    return _row(cells)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _crossval_lines(whole: Summary) -> Iterator[str]:
    test = rows_of_test(whole.runs)
    groups = [(column, g) for column in ("sex", "language") for g in by_group(test, column, whole.classes)]
    if groups:
        yield from ("", "The recipe's test predictions, by group:", "")
        yield from ("| group | utterances | UA |", "|---|---|---|")
        yield from (
            _row([f"{column} {g.name}", str(g.utterances), percent_sign(g.ua)]) for column, g in groups
        )
    for corpus in ("", *whole.by_corpus):
        rows, where = (test[test["corpus"] == corpus], f"on {corpus}") if corpus else (test, "in all")
        yield from ("", f"Test predictions by true class, {where}:", "")
        yield from (_row([f"true, {where}", *whole.classes]), "|---" * (len(whole.classes) + 1) + "|")
        confusion = predicted_confusion(rows, whole.classes).astype(str).tolist()
        yield from (_row([name, *counts]) for name, counts in zip(whole.classes, confusion, strict=True))


def _header(run: RunRecord, whole: Summary | None) -> str:
    """Return the YAML header; its values are JSON, which is YAML."""
    licences = sorted({corpus.licence for corpus in run.learned_from})
    on_hub = _HUB_LICENCES.get(licences[0]) if len(licences) == 1 else None
    facts: dict[str, Any] = {
        "library_name": "emospec",
        "pipeline_tag": "audio-classification",
        "tags": ["speech-emotion-recognition", "centre-loss", "spectrogram", "onnx"],
        "license": on_hub or "other",
    }
    if on_hub is None:
        facts["license_name"] = "; ".join(licence or "not stated" for licence in licences)
    if languages := sorted({tag for corpus in run.learned_from for tag in corpus.languages}):
        facts["language"] = languages
    protocol = (whole.runs[0] if whole else run).meta.protocol
    # A cross-validation rests on more speakers than the model's one fold: where there is one, it is the result.
    evaluated_on = "cross-validation of its recipe" if whole else f"fold {protocol.fold}"
    overlap = OVERLAP_LABELS[whole.speaker_overlap if whole else protocol.speaker_overlap]
    ua, wa = (whole.ua, whole.wa) if whole else (run.scores.test.ua, run.scores.test.wa)
    result = {
        "task": {"type": "audio-classification", "name": "speech emotion recognition"},
        "dataset": {
            "name": f"{', '.join(run.corpora)}, {protocol.name}, {evaluated_on} ({overlap})",
            "type": "-".join(run.corpora),
        },
        "metrics": [
            {"type": "recall", "name": "UA, mean recall over classes", "value": round(ua, 4)},
            {"type": "accuracy", "name": "WA", "value": round(wa, 4)},
        ],
    }
    facts["model-index"] = [{"name": f"emospec {run.setting}", "results": [result]}]
    lines = (f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in facts.items())
    return "\n".join(["---", *lines, "---", "", ""])
