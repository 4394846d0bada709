"""Emotions of a recording over its time: `segments` makes the segments, `formats` writes the timeline."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from emospec.errors import TimelineError


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a recording with one emotion, or with none.

    Attributes:
        start_seconds, end_seconds: its place in the recording.
        emotion: a class; None where no class reached the threshold (abstained) or without speech.
        confidence: mean probability of `emotion` over the windows within, 0 to 1; None without an emotion.
        probabilities: of each class, the mean over the windows within; empty without speech.
    """

    start_seconds: float
    end_seconds: float
    emotion: str | None
    confidence: float | None
    probabilities: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Timeline:
    """The segments of one recording, in order and without overlap; a gap counts as no speech.

    A name of blanks, classes that are not different words, and segments that do not fit raise TimelineError.

    >>> Timeline("a.wav", 2.0, ("calm", "sad"), (Segment(0.0, 2.0, "angry", 0.9),))
    Traceback (most recent call last):
    ...
    emospec.errors.TimelineError: timeline of 'a.wav': segment 0 says 'angry', which is none of the classes calm, sad
    """

    recording: str
    duration_seconds: float
    classes: tuple[str, ...]
    segments: tuple[Segment, ...]

    def __post_init__(self) -> None:
        for mistake in self._mistakes():
            raise TimelineError(f"timeline of {self.recording!r}: {mistake}")

    @property
    def has_speech(self) -> bool:
        """Whether there is speech: a segment has probabilities, or an emotion."""
        return any(s.probabilities or s.emotion is not None for s in self.segments)

    def rows(self) -> list[dict[str, Any]]:
        """Return a row per segment, for `pandas.DataFrame` and the like; `p_CLASS` is None without speech.

        >>> Timeline("a.wav", 2.0, ("calm",), (Segment(0.0, 2.0, "calm", 0.9, (0.9,)),)).rows()
        [{'recording': 'a.wav', 'start_seconds': 0.0, 'end_seconds': 2.0, 'emotion': 'calm', 'confidence': 0.9, 'p_calm': 0.9}]
        """
        head, columns = (
            ("start_seconds", "end_seconds", "emotion", "confidence"),
            [f"p_{c}" for c in self.classes],
        )
        return [
            {"recording": self.recording}
            | {name: getattr(s, name) for name in head}
            # Silence has no probabilities: its columns are there, and empty.
            | dict(zip_longest(columns, s.probabilities))
            for s in self.segments
        ]

    def write(self, path: Path | str, form: str | None = None) -> None:
        """Write the timeline to a file, whole or not at all; `form` names a format of `FORMATS` if the suffix does not."""
        from emospec.inference.formats import format_for, write

        write(format_for(Path(path), form), self, Path(path))

    def _mistakes(self) -> Iterator[str]:
        if not self.recording.strip():
            yield "the recording needs a name"
        if not 0 < self.duration_seconds < math.inf:
            yield f"the duration must be above 0 s, found {self.duration_seconds:g}"
        if len(set(self.classes)) < len(self.classes) or not all(c.strip() for c in self.classes):
            yield f"classes must be different words, found {', '.join(map(repr, self.classes))}"
        last = 0.0
        for place, s in enumerate(self.segments):
            if not last <= s.start_seconds < s.end_seconds <= self.duration_seconds:
                yield (
                    f"segment {place} is {s.start_seconds:g} s to {s.end_seconds:g} s; segments must have a length, follow "
                    f"one another without overlap and lie within {self.duration_seconds:g} s"
                )
            if s.emotion is not None and s.emotion not in self.classes:
                yield f"segment {place} says {s.emotion!r}, which is none of the classes {', '.join(self.classes)}"
            if len(s.probabilities) not in (0, len(self.classes)):
                yield f"segment {place} has {len(s.probabilities)} probabilities for {len(self.classes)} classes"
            last = s.end_seconds
