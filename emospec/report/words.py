"""Numbers as words and cells of reports, model cards and the command line's tables. The module is light to import."""

import hashlib
import math
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from emospec.evaluation.comparison import Contrast
    from emospec.evaluation.statistics import Interval
    from emospec.runs.record import RunRecord

OVERLAP_LABELS = {True: "speaker-dependent", False: "speaker-independent", None: "speakers unknown"}
"""The label of a number by whether its test speakers are also in training or dev."""


def distinct(values: Iterable[str]) -> list[str]:
    """Return each value once, in order of appearance."""
    return list(dict.fromkeys(values))


def count(number: int, noun: str) -> str:
    """Return a number with its noun: "1 run", "2 runs"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def percent(share: float | None) -> str:
    """Return a share in [0, 1] as percent without the sign, such as "78.1"; "n/a" for None and NaN."""
    return "n/a" if share is None or math.isnan(share) else f"{100 * share:.1f}"


def percent_sign(share: float) -> str:
    """Return a share in [0, 1] such as "78.1 %", with a space that does not break; "n/a" for NaN."""
    return "n/a" if math.isnan(share) else f"{percent(share)}\u00a0%"


def signed(difference: float) -> str:
    """Return a difference of shares in points with its sign, such as "+3.1"."""
    return f"{100 * difference:+.1f}".replace("-", "−")


def p_words(p: float) -> str:
    """Return a p value with three digits, or "< 0.001"."""
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"


def cell(value: float | None, reason: str, scale: float = 1.0, digits: int = 1) -> str:
    """Return a number for a table cell; None (null in JSON) and NaN give "n/a" with the reason."""
    return _missing(reason) if value is None or math.isnan(value) else f"{scale * value:.{digits}f}"


def ends(interval: "Interval") -> str:
    """Return an interval for a table cell, such as "71.2–80.4", or "n/a" with the reason."""
    low, high = percent(interval.low), percent(interval.high)
    return _missing(interval.reason) if interval.reason else f"{low}–{high}"


def signed_ends(interval: "Interval") -> str:
    """Return an interval of a difference in points, such as "[−1.2, +4.0]", or "n/a" with the reason."""
    low, high = signed(interval.low), signed(interval.high)
    return _missing(interval.reason) if interval.reason else f"[{low}, {high}]"


def _missing(reason: str) -> str:
    # Of the extra `train`, which the command line's tables do without.
    from markupsafe import Markup

    return Markup('<span class="na">n/a <small>{}</small></span>').format(reason)


def duration(seconds: float) -> str:
    """Return whole seconds as "5 min 12 s" or "2 h 03 min"."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min {rest:02d} s"


def slug(words: str) -> str:
    """Return a file name made of letters, digits, dots and dashes; a long one is cut and ends in a hash."""
    name = re.sub(r"[^A-Za-z0-9.]+", "-", words.replace("λ", "lambda").replace("α", "alpha"))
    return name if len(name) <= 120 else f"{name[:111]}-{hashlib.sha256(words.encode()).hexdigest()[:8]}"


def verdict(contrast: "Contrast") -> str:
    """Return the result of a contrast in two sentences, or why there is no comparison."""
    if contrast.pair is None:
        scores = [
            f"{_center_words(s.runs[0])} UA {percent_sign(s.ua)}, WA {percent_sign(s.wa)} ({count(len(s.runs), 'run')})"
            for s in (contrast.with_, contrast.without)
            if s is not None
        ]
        both = "no fold was run both with and without centre loss"
        return f"{'; '.join(scores)}: {both if len(scores) == 2 else 'none to compare with'}."
    # The difference, then what it rests on: runs, interval, p, pairs.
    with_, without = contrast.pair.first, contrast.pair.second
    ua, runs = contrast.pair.comparisons["UA"], len(with_.runs)
    over = f"over {runs} runs" if runs > 1 else "from a single run each"
    if contrast.left_out:
        over += f" on the same folds ({count(contrast.left_out, 'run')} without a partner left out)"
    if not ua.interval.reason:
        over += f", 95 % interval by {ua.interval.unit[:-1]} {signed(ua.interval.low)} to {signed(ua.interval.high)}"
    if ua.p is not None:
        over += f", p {p_words(ua.p)}"
    if runs > 1:
        over += f", higher in {contrast.wins} of {runs} pairs"
    best = f", the best of {contrast.candidates} on dev" if contrast.candidates > 1 else ""
    return (
        f"{_center_words(with_.runs[0], best)} UA {percent_sign(with_.ua)}, "
        f"without {percent_sign(without.ua)}: {signed(ua.difference)} points {over}. "
        f"WA {percent_sign(with_.wa)} with, {percent_sign(without.wa)} without."
    )


def _center_words(run: "RunRecord", more: str = "") -> str:
    """Return the start of a sentence: "With centre loss (λ 0.3, α 0.5)", or "Without centre loss"."""
    loss = run.settings.loss
    if not loss.center_weight:
        return "Without centre loss"
    return f"With centre loss (λ {loss.center_weight:g}, α {loss.center_rate:g}{more})"
