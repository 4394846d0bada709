"""Published numbers: the results of the paper, to stand beside ours, marked with their corpus and protocol."""

from dataclasses import dataclass

from emospec.config import NO_RESULT, load_settings
from emospec.data.utterances import CLASS_SETS
from emospec.evaluation.summary import Summary
from emospec.runs.record import RunRecord

PUBLISHED_ON = "IEMOCAP, 4 classes, dai2019 (speaker-dependent)"
"""Corpus, classes and protocol of all published numbers, which are means over 5 folds x 5 repeats."""
_PRESETS = ("dai2019-mel", "dai2019-stft")


@dataclass(frozen=True)
class Published:
    """UA and WA as published, in [0, 1]."""

    ua: float
    wa: float


# Dai et al. 2019, table of settings 1 to 4 and figures of the sweeps: input, lambda, alpha; UA, WA in percent.
_RESULTS = """
log-mel  0     0.5  63.80 61.83
log-mel  0.003 0.5  64.81 62.99
log-mel  0.03  0.5  65.71 63.98
log-mel  0.3   0.5  66.86 65.40
log-mel  3     0.5  60.08 56.85
log-mel  0.3   0.1  66.76 65.00
log-mel  0.3   0.3  66.85 65.33
log-mel  0.3   0.7  66.96 65.34
log-mel  0.3   0.9  66.41 64.71
log-stft 0     0.5  60.97 58.93
log-stft 0.3   0.5  65.13 62.96
"""
_PUBLISHED = {
    (kind, float(weight), float(rate)): Published(float(ua) / 100, float(wa) / 100)
    for kind, weight, rate, ua, wa in map(str.split, _RESULTS.strip().splitlines())
}


def published(summary: Summary) -> Published | None:
    """Return the paper's numbers for a setting's spectrogram, lambda and alpha; None where it has none."""
    run = summary.runs[0]
    # Further changed settings are allowed: the setting's name shows them, and `is_the_papers` tells whether the
    # numbers compare.
    if run.meta.preset not in _PRESETS:
        return None
    weight, rate = run.settings.loss.center_weight, run.settings.loss.center_rate
    return _PUBLISHED.get((run.settings.frontend.kind, weight, rate if weight else 0.5))


def is_the_papers(run: RunRecord) -> bool:
    """Return whether a run's corpus, classes, protocol and settings, but for lambda and alpha, are the paper's."""
    preset, loss = run.meta.preset, run.settings.loss
    if preset not in _PRESETS:
        return False
    center = [f"loss.{key}={getattr(loss, key)}" for key in ("center_weight", "center_rate")]
    # What cannot move a result is left out, as in `result_settings`.
    no_result = NO_RESULT | {"data": True}
    theirs = load_settings(preset, center).model_dump(exclude=no_result)
    return (
        run.result_settings == theirs
        and run.corpora == ("iemocap",)
        and set(run.classes) == set(CLASS_SETS["iemocap4"])
        and run.meta.protocol.name == "dai2019"
    )
