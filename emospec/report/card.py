"""The card that lies beside a model's weights: what it is, what it learned from, how far to trust it.

In the form of Hugging Face's model cards: a YAML header for machines, Markdown for people.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from emospec.errors import RunError
from emospec.evaluation.groups import by_group
from emospec.evaluation.metrics import predicted_confusion
from emospec.evaluation.statistics import ACCURACIES, Interval, Metric
from emospec.evaluation.summary import Summary, summarise
from emospec.report.words import OVERLAP_LABELS, percent_sign
from emospec.runs.record import RunRecord

HUB_LICENCES = {
    "CC0 1.0": "cc0-1.0",
    "CC BY-NC-SA 4.0": "cc-by-nc-sa-4.0",
    "CC BY-NC-ND 4.0": "cc-by-nc-nd-4.0",
    "ODbL 1.0 (database), DbCL 1.0 (contents)": "odbl",
}
"""What the hub calls a corpus's licence; any other, or several, are `other`, and named."""

CARD = """# Speech emotion recognition: {classes}

{setting}; emospec {version}. Spectrograms ({kind}) through a CNN and a bidirectional GRU to a feature z of 64
dimensions and {number} classes, after Dai et al., ICASSP 2019. Input: mono speech at 16 kHz. The classes, in the
order of the logits: {classes}.

## Learned from

{corpora}

{train} utterances train, {dev} choose the step, {test} test.

## Judged

| protocol | UA [95%] | WA [95%] |
|---|---|---|
{judged}

Intervals are by speaker (delete-one-speaker jackknife) and say nothing of retraining. {words}

Fold lists: sha256 {hash}. Audit: {audit}.
{crossval}

## Meant for

Speech of one speaker at a time, of some seconds, in the languages of its corpora; research, and tools whose users know
what an emotion score is. Over 14 s it judges the central 14 s.

## Limits

{notes}It always answers with one of its classes, also to silence, noise, or an emotion that is none of them. Other speakers,
languages, rooms and microphones than those of its corpora were not tested. It must not be used to judge, rank, hire,
fire, police or treat anybody.

## To make it again

```
{command}
```
"""


ONE_FOLD = """One run on one fold, tested on few speakers: `emospec crossval` gives all folds, and
`emospec export --crossval` puts their scores here."""

GROUPS = ("sex", "language")


def model_card(run: RunRecord, whole: Summary | None = None, notes: str = "") -> str:
    """The model card of a finished run, in Markdown.

    Args:
        run: the model's own.
        whole: a cross-validation of its recipe, whose scores say more than its one fold's.
        notes: Markdown to stand under Limits.

    Raises:
        RunError: `whole` is of another recipe or other classes.
    """
    protocol = run.meta.protocol
    corpora = "\n".join(
        f"- {corpus.title}: {corpus.utterances} utterances of {corpus.speakers or 'unknown'} speakers. "
        f"Licence: {corpus.licence or 'not stated'}. {corpus.citation}".rstrip()
        for corpus in run.learned_from
    )
    counts = {part: sum(numbers.values()) for part, numbers in run.meta.counts.items()}
    if whole:
        _refuse_another_recipe(run, whole)
    return _header(run, whole) + CARD.format(
        classes=", ".join(run.classes),
        number=len(run.classes),
        setting=run.setting,
        version=run.meta.emospec,
        kind=run.settings.frontend.kind,
        corpora=corpora,
        judged="\n".join(_rows(run, whole)),
        words=protocol.words,
        hash=protocol.hash,
        audit=(run.scores.audit or "").removeprefix("audit: "),
        crossval=_crossval_words(whole) if whole else ONE_FOLD,
        notes=f"{notes.strip()}\n\n" * bool(notes.strip()),
        command=run.meta.command,
        **counts,
    )


def _refuse_another_recipe(run: RunRecord, whole: Summary) -> None:
    if whole.runs[0].corpora != run.corpora:
        raise RunError(
            f"the cross-validation is of {', '.join(whole.runs[0].corpora)}, {run.folder} learned from {', '.join(run.corpora)}"
        )
    if whole.classes != run.classes:
        raise RunError(
            f"the cross-validation has the classes {', '.join(whole.classes)}, {run.folder} has others"
        )
    own, theirs = ((one.meta.preset, one.result_settings) for one in (run, whole.runs[0]))
    if own != theirs:
        raise RunError(
            f"the cross-validation is of {whole.setting}, {run.folder} of {run.setting}, or of other settings"
        )


def _rows(run: RunRecord, whole: Summary | None) -> Iterator[str]:
    """The rows of the table of scores: the model itself, its recipe, its recipe on each corpus."""
    protocol = run.meta.protocol
    own = f"fold {protocol.fold} of {protocol.folds}, repeat {protocol.repeat}"
    yield _row(
        f"{protocol.name}, {own}, {OVERLAP_LABELS[protocol.speaker_overlap]}",
        summarise([run]).intervals,
    )
    if whole is not None:
        protocol = whole.runs[0].meta.protocol
        name = f"its recipe: {protocol.name}, {whole.how}, {OVERLAP_LABELS[whole.speaker_overlap]}"
        yield _row(name, whole.intervals)
        for corpus, ua in whole.by_corpus.items():
            yield _row(f"its recipe, on {corpus} alone", {"UA": ua})


def _row(name: str, intervals: Mapping[Metric, Interval]) -> str:
    cells = (_cell(intervals[metric]) if metric in intervals else "" for metric in ACCURACIES)
    return f"| {name} | {' | '.join(cells)} |"


def _cell(found: Interval) -> str:
    if found.reason:
        return f"{percent_sign(found.estimate)} (no interval: {found.reason})"
    return f"{percent_sign(found.estimate)} [{100 * found.low:.1f}, {100 * found.high:.1f}]"


def _crossval_words(whole: Summary) -> str:
    """The recipe's scores by group, and its confusions."""
    predictions = pd.concat([r.predictions() for r in whole.runs])
    test = predictions[predictions["part"] == "test"]
    lines = [
        f"| {column} {g.name} | {g.utterances} | {percent_sign(g.ua)} |"
        for column in GROUPS
        for g in by_group(test, column, whole.classes)
    ]
    if lines:
        columns = ["| group | utterances | UA |", "|---|---|---|"]
        lines = ["", "The recipe's test predictions, by group:", "", *columns, *lines]
    tables = {"": test} | {c: test[test["corpus"] == c] for c in whole.by_corpus}
    for corpus, rows in tables.items():
        confusion = predicted_confusion(rows, whole.classes)
        where = f"on {corpus}" if corpus else "in all"
        head = f"| true, {where} | {' | '.join(whole.classes)} |"
        lines += [
            "",
            f"What was said of each class, {where}:",
            "",
            head,
            "|---" * (len(whole.classes) + 1) + "|",
        ]
        lines += [
            f"| {name} | {' | '.join(map(str, row))} |"
            for name, row in zip(whole.classes, confusion.tolist(), strict=True)
        ]
    return "\n".join(lines)


def _header(run: RunRecord, whole: Summary | None) -> str:
    """The YAML header; its values are JSON, which is YAML."""
    licences = sorted({corpus.licence for corpus in run.learned_from})
    known = HUB_LICENCES.get(licences[0]) if len(licences) == 1 else None
    facts: dict[str, Any] = {
        "library_name": "emospec",
        "pipeline_tag": "audio-classification",
        "tags": ["speech-emotion-recognition", "centre-loss", "spectrogram", "onnx"],
        "license": known or "other",
    }
    if known is None:
        facts["license_name"] = "; ".join(licence or "not stated" for licence in licences)
    if languages := sorted({tag for corpus in run.learned_from for tag in corpus.languages}):
        facts["language"] = languages
    protocol = (whole.runs[0] if whole else run).meta.protocol
    judged_on = "cross-validation of its recipe" if whole else f"fold {protocol.fold}"
    ua, wa = (whole.ua, whole.wa) if whole else (run.scores.test.ua, run.scores.test.wa)
    metrics = [
        {"type": "recall", "name": "UA, mean recall over classes", "value": round(ua, 4)},
        {"type": "accuracy", "name": "WA", "value": round(wa, 4)},
    ]
    judged = {
        "task": {"type": "audio-classification", "name": "speech emotion recognition"},
        "dataset": {
            "name": f"{', '.join(run.corpora)}, {protocol.name}, {judged_on} "
            f"({OVERLAP_LABELS[whole.speaker_overlap if whole else protocol.speaker_overlap]})",
            "type": "-".join(run.corpora),
        },
        "metrics": metrics,
    }
    facts["model-index"] = [{"name": f"emospec {run.setting}", "results": [judged]}]
    lines = (f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in facts.items())
    return "\n".join(["---", *lines, "---", "", ""])
