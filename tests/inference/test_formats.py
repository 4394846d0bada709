"""Every format, read back by a library that is not ours; RTTM and Audacity, for which none is kept, by their fields."""

import html
import io
import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pympi
import pytest
import srt
import webvtt
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from praatio import textgrid

from emospec.errors import TimelineError
from emospec.inference.formats import FORMATS, render, write
from emospec.inference.timeline import Segment, Timeline

RATE = 16_000
Entry = tuple[float, float, str]
"""Start and end in seconds, label; an empty label where the format writes segments without an emotion."""

TIMELINE = Timeline(
    "an interview.wav",
    7.25,
    ("calm", "angry"),
    (
        Segment(0.0, 1.5, None, None),
        Segment(1.5, 2.0001, "calm", 0.7, (0.7, 0.3)),
        Segment(2.0001, 2.0004, "angry", 0.6, (0.4, 0.6)),
        Segment(2.0004, 5.0, None, None, (0.5, 0.5)),
        Segment(5.0, 7.0, "angry", 0.875, (0.125, 0.875)),
    ),
)


def read_csv(path: Path) -> list[Entry]:
    table = pd.read_csv(path, keep_default_na=False, dtype={"emotion": str})
    return list(zip(table.start_seconds, table.end_seconds, table.emotion, strict=True))


def read_json(path: Path) -> list[Entry]:
    content = json.loads(path.read_text(encoding="utf-8"))
    return [(s["start_seconds"], s["end_seconds"], s["emotion"] or "") for s in content["segments"]]


def read_textgrid(path: Path) -> list[Entry]:
    grid = textgrid.openTextgrid(str(path), includeEmptyIntervals=True, reportingMode="error")
    emotion, confidence = grid.getTier("emotion"), grid.getTier("confidence")
    assert [e[:2] for e in emotion.entries] == [e[:2] for e in confidence.entries]
    assert [grid.minTimestamp, *(e.end for e in emotion.entries)] == [
        *(e.start for e in emotion.entries),
        grid.maxTimestamp,
    ]
    other = pympi.TextGrid(str(path)).get_tier("emotion").get_all_intervals()
    assert [(a, b) for a, b, _ in other] == [e[:2] for e in emotion.entries]
    return [(e.start, e.end, e.label) for e in emotion.entries]


def read_eaf(path: Path) -> list[Entry]:
    rows = pympi.Eaf(str(path)).get_annotation_data_for_tier("emotion")
    return sorted((row[0] / 1000, row[1] / 1000, row[2]) for row in rows)


def read_srt(path: Path) -> list[Entry]:
    content = list(srt.parse(path.read_text(encoding="utf-8"), ignore_errors=False))
    assert [c.index for c in content] == list(range(1, len(content) + 1))
    return [(c.start.total_seconds(), c.end.total_seconds(), c.content) for c in content]


def read_vtt(path: Path) -> list[Entry]:
    def seconds(clock: str) -> float:
        hours, minutes, rest = clock.split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(rest)

    captions = webvtt.read(str(path)).captions
    return [(seconds(c.start), seconds(c.end), html.unescape(c.raw_text)) for c in captions]


def read_audacity(path: Path) -> list[Entry]:
    """Start, end, label, tab-separated; a line each."""
    lines = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]
    return [(float(start), float(end), label) for start, end, label in lines]


def read_rttm(path: Path) -> list[Entry]:
    """Type, file, channel, start, duration, orthography, speaker type, name, confidence, look-ahead."""
    entries = []
    for line in path.read_text(encoding="utf-8").splitlines():
        kind, file, channel, start, length, spoken, speaker, name, confidence, ahead = line.split(" ")
        assert (kind, channel, spoken, speaker, ahead) == ("SPEAKER", "1", "<NA>", "<NA>", "<NA>")
        assert file
        assert confidence == "<NA>" or 0 <= float(confidence) <= 1
        entries.append((float(start), round(float(start) + float(length), 3), name))
    return entries


READERS: dict[str, Callable[[Path], list[Entry]]] = {
    "csv": read_csv,
    "json": read_json,
    "audacity": read_audacity,
    "textgrid": read_textgrid,
    "elan": read_eaf,
    "rttm": read_rttm,
    "srt": read_srt,
    "vtt": read_vtt,
}
TICKS = {"audacity": 10**6, "textgrid": 10**6, "elan": 1000, "rttm": 1000, "srt": 1000, "vtt": 1000}
EXACT, WITH_EMPTY = ("csv", "json"), ("csv", "json", "textgrid")


def expected_label(name: str, label: str) -> str:
    """Return a label by the rule of the format, character by character."""
    if name in EXACT:
        return label
    plain = "".join(
        " " if c.isspace() or ord(c) < 32 or 127 <= ord(c) < 160 or c in "\ufffe\uffff" else c for c in label
    )
    line = " ".join(plain.split()) or "?"
    if name == "srt":
        while "-->" in line:
            line = line.replace("-->", "->")
    return line.replace(" ", "_") if name == "rttm" else line


def expected(name: str, timeline: Timeline) -> list[Entry]:
    entries = []
    for s in timeline.segments:
        start, end = s.start_seconds, s.end_seconds
        if name in TICKS:
            start, end = round(start * TICKS[name]) / TICKS[name], round(end * TICKS[name]) / TICKS[name]
            if start == end:
                continue
        if s.emotion is not None:
            entries.append((start, end, expected_label(name, s.emotion)))
        elif name in WITH_EMPTY:
            entries.append((start, end, ""))
    return entries


def check(name: str, timeline: Timeline, path: Path) -> None:
    write(name, timeline, path)
    entries, promised = READERS[name](path), expected(name, timeline)
    if name == "textgrid":  # it covers the recording: gaps are intervals too
        entries = [e for e in entries if any(e[:2] == pytest.approx(p[:2], abs=1e-6) for p in promised)]
    assert [label for *_, label in entries] == [label for *_, label in promised]
    for entry, promise in zip(entries, promised, strict=True):
        assert entry[:2] == pytest.approx(promise[:2], abs=1e-9)
        assert entry[0] < entry[1]
    for one, other in itertools.pairwise(entries):
        assert one[1] <= other[0]
    ends = {s.end_seconds for s in timeline.segments}
    assert all(min(abs(end - e) for e in ends) <= 1e-3 for _, end, _ in entries)


def test_every_format_has_a_reader() -> None:
    assert set(READERS) == set(FORMATS)
    assert all(f.suffix.startswith(".") and f.description for f in FORMATS.values())
    assert len({f.suffix for f in FORMATS.values()}) == len(FORMATS)


@pytest.mark.parametrize("name", FORMATS)
def test_a_timeline_is_read_back(name: str, tmp_path: Path) -> None:
    check(name, TIMELINE, tmp_path / f"a{FORMATS[name].suffix}")


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("silent", [(), (Segment(0.0, 2.0, None, None),)], ids=["nothing", "silence"])
def test_a_recording_without_emotion(name: str, silent: tuple[Segment, ...], tmp_path: Path) -> None:
    if name == "vtt":
        assert render(name, Timeline("x.wav", 2.0, ("calm",), silent)) == "WEBVTT\n"
    else:
        check(name, Timeline("x.wav", 2.0, ("calm",), silent), tmp_path / "x")


HOSTILE = st.one_of(
    st.sampled_from(
        [
            'say "sad"', '"', '""', "a\tb", "a\nb", "a\r\nb", "\r", "<b>&amp;</b>", "]]>", "a --> b", "---->", "-->",
            "00:00:01,000 --> 00:00:02,000", "NOTE", "WEBVTT", "1", "a,b;c", "traurig ä", "悲しい", "😢", "\u2028x", "a\x00b",
            "\x85", "\u00a0x", "\ufeffx", "NA", "nan", "<NA>", "text = ", 'xmin = 0 "', "{\\an8}", "../x", "\ufffe", ";;",
        ]
    ),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12),
)  # fmt: skip


@st.composite
def timelines(draw: st.DrawFn) -> Timeline:
    labels = draw(st.lists(HOSTILE.filter(str.strip), min_size=1, max_size=4, unique=True))
    lengths = draw(st.lists(st.integers(1, 30) | st.integers(1, 400_000), max_size=8))
    position, found = draw(st.integers(0, 20_000)), []
    for length in lengths:
        emotion = draw(st.none() | st.sampled_from(labels))
        start, position = position, position + length
        confidence = None if emotion is None else draw(st.floats(0, 1))
        found.append(Segment(start / RATE, position / RATE, emotion, confidence))
    duration = (position + draw(st.integers(1, 20_000))) / RATE
    return Timeline(draw(HOSTILE.filter(str.strip)), duration, tuple(labels), tuple(found))


@pytest.mark.parametrize("name", FORMATS)
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(timeline=timelines())
def test_hostile_labels_and_times_survive(name: str, tmp_path: Path, timeline: Timeline) -> None:
    check(name, timeline, tmp_path / "x.txt")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(timelines())
def test_confidence_of_a_textgrid_stands_where_its_emotion_does(timeline: Timeline) -> None:
    texts = re.findall(r'text = "(.*)"$', render("textgrid", timeline), re.MULTILINE)
    emotions, confidences = texts[: len(texts) // 2], texts[len(texts) // 2 :]
    assert [bool(e) for e in emotions] == [bool(c) for c in confidences]


CHILDREN = {
    "ANNOTATION_DOCUMENT": ["HEADER", "TIME_ORDER", "TIER", "LINGUISTIC_TYPE"],
    "HEADER": ["MEDIA_DESCRIPTOR"],
    "TIME_ORDER": ["TIME_SLOT"],
    "TIER": ["ANNOTATION"],
    "ANNOTATION": ["ALIGNABLE_ANNOTATION"],
    "ALIGNABLE_ANNOTATION": ["ANNOTATION_VALUE"],
}
"""Of the sequences of EAFv3.0.xsd, what we use, in the schema's order."""
ATTRIBUTES = {
    "ANNOTATION_DOCUMENT": ({"DATE", "AUTHOR", "VERSION"}, {"FORMAT"}),
    "HEADER": (set(), {"MEDIA_FILE", "TIME_UNITS"}),
    "MEDIA_DESCRIPTOR": ({"MEDIA_URL", "MIME_TYPE"}, {"RELATIVE_MEDIA_URL", "TIME_ORIGIN", "EXTRACTED_FROM"}),
    "TIME_SLOT": ({"TIME_SLOT_ID"}, {"TIME_VALUE"}),
    "TIER": (
        {"TIER_ID", "LINGUISTIC_TYPE_REF"},
        {"PARTICIPANT", "ANNOTATOR", "DEFAULT_LOCALE", "PARENT_REF"},
    ),
    "ALIGNABLE_ANNOTATION": ({"ANNOTATION_ID", "TIME_SLOT_REF1", "TIME_SLOT_REF2"}, set()),
    "LINGUISTIC_TYPE": ({"LINGUISTIC_TYPE_ID"}, {"TIME_ALIGNABLE", "GRAPHIC_REFERENCES", "CONSTRAINTS"}),
}
"""Required and optional attributes of the schema."""


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(timelines())
def test_an_eaf_has_the_structure_of_its_schema(timeline: Timeline) -> None:
    root = ElementTree.fromstring(render("elan", timeline).encode())
    assert root.tag == "ANNOTATION_DOCUMENT"
    schema = root.attrib.pop("{http://www.w3.org/2001/XMLSchema-instance}noNamespaceSchemaLocation")
    assert schema.endswith(f"EAFv{root.get('FORMAT')}.xsd")
    for element in root.iter():
        order = CHILDREN.get(element.tag, [])
        places = [order.index(child.tag) for child in element]
        assert places == sorted(places)
        required, optional = ATTRIBUTES.get(element.tag, (set(), set()))
        assert required <= set(element.attrib) <= required | optional
    assert [len(root.findall(tag)) for tag in CHILDREN["ANNOTATION_DOCUMENT"]] == [1, 1, 1, 1]
    ids = [e.attrib[key] for e in root.iter() for key in ("TIME_SLOT_ID", "ANNOTATION_ID") if key in e.attrib]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[A-Za-z_][\w.-]*", i, re.ASCII) for i in ids)  # xsd:ID
    times = {slot.attrib["TIME_SLOT_ID"]: int(slot.attrib["TIME_VALUE"]) for slot in root.iter("TIME_SLOT")}
    assert list(times.values()) == sorted(times.values())
    used = [
        (e.attrib["TIME_SLOT_REF1"], e.attrib["TIME_SLOT_REF2"]) for e in root.iter("ALIGNABLE_ANNOTATION")
    ]
    assert sorted(times) == sorted(slot for pair in used for slot in pair)
    kinds = {kind.attrib["LINGUISTIC_TYPE_ID"] for kind in root.iter("LINGUISTIC_TYPE")}
    assert {tier.attrib["LINGUISTIC_TYPE_REF"] for tier in root.iter("TIER")} == kinds


def test_a_table_has_all_probabilities() -> None:
    table = pd.read_csv(io.StringIO(render("csv", TIMELINE)))
    assert list(table) == [
        "recording", "start_seconds", "end_seconds", "emotion", "confidence", "p_calm", "p_angry",
    ]  # fmt: skip
    assert table.p_angry.isna().tolist() == [True, False, False, False, False]
    assert table.confidence.isna().tolist() == [True, False, False, True, False]
    assert table.iloc[4].tolist() == ["an interview.wav", 5.0, 7.0, "angry", 0.875, 0.125, 0.875]


def test_json_is_the_timeline() -> None:
    content = json.loads(render("json", TIMELINE))
    found = tuple(
        Segment(**{**s, "probabilities": tuple(s["probabilities"])}) for s in content.pop("segments")
    )
    assert Timeline(**{**content, "classes": tuple(content["classes"])}, segments=found) == TIMELINE


def test_rttm_has_no_spaces_but_between_its_ten_fields() -> None:
    timeline = Timeline("a talk, 2.wav", 1.0, ("very sad",), (Segment(0.0, 1.0, "very sad", 0.5),))
    assert render("rttm", timeline) == "SPEAKER a_talk,_2 1 0.000 1.000 <NA> <NA> very_sad 0.500 <NA>\n"


def test_long_recordings_keep_two_digits_and_more() -> None:
    timeline = Timeline("x", 400_000.0, ("sad",), (Segment(10_799.9996, 360_000.5, "sad", 1.0),))
    assert "03:00:00,000 --> 100:00:00,500" in render("srt", timeline)
    assert "03:00:00.000 --> 100:00:00.500" in render("vtt", timeline)


@pytest.mark.parametrize("name", FORMATS)
def test_half_a_surrogate_pair_can_be_written(name: str, tmp_path: Path) -> None:
    timeline = Timeline("a\udcff.wav", 1.0, ("s\ud800d",), (Segment(0.0, 1.0, "s\ud800d", 0.5),))
    write(name, timeline, tmp_path / "x")
    assert "s?d" in (tmp_path / "x").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("word", "hint"), [("textgird", "'textgrid'"), ("cvs", "'csv'"), ("zzz", "Known: csv")]
)
def test_an_unknown_format_names_the_nearest(word: str, hint: str, tmp_path: Path) -> None:
    with pytest.raises(TimelineError, match=f"format '{word}' is not known.*{hint}"):
        write(word, TIMELINE, tmp_path / "x")
    assert not list(tmp_path.iterdir())
