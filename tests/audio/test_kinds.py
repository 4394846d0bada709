"""A file's kind is found by its first bytes; a name loses only the suffix of a recording."""

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from emospec.audio.discovery import count_unsupported, describe_unsupported, find_recordings
from emospec.audio.kinds import (
    OTHER_SUFFIXES,
    SUFFIXES,
    is_supported,
    stem_of,
    unsupported_kind,
    without_suffix,
)
from emospec.audio.reader import read_audio
from emospec.errors import AudioError
from emospec.inference.formats import render
from emospec.inference.timeline import Segment, Timeline

OTHERS = {
    "MPEG-4": b"\0\0\0 ftypM4A \0\0\0\0",
    "QuickTime": b"\0\0\0\x14ftypqt  \0\0\0\0",
    "QuickTime (mov)": b"\0\0\0\x08wide\0\0\x10\0mdat",
    "3GPP": b"\0\0\0 ftyp3gp4\0\0\0\0",
    "WebM": b"\x1aE\xdf\xa3\x9fB\x86\x81\x01B\xf7\x81\x01B\x82\x84webm",
    "Matroska": b"\x1aE\xdf\xa3\xa3B\x86\x81\x01B\x82\x88matroska",
    "Windows Media": b"0&\xb2u\x8ef\xcf\x11\xa6\xd9\0\xaa\0b\xcel",
    "AAC": b"\xff\xf1P\x80\x02\x1f\xfc\xde",
    "AAC (ADTS)": b"ID3\x04\0\0\0\0\0\x02ab\xff\xf9P\x80\x02\x1f\xfc\xde",
    "AMR": b"#!AMR-WB\n",
    "Core Audio": b"caff\0\x01\0\0desc",
    "AU": b".snd\0\0\0\x18",
    "Wave64": b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb",
    "AC-3": b"\x0bw\x00\x00",
    "mp2": b"\xff\xfd\x84\x04",
    "AVI": b"RIFF\0\0\0\0AVI LIST",
    "Speex": b"OggS\0\x02" + bytes(22) + b"Speex   1.2",
    "WAV of AAC": b"RIFF\0\0\0\0WAVEfmt \x12\0\0\0\xff\0\x01\0",
    "Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
    "zip archive": b"PK\x03\x04\x14\0\0\0",
    "web page": b"<!DOCTYPE html><html><head>",
}


@pytest.mark.parametrize("name", OTHERS)
def test_the_error_names_the_kind(name: str, tmp_path: Path) -> None:
    file = tmp_path / "call.wav"
    file.write_bytes(OTHERS[name] + bytes(300))
    kind = unsupported_kind(OTHERS[name])
    assert kind is not None
    assert name in kind.name
    assert not is_supported(OTHERS[name])
    for recording in (file, str(file), file.read_bytes()):
        with pytest.raises(AudioError) as caught:
            read_audio(recording)
        said = str(caught.value)
        assert name in said
        assert "damaged" not in said
        assert ("--ffmpeg" in said) == kind.has_sound
    if "LFS" in name:
        assert "git lfs pull" in said


@pytest.mark.parametrize(
    "kind",
    [("WAV", "PCM_16"), ("WAVEX", "FLOAT"), ("WAV", "GSM610"), ("WAV", "IMA_ADPCM"), ("WAV", "G721_32"), ("RF64", "PCM_16"),
     ("WAV", "NMS_ADPCM_32"), ("AIFF", "PCM_16"), ("FLAC", "PCM_16"), ("MP3", "MPEG_LAYER_III"), ("OGG", "OPUS"), ("OGG", "VORBIS")],
)  # fmt: skip
def test_what_is_read_here_is_of_no_other_kind(kind: tuple[str, str]) -> None:
    file = io.BytesIO()
    soundfile.write(file, np.zeros(8000), 8000, kind[1], format=kind[0])
    assert unsupported_kind(file.getvalue()[:4096]) is None
    assert is_supported(file.getvalue()[:4096])


def test_a_name_keeps_what_is_no_suffix_of_a_recording() -> None:
    assert stem_of("/calls/call.001") == "call.001"
    assert stem_of("call.001.MP3") == stem_of("call.001.m4a") == "call.001"
    assert without_suffix("v1.2/a") == "v1.2/a"
    assert without_suffix("v1.2/a.b.wav") == "v1.2/a.b"
    assert set(SUFFIXES).isdisjoint(OTHER_SUFFIXES)


@pytest.mark.parametrize(("recording", "name"), [("call.001", "call.001"), ("call.002.wav", "call.002")])
def test_speaker_turns_of_two_takes_have_two_names(recording: str, name: str) -> None:
    segment = Segment(0.0, 1.0, "sad", 0.9, (0.9, 0.1))
    assert f" {name} 1 " in render("rttm", Timeline(recording, 1.0, ("sad", "happy"), (segment,)))


def test_files_of_other_kinds_are_counted(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("a.wav", "b.m4a", "deep/c.M4A", "d.webm", "e.txt", ".f.m4a"):
        (tmp_path / name).touch()
    assert count_unsupported(tmp_path) == {".m4a": 2, ".webm": 1}
    assert count_unsupported(tmp_path / "a.wav") == {}
    assert find_recordings(tmp_path) == [tmp_path / "a.wav"]
    assert len(find_recordings(tmp_path, ffmpeg=True)) == 4
    said = describe_unsupported(count_unsupported(tmp_path), "calls")
    assert said.startswith(
        "calls: 3 recordings are left out, of kinds that are not read here: 2 .m4a, 1 .webm."
    )
    assert "--ffmpeg" in said
    (tmp_path / "a.wav").unlink()
    with pytest.raises(AudioError, match=r"2 \.m4a, 1 \.webm.*It holds no others"):
        find_recordings(tmp_path)
