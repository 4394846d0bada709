"""The card that lies beside a model's weights: what it is, what it learned from, how far to trust it."""

from emospec.evaluation.results import Run
from emospec.evaluation.words import SPEAKERS, percent

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
    return CARD.format(
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
