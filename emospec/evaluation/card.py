"""The card that lies beside a model's weights: what it is, what it learned from, how far to trust it.

In the form of Hugging Face's model cards: a YAML header for machines, Markdown for people.
"""

import json
from typing import Any

from emospec.evaluation.results import Run
from emospec.evaluation.words import SPEAKERS, percent

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

| protocol | UA | WA |
|---|---|---|
| {protocol}, fold {fold} of {folds}, repeat {repeat}, {speakers} | {ua} | {wa} |

{words}

Fold lists: sha256 {hash}. Audit: {audit}.
One run on one fold, tested on few speakers: `emospec crossval` gives all folds, and an interval over their speakers.

## Meant for

Speech of one speaker at a time, of some seconds, in the languages of its corpora; research, and tools whose users know
what an emotion score is. Over 14 s it judges the central 14 s.

## Limits

It always answers with one of its classes, also to silence, noise, or an emotion that is none of them. Other speakers,
languages, rooms and microphones than those of its corpora were not tested. It must not be used to judge, rank, hire,
fire, police or treat anybody.

## To make it again

```
{command}
```
"""


def model_card(run: Run) -> str:
    """The model card of a finished run, in Markdown."""
    protocol, scores = run.meta["protocol"], run.scores["test"]
    corpora = "\n".join(
        f"- {corpus['title']}: {corpus['utterances']} utterances of {corpus['speakers'] or 'unknown'} speakers. "
        f"Licence: {corpus['licence'] or 'not stated'}. {corpus['citation']}".rstrip()
        for corpus in run.meta["corpora"]
    )
    counts = {part: sum(numbers.values()) for part, numbers in run.meta["counts"].items()}
    return _header(run) + CARD.format(
        classes=", ".join(run.classes),
        number=len(run.classes),
        setting=run.setting,
        version=run.meta["emospec"],
        kind=run.config["frontend"]["kind"],
        corpora=corpora,
        protocol=protocol["name"],
        fold=protocol["fold"],
        folds=protocol["folds"],
        repeat=protocol["repeat"],
        speakers=SPEAKERS[protocol["speaker_overlap"]],
        ua=percent(scores["UA"]),
        wa=percent(scores["WA"]),
        words=protocol["words"],
        hash=protocol["hash"],
        audit=run.scores["audit"].removeprefix("audit: "),
        command=run.meta["command"],
        **counts,
    )


def _header(run: Run) -> str:
    """The YAML header; its values are JSON, which is YAML."""
    licences = sorted({corpus["licence"] for corpus in run.meta["corpora"]})
    known = HUB_LICENCES.get(licences[0]) if len(licences) == 1 else None
    facts: dict[str, Any] = {
        "library_name": "emospec",
        "pipeline_tag": "audio-classification",
        "tags": ["speech-emotion-recognition", "centre-loss", "spectrogram", "onnx"],
        "license": known or "other",
    }
    if known is None:
        facts["license_name"] = "; ".join(licence or "not stated" for licence in licences)
    if languages := sorted({tag for corpus in run.meta["corpora"] for tag in corpus.get("languages", [])}):
        facts["language"] = languages
    protocol = run.meta["protocol"]
    metrics = [
        {
            "type": "recall",
            "name": "UA, mean recall over classes",
            "value": round(run.scores["test"]["UA"], 4),
        },
        {"type": "accuracy", "name": "WA", "value": round(run.scores["test"]["WA"], 4)},
    ]
    judged = {
        "task": {"type": "audio-classification", "name": "speech emotion recognition"},
        "dataset": {
            "name": f"{', '.join(run.corpora)}, {protocol['name']}, fold {protocol['fold']} "
            f"({SPEAKERS[protocol['speaker_overlap']]})",
            "type": "-".join(run.corpora),
        },
        "metrics": metrics,
    }
    facts["model-index"] = [{"name": f"emospec {run.setting}", "results": [judged]}]
    lines = (f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in facts.items())
    return "\n".join(["---", *lines, "---", "", ""])
