"""Timelines as text for other programs: one function and one row of `FORMATS` each. Nothing here reads one.

Without an emotion, abstained or silent, CSV leaves emotion and confidence empty, JSON has null, TextGrid an empty
interval, as for a gap. The others have no entry.
"""

import csv
import html
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree
from xml.etree.ElementTree import SubElement

from emospec.audio.kinds import stem_of
from emospec.errors import TimelineError, did_you_mean
from emospec.files import to_json, write_text

if TYPE_CHECKING:
    from emospec.inference.timeline import Segment, Timeline

# Ticks a second.
_MILLISECONDS, _MICROSECONDS = 1_000, 1_000_000
# Characters that break a line, or that XML does not allow.
_UNPRINTABLE = re.compile(r"[\s\x00-\x1f\x7f-\x9f\ufffe\uffff]+")
# A date is required; today's would make equal timelines unequal files.
_EAF_ROOT = {
    "AUTHOR": "emospec",
    "DATE": "1970-01-01T00:00:00Z",
    "FORMAT": "3.0",
    "VERSION": "3.0",
    "xmlns:xsi": "http://www.w3.org/2001/XMLSchema-instance",
    "xsi:noNamespaceSchemaLocation": "http://www.mpi.nl/tools/elan/EAFv3.0.xsd",
}


@dataclass(frozen=True, slots=True)
class Format:
    """A way to write a timeline: the suffix of its files, with the dot, and the function that returns their text."""

    suffix: str
    description: str
    text: Callable[["Timeline"], str]


def render(name: str, timeline: "Timeline") -> str:
    r"""Return a timeline as the text of the format that `name`, a key of `FORMATS`, names.

    >>> from emospec.inference.timeline import Segment, Timeline
    >>> segments = Segment(0.0, 1.5, None, None), Segment(1.5, 3.0, "sad", 0.8)
    >>> timeline = Timeline("a.wav", 3.0, ("calm", "sad"), segments)
    >>> render("audacity", timeline)
    '1.500000\t3.000000\tsad\n'
    >>> render("rttm", timeline)
    'SPEAKER a 1 1.500 1.500 <NA> <NA> sad 0.800 <NA>\n'
    """
    # UTF-8 has no half of a surrogate pair: it becomes "?".
    return format_named(name).text(timeline).encode("utf-8", "replace").decode()


def format_named(name: str) -> Format:
    """Return the format of a name; TimelineError where there is none."""
    if name not in FORMATS:
        hint = did_you_mean(name, tuple(FORMATS)) or "."
        raise TimelineError(f"format {name!r} is not known{hint} Known: {', '.join(FORMATS)}")
    return FORMATS[name]


def format_for(path: Path, name: str | None = None) -> str:
    """Return the name of the format of a file that is to be written: the suffix's, which `name` must not contradict.

    >>> format_for(Path("a.textgrid")), format_for(Path("a.lab"), "audacity")
    ('textgrid', 'audacity')
    """
    by_suffix = {known.suffix.lower(): key for key, known in FORMATS.items()}
    of_path = by_suffix.get(path.suffix.lower())
    if name is None:
        if of_path is None:
            suffixes = ", ".join(known.suffix for known in FORMATS.values())
            raise TimelineError(f"{path}: its suffix says no format. Known: {suffixes}; or name the format")
        return of_path
    suffix = format_named(name).suffix
    if of_path not in (None, name):
        raise TimelineError(
            f"{path}: {path.suffix} is a file of format {of_path}, and {name} was asked for. "
            f"Name it *{suffix}, or ask for {of_path}"
        )
    return name


def write(name: str, timeline: "Timeline", path: Path) -> None:
    """Write `render` to a file, whole or not at all."""
    write_text(path, render(name, timeline))


def _csv(timeline: "Timeline") -> str:
    # RFC 4180. `p_CLASS` is the class's mean probability, empty without speech.
    text = io.StringIO()
    columns = [f"p_{name}" for name in timeline.classes]
    head = ["recording", "start_seconds", "end_seconds", "emotion", "confidence", *columns]
    writer = csv.DictWriter(text, head)
    writer.writeheader()
    writer.writerows(timeline.rows())
    return text.getvalue()


def _json(timeline: "Timeline") -> str:
    return to_json(asdict(timeline))


def _audacity(timeline: "Timeline") -> str:
    # Audacity manual, Importing and Exporting Labels: start, end and label, tab-separated.
    return "".join(
        f"{start / _MICROSECONDS:.6f}\t{end / _MICROSECONDS:.6f}\t{label}\n"
        for start, end, label, _ in _labelled(timeline, _MICROSECONDS)
    )


def _textgrid(timeline: "Timeline") -> str:
    # Praat manual, TextGrid file formats: a tier of intervals covers the recording.
    end = max(1, round(timeline.duration_seconds * _MICROSECONDS))
    intervals = list(_covering(timeline, end))
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", *_extent(0, end)]
    lines += ["tiers? <exists>", "size = 2", "item []:"]
    for number, (tier, place) in enumerate((("emotion", 0), ("confidence", 1)), 1):
        lines += [f"    item [{number}]:", '        class = "IntervalTier"', f'        name = "{tier}"']
        lines += [*_extent(0, end, 8), f"        intervals: size = {len(intervals)}"]
        for k, (start, stop, *texts) in enumerate(intervals, 1):
            text = texts[place].replace('"', '""')
            lines += [f"        intervals [{k}]:", *_extent(start, stop, 12), f'            text = "{text}"']
    return "\n".join(lines) + "\n"


def _covering(timeline: "Timeline", end: int) -> Iterator[tuple[int, int, str, str]]:
    """Yield start, end, emotion and confidence of intervals from 0 to `end`, in microseconds, without a gap."""
    position = 0
    for start, stop, segment in _ticks(timeline, _MICROSECONDS):
        if start > position:
            yield position, start, "", ""
        emotion = "" if segment.emotion is None else _line(segment.emotion)
        yield start, stop, emotion, _confidence(segment, "")
        position = stop
    if position < end:
        yield position, end, "", ""


def _extent(start: int, end: int, indent: int = 0) -> list[str]:
    pad = " " * indent
    return [f"{pad}xmin = {start / _MICROSECONDS:.6f}", f"{pad}xmax = {end / _MICROSECONDS:.6f}"]


def _eaf(timeline: "Timeline") -> str:
    # EAFv3.0.xsd of the ELAN project: one time-aligned tier, `emotion`.
    document = ElementTree.Element("ANNOTATION_DOCUMENT", _EAF_ROOT)
    header = SubElement(document, "HEADER", TIME_UNITS="milliseconds")
    name = _line(timeline.recording)
    mime = "audio/x-wav" if name.lower().endswith(".wav") else "unknown"
    SubElement(header, "MEDIA_DESCRIPTOR", MEDIA_URL=name, RELATIVE_MEDIA_URL=f"./{name}", MIME_TYPE=mime)
    slots = SubElement(document, "TIME_ORDER")
    tier = SubElement(document, "TIER", TIER_ID="emotion", ANNOTATOR="emospec", LINGUISTIC_TYPE_REF="emotion")
    # Each annotation has its own time slots, as in ELAN's files, so that moving one moves no neighbour.
    for k, (start, end, label, _) in enumerate(_labelled(timeline, _MILLISECONDS), 1):
        first, last = f"ts{2 * k - 1}", f"ts{2 * k}"
        SubElement(slots, "TIME_SLOT", TIME_SLOT_ID=first, TIME_VALUE=str(start))
        SubElement(slots, "TIME_SLOT", TIME_SLOT_ID=last, TIME_VALUE=str(end))
        annotation = SubElement(tier, "ANNOTATION")
        ids = {"ANNOTATION_ID": f"a{k}", "TIME_SLOT_REF1": first, "TIME_SLOT_REF2": last}
        SubElement(SubElement(annotation, "ALIGNABLE_ANNOTATION", ids), "ANNOTATION_VALUE").text = label
    kind = {"LINGUISTIC_TYPE_ID": "emotion", "TIME_ALIGNABLE": "true", "GRAPHIC_REFERENCES": "false"}
    SubElement(document, "LINGUISTIC_TYPE", kind)
    ElementTree.indent(document, "    ")
    text = ElementTree.tostring(document, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def _rttm(timeline: "Timeline") -> str:
    # NIST, RT-09 evaluation plan, appendix A: type SPEAKER, file without its extension, channel 1, start and
    # duration in seconds, orthography and speaker type not available, the emotion in place of the speaker's name,
    # its confidence, signal look-ahead time not available.
    file = _line(stem_of(timeline.recording)).replace(" ", "_")
    return "".join(
        f"SPEAKER {file} 1 {start / _MILLISECONDS:.3f} {(end - start) / _MILLISECONDS:.3f} "
        f"<NA> <NA> {label.replace(' ', '_')} {_confidence(s, '<NA>')} <NA>\n"
        for start, end, label, s in _labelled(timeline, _MILLISECONDS)
    )


def _srt(timeline: "Timeline") -> str:
    # SRT has no escape: `-->` in a name becomes `->`.
    return "".join(
        f"{k}\n{_clock(start, ',')} --> {_clock(end, ',')}\n{re.sub('--+>', '->', label)}\n\n"
        for k, (start, end, label, _) in enumerate(_labelled(timeline, _MILLISECONDS), 1)
    )


def _vtt(timeline: "Timeline") -> str:
    # W3C, WebVTT: cues with `&`, `<` and `>` escaped.
    cues = (
        f"\n{_clock(start, '.')} --> {_clock(end, '.')}\n{html.escape(label, quote=False)}\n"
        for start, end, label, _ in _labelled(timeline, _MILLISECONDS)
    )
    return "WEBVTT\n" + "".join(cues)


FORMATS: dict[str, Format] = {
    "csv": Format(".csv", "a table, one row per segment, with all probabilities", _csv),
    "json": Format(".json", "the whole timeline, with all probabilities", _json),
    "audacity": Format(".txt", "an Audacity label track", _audacity),
    "textgrid": Format(".TextGrid", "a Praat TextGrid with tiers of emotion and confidence", _textgrid),
    "elan": Format(".eaf", "an ELAN document with a tier of emotion", _eaf),
    "rttm": Format(".rttm", "RTTM lines, the emotion as name, with confidence", _rttm),
    "srt": Format(".srt", "SubRip subtitles", _srt),
    "vtt": Format(".vtt", "WebVTT subtitles", _vtt),
}


def _ticks(timeline: "Timeline", per_second: int) -> Iterator[tuple[int, int, "Segment"]]:
    # CSV and JSON have the times as they are, Audacity and TextGrid in microseconds, the others in milliseconds. Each
    # boundary is rounded once, so that neighbours still touch; a segment that then has no length is left out.
    for s in timeline.segments:
        start, end = round(s.start_seconds * per_second), round(s.end_seconds * per_second)
        if start < end:
            yield start, end, s


def _labelled(timeline: "Timeline", per_second: int) -> Iterator[tuple[int, int, str, "Segment"]]:
    for start, end, s in _ticks(timeline, per_second):
        if s.emotion is not None:
            yield start, end, _line(s.emotion), s


def _line(text: str) -> str:
    # Except in CSV and JSON: white space and control characters become one space, an empty name becomes "?".
    return _UNPRINTABLE.sub(" ", text).strip() or "?"


def _confidence(segment: "Segment", missing: str) -> str:
    return missing if segment.confidence is None else f"{segment.confidence:.3f}"


def _clock(milliseconds: int, point: str) -> str:
    seconds, rest = divmod(milliseconds, _MILLISECONDS)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{point}{rest:03d}"
