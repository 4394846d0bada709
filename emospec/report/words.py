"""Numbers as the words of a report: percent, differences, intervals, durations."""

import hashlib
import math
import re
from collections.abc import Iterable

from markupsafe import Markup

from emospec.evaluation.statistics import Interval

SPEAKERS = {True: "speaker-dependent", False: "speaker-independent", None: "speakers unknown"}
"""What an overlap of test speakers with training or dev makes of a number."""


def distinct(values: Iterable[str]) -> list[str]:
    """Each value once, in order of appearance."""
    return list(dict.fromkeys(values))


def count(number: int, noun: str) -> str:
    """A number with its noun: "1 run", "2 runs"."""
    return f"{number} {noun}{'s' * (number != 1)}"


def percent(share: float) -> str:
    """A share in words, such as 78.1 % with a space that does not break, or "n/a"."""
    return "n/a" if math.isnan(share) else f"{100 * share:.1f}\u00a0%"


def signed(difference: float) -> str:
    """A difference in points with its sign, such as +3.1."""
    return f"{100 * difference:+.1f}".replace("-", "−")


def p_words(p: float) -> str:
    """A p value as it can be read: "0.023", or "< 0.001"."""
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"


def shown(value: float | None, reason: str, scale: float = 1.0, digits: int = 1) -> str:
    """A number for a table cell; NaN, null in JSON, is "n/a" with the reason."""
    if value is None or math.isnan(value):
        return Markup('<span class="na">n/a <small>{}</small></span>').format(reason)
    return f"{scale * value:.{digits}f}"


def between(interval: Interval) -> str:
    """An interval for a table cell, such as 71.2–80.4, or "n/a" with the reason."""
    if interval.reason:
        return Markup('<span class="na">n/a <small>{}</small></span>').format(interval.reason)
    return f"{100 * interval.low:.1f}–{100 * interval.high:.1f}"


def around(interval: Interval) -> str:
    """An interval of a difference in points, such as [−1.2, +4.0], or "n/a" with the reason."""
    return between(interval) if interval.reason else f"[{signed(interval.low)}, {signed(interval.high)}]"


def duration(seconds: float) -> str:
    """Whole seconds as "5 min 12 s" or "2 h 03 min"."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min {rest:02d} s"


def slug(words: str) -> str:
    """A file name from words: letters, digits, dots and dashes; of long ones the start and a hash."""
    name = re.sub(r"[^A-Za-z0-9.]+", "-", words.replace("λ", "lambda").replace("α", "alpha"))
    return name if len(name) <= 120 else f"{name[:111]}-{hashlib.sha256(words.encode()).hexdigest()[:8]}"
