"""Recordings of other kinds: left out with a line, named in an error, or decoded by ffmpeg."""

import io
import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from conftest import error_of, tone
from emospec.audio import ffmpeg
from emospec.audio.containers import check_declared
from emospec.audio.reader import read_audio, read_blocks, read_part
from emospec.cli import run_command_line
from emospec.errors import AudioError, LongAudioError
from emospec.inference.recognizer import Recognizer

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not here")
HUM = tone(440, 1.0)


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a WAV, and of the same sound in other kinds; without ffmpeg these are first bytes alone."""
    folder = tmp_path_factory.mktemp("calls")
    soundfile.write(folder / "1.wav", HUM, 16_000)
    for suffix in ("m4a", "mkv", "w64", "caf"):
        command = ["ffmpeg", "-v", "error", "-i", folder / "1.wav", folder / f"2.{suffix}"]
        if shutil.which("ffmpeg") is None:
            (folder / f"2.{suffix}").write_bytes(b"\0\0\0 ftypM4A \0\0\0\0")
        else:
            subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return folder


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run the command line in this process: its exit code, what it printed, and what it said aside."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["emospec", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            run_command_line()
        printed = capsys.readouterr()
        return int(stop.value.code or 0), printed.out, printed.err

    return run


def test_recordings_of_other_kinds_do_not_vanish(
    calls: Path, hum_model: Path, tmp_path: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    code, out, aside = run("predict", calls, "--model", hum_model, "--json")
    assert code == 1
    assert [Path(row["recording"]).name for row in json.loads(out)] == ["1.wav"]
    (line,) = aside.splitlines()
    assert (
        "4 recordings are left out, of kinds that are not read here: 1 .caf, 1 .m4a, 1 .mkv, 1 .w64." in line
    )
    assert "--ffmpeg" in line
    assert "ffmpeg -i NAME" in line
    code, _, aside = run("embed", calls, "--model", hum_model, "--out", tmp_path / "z.npz")
    assert (code, "4 recordings are left out" in aside) == (1, True)
    for _ in range(2):  # what is finished tells it again
        code, out, aside = run(
            "score", calls, "--model", hum_model, "--out", tmp_path / "out", "--jobs", 1, "--json"
        )
        assert (code, "4 recordings are left out" in aside) == (1, True)
        assert sum(json.loads(out)["left_out"].values()) == 4
        assert json.loads(out)["files"] == 1


def test_the_error_of_a_single_recording_names_its_kind(
    calls: Path, hum_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = error_of(monkeypatch, capsys, "timeline", calls / "2.m4a", "--model", hum_model)
    assert "2.m4a: is an MPEG-4 (m4a, mp4) file, not WAV" in said
    assert "damaged" not in said


def test_where_ffmpeg_is_missing_one_line_says_so(
    calls: Path, hum_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ffmpeg.shutil, "which", lambda _: None)
    said = error_of(monkeypatch, capsys, "predict", calls, "--model", hum_model, "--ffmpeg")
    assert "ffmpeg is not on the PATH" in said
    with pytest.raises(AudioError, match="ffmpeg is not on the PATH"):
        read_audio(calls / "2.m4a", ffmpeg=True)


@needs_ffmpeg
def test_ffmpeg_takes_all_of_a_folder(
    calls: Path, hum_model: Path, tmp_path: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    code, out, aside = run("predict", calls, "--model", hum_model, "--ffmpeg", "--json")
    rows = json.loads(out)
    assert (code, len(rows)) == (0, 5), aside
    assert len({row["emotion"] for row in rows}) == 1
    code, out, _ = run(
        *("score", calls, "--model", hum_model, "--out", tmp_path / "out", "--jobs", 1, "--ffmpeg", "--json")
    )
    assert (code, json.loads(out)["files"], json.loads(out)["failed"]) == (0, 5, 0)


@needs_ffmpeg
@pytest.mark.parametrize("suffix", ["w64", "caf"])
def test_what_is_not_compressed_is_bit_exact(suffix: str, calls: Path) -> None:
    plain, file = read_audio(calls / "1.wav"), calls / f"2.{suffix}"
    np.testing.assert_array_equal(read_audio(file, ffmpeg=True), plain)
    np.testing.assert_array_equal(read_audio(file.read_bytes(), ffmpeg=True), plain)
    np.testing.assert_array_equal(np.concatenate(list(read_blocks(file, 0.1, ffmpeg=True))), plain)
    np.testing.assert_array_equal(read_audio(file, 0.25, 0.5, ffmpeg=True), plain[4000:8000])
    part = read_part(file, lambda samples: (samples // 2, samples), ffmpeg=True)
    np.testing.assert_array_equal(part[0], plain[8000:])
    assert part[1:] == (1.0, 0.5)


@needs_ffmpeg
def test_a_long_recording_is_decoded_twice_and_not_held(calls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ffmpeg, "_HELD_BYTES", 1000)
    np.testing.assert_array_equal(read_audio(calls / "2.w64", ffmpeg=True), read_audio(calls / "1.wav"))
    blocks = read_blocks(calls / "2.w64", 0.1, ffmpeg=True)
    next(blocks)
    blocks.close()  # ends ffmpeg


@needs_ffmpeg
def test_a_channel_and_the_longest_length_hold_with_ffmpeg(tmp_path: Path) -> None:
    stereo = np.stack([HUM, np.zeros_like(HUM)], axis=1)
    soundfile.write(tmp_path / "a.caf", stereo, 16_000, format="CAF")
    assert np.abs(read_audio(tmp_path / "a.caf", channel=1, ffmpeg=True)).max() > 0.2
    assert not read_audio(tmp_path / "a.caf", channel=2, ffmpeg=True).any()
    with pytest.raises(AudioError, match="has 2 channels, so there is no channel 3"):
        read_audio(tmp_path / "a.caf", channel=3, ffmpeg=True)
    with pytest.raises(LongAudioError):
        next(read_blocks(tmp_path / "a.caf", longest_seconds=0.5, ffmpeg=True))


@pytest.mark.parametrize(
    ("form", "order"), [("CAF", "FILE"), ("CAF", "LITTLE"), ("AU", "FILE"), ("AU", "LITTLE"), ("W64", "FILE")]
)
def test_samples_that_ffmpeg_misses_without_a_word(form: str, order: str) -> None:
    file = io.BytesIO()
    soundfile.write(file, HUM, 16_000, "PCM_16", order, format=form)
    content = file.getvalue()
    check_declared(io.BytesIO(content), "a")
    for cut in (len(content) - 2, len(content) // 2):
        with pytest.raises(AudioError, match=f"a: is truncated: {cut} of {len(content)} bytes are there"):
            check_declared(io.BytesIO(content[:cut]), "a")


def test_a_length_that_its_writer_did_not_know_is_none() -> None:
    for head in (
        b".snd" + struct.pack(">II", 24, 2**32 - 1),
        b"caff\0\1\0\0data" + struct.pack(">q", -1),
        b"riff" + bytes(12) + struct.pack("<q", -1),
        b"caff\0\1\0\0",
        b".snd",
        b"riff",
    ):
        check_declared(io.BytesIO(head + bytes(100)), "a")


@needs_ffmpeg
def test_a_truncated_recording_of_plain_samples_raises(calls: Path) -> None:
    content = (calls / "2.caf").read_bytes()
    with pytest.raises(AudioError, match="is truncated"):
        read_audio(content[: len(content) // 4 * 2], ffmpeg=True)


@needs_ffmpeg
@pytest.mark.parametrize("cut", [100, 3000])
def test_a_recording_that_ffmpeg_complains_of_raises(cut: int, calls: Path) -> None:
    content = (calls / "2.m4a").read_bytes()[:cut]
    with pytest.raises(AudioError) as caught:
        read_audio(content, ffmpeg=True)
    said = str(caught.value)
    assert said.startswith("the recording: cannot be decoded by ffmpeg (")
    assert "/dev/fd" not in said
    assert "\n" not in said


@needs_ffmpeg
@pytest.mark.parametrize(
    "playlist",
    [
        "#EXTM3U\n#EXTINF:1,\nfile://{0}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile '{0}'\n",
        "\x01\x02 no text\nffconcat version 1.0\nfile {0}\n",
    ],
)
def test_a_playlist_opens_no_other_file(playlist: str, calls: Path, tmp_path: Path) -> None:
    file = tmp_path / "list.mkv"
    file.write_bytes(playlist.format(calls / "1.wav").encode())
    for recording in (file, file.read_bytes()):
        with pytest.raises(AudioError):
            read_audio(recording, ffmpeg=True)


@needs_ffmpeg
def test_what_is_read_here_is_never_given_to_ffmpeg(
    calls: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(ffmpeg.subprocess, "Popen", None)
    assert len(read_audio(calls / "1.wav", ffmpeg=True)) == 16_000
    (tmp_path / "a.wav").write_text("<html>no such recording</html>")
    with pytest.raises(AudioError, match="web page"):
        read_audio(tmp_path / "a.wav", ffmpeg=True)


@needs_ffmpeg
def test_a_recogniser_with_ffmpeg(calls: Path, hum_model: Path) -> None:
    recognizer = Recognizer(hum_model, threads=1, ffmpeg=True)
    same = [recognizer.predict(recording).probabilities for recording in (calls / "1.wav", calls / "2.w64")]
    assert same[0] == same[1]
    assert recognizer.predict((calls / "2.caf").read_bytes()).probabilities == same[0]
    segments = recognizer.timeline(calls / "2.w64").segments
    assert segments == recognizer.timeline(calls / "1.wav").segments


@needs_ffmpeg
def test_a_decoder_hands_other_kinds_to_a_process_of_ffmpeg(calls: Path) -> None:
    pytest.importorskip("fastapi")
    from emospec.inference.recordings import RecordingReader
    from emospec.serving.decoding import Decoder, DecoderLimits, DecoderLostError

    file = io.BytesIO()
    soundfile.write(file, np.stack([HUM, 0 * HUM], axis=1), 16_000, "FLOAT", format="CAF")
    decoder = Decoder(RecordingReader(1400, 5.0, ffmpeg=True), DecoderLimits(10**6, 5.0))
    plain = Decoder(RecordingReader(1400, 5.0), DecoderLimits(10**6, 5.0))
    try:
        wav, caf = (calls / "1.wav").read_bytes(), file.getvalue()
        expected = read_audio(calls / "1.wav")
        np.testing.assert_array_equal(decoder.decode(wav).waveform, expected)
        np.testing.assert_allclose(decoder.decode(caf, False, 1).waveform, expected, atol=1e-4)
        np.testing.assert_allclose(np.concatenate(list(decoder.blocks(caf, 1))), expected, atol=1e-4)
        with pytest.raises(AudioError, match="cannot be decoded by ffmpeg"):
            decoder.decode(caf[:100])
        with pytest.raises(AudioError, match="is a Core Audio"):
            plain.decode(caf)
        decoder.stop()
        with pytest.raises(DecoderLostError):
            decoder.decode(caf)
    finally:
        decoder.stop()
        plain.stop()


@needs_ffmpeg
def test_nothing_of_ffmpeg_is_left_running(calls: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    for _ in range(3):
        read_audio(calls / "2.m4a", ffmpeg=True)
    assert len(os.listdir("/proc/self/fd")) <= len(before)
