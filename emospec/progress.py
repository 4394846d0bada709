"""Progress of long work: the callback that reports it, and durations in words."""

from collections.abc import Callable

# Called with how many are done, and how many there are in all.
Progress = Callable[[int, int], None]


def roughly(seconds: float) -> str:
    """Return a duration in words, no more exact than an estimate is.

    >>> [roughly(seconds) for seconds in (0.2, 42, 700, 11_000)]
    ['1 s', '42 s', '12 min', '3 h 03 min']
    """
    if seconds < 100:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"
