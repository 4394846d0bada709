"""A recording in blocks is the recording whole, in memory that does not grow; a resampler has no seams."""

import contextlib
import io
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from test_reader import FORMATS, encoded, piped, tone, with_frames

from broken_audio import Recording, run
from emospec.audio import reader as audio
from emospec.audio.reader import read_audio, read_blocks
from emospec.audio.waveform import Resampler
from emospec.errors import AudioError, ConfigError

RATES = [8000, 11_025, 22_050, 44_100, 48_000]
NOISE = np.random.default_rng(0).uniform(-1, 1, 200_000).astype(np.float32)
TELEPHONY = [("WAV", "GSM610"), ("WAV", "G721_32"), ("WAV", "NMS_ADPCM_32")]


def resampled(samples: NDArray[np.float32], rate: int, cuts: list[int]) -> NDArray[np.float32]:
    resampler = Resampler(rate)
    ends = sorted({0, len(samples), *(cut for cut in cuts if cut < len(samples))})
    parts = [resampler.push(samples[a:b]) for a, b in pairwise(ends)]
    return np.concatenate([*parts, resampler.finish()])


@settings(max_examples=60, deadline=None)
@given(
    rate=st.sampled_from(RATES),
    count=st.integers(0, 120_000),
    sizes=st.lists(st.integers(1, 50_000), max_size=12),
)
def test_a_resampled_stream_is_the_whole_resampled(rate: int, count: int, sizes: list[int]) -> None:
    whole = soxr.resample(NOISE[:count], rate, 16_000, quality="HQ")
    streamed = resampled(NOISE[:count], rate, list(np.cumsum(sizes, dtype=int)))
    assert streamed.dtype == np.float32
    assert streamed.shape == whole.shape
    np.testing.assert_allclose(streamed, whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize("rate", [1000, 8000, 44_100, 384_000])
@pytest.mark.parametrize("size", [1, 7])
def test_single_samples_leave_no_seam(rate: int, size: int) -> None:
    whole = soxr.resample(NOISE[:4000], rate, 16_000, quality="HQ")
    np.testing.assert_allclose(
        resampled(NOISE[:4000], rate, list(range(0, 4000, size))), whole, rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("channels", [1, 2, 64])
def test_what_is_at_16_khz_passes_untouched(channels: int) -> None:
    resampler = Resampler(16_000)
    samples = np.repeat(NOISE[:1000, None], channels, axis=1)
    np.testing.assert_allclose(resampler.push(samples), NOISE[:1000], rtol=1e-6)
    np.testing.assert_array_equal(resampler.push(NOISE[:1000]), NOISE[:1000])
    assert not resampler.finish().size


@pytest.mark.parametrize(("rate", "latency"), [(1000, 15_600), *((rate, 1852) for rate in (*RATES, 384_000))])
def test_a_stream_lags_by_no_more_than_it_says(rate: int, latency: int) -> None:
    resampler = Resampler(rate)
    given_out, step = 0, max(1, rate // 1000)
    for k in range(2000):
        given_out += len(resampler.push(np.zeros(step, np.float32)))
        assert (k + 1) * step * 16_000 / rate - given_out <= latency


def test_a_finished_resampler_begins_anew() -> None:
    resampler, parts = Resampler(44_100), []
    for _ in range(2):
        parts.append(np.concatenate([resampler.push(NOISE), resampler.finish()]))
    np.testing.assert_array_equal(*parts)


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (np.zeros(5, np.int16), "samples are int16 of shape (5,), allowed are floats"),
        (np.zeros((5, 1, 1)), "of shape (5, 1, 1)"),
        (np.zeros((5, 65)), "has 65 channels, allowed are 1 to 64"),
        (np.zeros((5, 0)), "has 0 channels"),
        (np.array([0, np.nan]), "holds 1 samples that are NaN, infinite"),
        (np.array([0, 1e30]), "the first at 2.000 s"),
    ],
)
def test_samples_that_are_not_finite_raise_and_are_not_taken(
    samples: NDArray[np.floating], words: str
) -> None:
    resampler = Resampler(8000, name="the microphone", start=1.0)
    first = resampler.push(np.zeros(7999))
    with pytest.raises(AudioError) as caught:
        resampler.push(samples)
    assert str(caught.value).startswith("the microphone: ")
    assert words in str(caught.value)
    assert len(first) + len(resampler.push(np.zeros(1))) + len(resampler.finish()) == 16_000


@pytest.mark.parametrize("rate", [0, 999, 384_001])
def test_a_stream_at_a_rate_out_of_range_raises(rate: int) -> None:
    with pytest.raises(AudioError, match=f"its sample rate is {rate} Hz, allowed are 1000 to 384000 Hz"):
        Resampler(rate)


@pytest.mark.parametrize("kind", [*FORMATS, ("RF64", "PCM_16"), ("WAV", "MS_ADPCM")], ids="-".join)
@pytest.mark.parametrize("rate", [16_000, 48_000])
def test_blocks_are_the_recording(
    kind: tuple[str, str], rate: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = encoded(NOISE[: 2 * rate].reshape(-1, 2), rate, kind)
    whole = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)[0].mean(axis=1)
    if rate != 16_000:
        whole = soxr.resample(whole, rate, 16_000, quality="HQ")
    monkeypatch.setattr(audio, "_READ_SAMPLES", 10_000)  # several reads within a second
    np.testing.assert_allclose(read_audio(content), whole, rtol=0, atol=1e-6)
    (tmp_path / "file").write_bytes(content)
    for seconds in (0.0001, 0.3, 7.0):
        blocks = list(read_blocks(tmp_path / "file", seconds))
        assert {len(block) for block in blocks[:-1]} <= {round(seconds * 16_000)}
        np.testing.assert_array_equal(np.concatenate(blocks), read_audio(content))


@pytest.mark.parametrize("kind", [("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")], ids="-".join)
@pytest.mark.parametrize("read", [49_999, 149_900])
def test_a_short_last_read_spoils_nothing(
    kind: tuple[str, str], read: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = encoded(NOISE[:150_000] / 2, kind=kind)
    whole = read_audio(content)
    monkeypatch.setattr(audio, "_READ_SAMPLES", read)
    np.testing.assert_array_equal(read_audio(content), whole)


@pytest.mark.parametrize("kind", FORMATS, ids="-".join)
@pytest.mark.parametrize("first", [1, 70_001, 148_000, 149_999])
def test_a_segment_anywhere_is_that_slice_of_the_whole(kind: tuple[str, str], first: int) -> None:
    content = encoded(NOISE[:150_000] / 2, kind=kind)
    np.testing.assert_array_equal(read_audio(content, first / 16_000), read_audio(content)[first:])


@pytest.mark.parametrize("kind", TELEPHONY, ids="-".join)
def test_formats_without_a_seek_are_read(kind: tuple[str, str]) -> None:
    content = encoded(tone(16_000), kind=kind)
    whole = read_audio(content)
    assert np.corrcoef(whole[:8000], tone(16_000))[0, 1] > 0.98
    np.testing.assert_array_equal(np.concatenate(list(read_blocks(content, 0.1))), whole)
    np.testing.assert_array_equal(read_audio(content, 0.2, 0.3), whole[3200:4800])


def early_error(recording: Path | bytes) -> str:
    with pytest.raises(AudioError) as caught:
        read_blocks(recording)
    return str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty (0 bytes)"),
        (b"no sound at all" * 100, "cannot be decoded as audio"),
        (encoded(np.zeros(0)), "holds no samples"),
        (encoded(tone(16_000))[:-100], "is truncated: 15900 of 16000 bytes"),
        (encoded(tone(16_000), kind=("OGG", "VORBIS"))[:-10], "is truncated"),
        (encoded(np.zeros((100, 65))), "has 65 channels"),
        (encoded(np.zeros(500), 500), "its sample rate is 500 Hz"),
        (with_frames(encoded(tone(16_000), kind=("FLAC", "PCM_16")), 0), "nothing in it says how long it is"),
        (encoded(tone(16_000), kind=("W64", "PCM_16")), "is a Sony Wave64 (w64) recording, not WAV"),
    ],
)
def test_what_a_header_tells_is_raised_by_the_call(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "x.wav").write_bytes(content)
    for recording in (content, tmp_path / "x.wav"):
        assert words in early_error(recording)
        with pytest.raises(AudioError) as caught:
            read_audio(recording)
        assert str(caught.value) == early_error(recording)


def test_folders_and_pipes_raise(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "there is no such file" in early_error(tmp_path / "missing.wav")
    assert "is a folder" in early_error(tmp_path)
    assert "is a pipe or a device" in early_error(tmp_path / "pipe")


def test_nan_is_located_and_the_blocks_before_it_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = np.zeros((5 * 8000, 2), np.float32)
    samples[28_000, 1] = np.nan
    content = encoded(samples, 8000, ("WAV", "FLOAT"))
    monkeypatch.setattr(audio, "_READ_SAMPLES", 16_000)
    blocks = read_blocks(content, 1.0)
    assert [len(next(blocks)) for _ in range(2)] == [16_000, 16_000]
    with pytest.raises(AudioError, match=r"the first at 3\.500 s"):
        list(blocks)


@pytest.mark.parametrize("kind", [("FLAC", "PCM_16"), ("MP3", "MPEG_LAYER_III")], ids="-".join)
def test_the_error_says_where_a_recording_breaks_off(
    kind: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    content = encoded(NOISE, kind=kind)
    monkeypatch.setattr(audio, "_READ_SAMPLES", 16_000)
    blocks = read_blocks(content[: len(content) // 2], 1.0)
    first = next(blocks)
    np.testing.assert_array_equal(first, read_audio(content)[:16_000])
    with pytest.raises(AudioError, match=r"truncated.* to [56]\.\d{3} s|after [56]\.000 s.*truncated"):
        list(blocks)


@pytest.mark.parametrize("declared", [1_900_000_000, 3_000_000_000])
def test_a_long_wav_that_is_cut_is_truncated(declared: int) -> None:
    content = piped(encoded(tone(16_000)), declared + 36, declared)
    assert f"is truncated: 16000 of {declared} bytes" in early_error(content)


def test_a_cut_rf64_is_truncated() -> None:
    content = encoded(tone(16_000), kind=("RF64", "PCM_16"))
    assert content[:4] == b"RF64"
    assert "is truncated: 15900 of 16000 bytes" in early_error(content[:-100])


def test_a_wav_that_says_nothing_of_its_length_is_read_in_blocks(tmp_path: Path) -> None:
    whole = encoded(tone(16_000))
    (tmp_path / "pipe.wav").write_bytes(piped(whole, 0, 0))
    np.testing.assert_array_equal(np.concatenate(list(read_blocks(tmp_path / "pipe.wav"))), read_audio(whole))


@pytest.mark.parametrize("seconds", [0.0, -1.0, 1e-5, float("nan"), float("inf")])
def test_a_block_of_no_length_raises(seconds: float) -> None:
    with pytest.raises(ConfigError, match="block_seconds is"):
        read_blocks(encoded(tone(16_000)), seconds)


def test_a_suffix_that_libsndfile_takes_for_headerless_does_not_matter(tmp_path: Path) -> None:
    content = encoded(tone(16_000))
    for suffix in ("raw", "vox", "gsm"):
        (tmp_path / f"speech.{suffix}").write_bytes(content)
        np.testing.assert_array_equal(read_audio(tmp_path / f"speech.{suffix}"), read_audio(content))


@pytest.mark.parametrize("name", [b"gr\xfc\xdfe.wav", b"two\nlines.wav"])
def test_a_message_is_one_line_that_can_be_printed(name: bytes, tmp_path: Path) -> None:
    file = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    file.write_bytes(b"")
    message = early_error(file)
    assert message.isprintable()
    assert message.encode().endswith(b".wav: is empty (0 bytes)")


def test_a_damaged_header_raises_and_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    content = encoded(tone(16_000), kind=("AIFF", "FLOAT"))
    for place in range(24, 64):
        for word in (0, 0x80, 0xFF):
            with contextlib.suppress(AudioError):
                read_audio(content[:place] + bytes([word]) + content[place + 1 :])
    assert "Traceback" not in capfd.readouterr().err


def test_blocks_that_are_not_wanted_close_the_recording(tmp_path: Path) -> None:
    (tmp_path / "x.wav").write_bytes(encoded(tone(16_000)))
    held = len(os.listdir("/proc/self/fd"))
    blocks = read_blocks(tmp_path / "x.wav", 0.1)
    next(blocks)
    assert len(os.listdir("/proc/self/fd")) > held
    blocks.close()
    assert len(os.listdir("/proc/self/fd")) == held


def long_wav(path: Path, seconds: int, data_bytes: Callable[[int], int]) -> None:
    """Stereo silence at 44.1 kHz that takes no room on disk."""
    head = encoded(np.zeros((1, 2)), 44_100)[:44]
    size = seconds * 44_100 * 4
    path.write_bytes(head[:4] + struct.pack("<I", 0) + head[8:40] + struct.pack("<I", data_bytes(size)))
    os.truncate(path, len(head) + size)


@pytest.mark.parametrize(("reader", "end"), [("read_audio", "refused"), ("read_blocks", "waveform")])
def test_a_recording_beyond_memory_raises_whole_and_is_read_in_blocks(
    reader: str, end: str, tmp_path: Path
) -> None:
    long_wav(tmp_path / "long.wav", 600, lambda size: size)
    recordings = [Recording(str(tmp_path / "long.wav"), "long")]
    (outcome,) = run(recordings, f"emospec.audio.reader:{reader}", megabytes=60)
    assert outcome.end == end
    assert end == "waveform" or "memory does not hold its 600 s at once" in outcome.detail


def long_mp3(path: Path, seconds: int) -> None:
    one = encoded(np.zeros(16_000 * 60), kind=("MP3", "MPEG_LAYER_III"))
    path.write_bytes(one[one.index(one[:2], 2) :] * (seconds // 60))


@pytest.mark.full
@pytest.mark.parametrize("kind", ["wav", "piped wav", "mp3 without a count"])
def test_half_an_hour_in_blocks_takes_little_memory(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "long"
    if kind.startswith("mp3"):
        long_mp3(path, 1800)
    else:
        long_wav(path, 1800, (lambda size: size) if kind == "wav" else (lambda size: 0))
    # Not ru_maxrss, which a child inherits from its parent.
    program = (
        "import sys; from pathlib import Path; from emospec.audio.reader import read_blocks;"
        "peak = lambda: int(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0]);"
        "before = peak(); samples = sum(len(b) for b in read_blocks(sys.argv[1], 10.0));"
        "print(samples, peak() - before)"
    )
    command = [sys.executable, "-c", program, str(path)]
    samples, kilobytes = map(int, subprocess.check_output(command, text=True).split())
    assert samples == pytest.approx(1800 * 16_000, rel=0.01)
    assert kilobytes < 40_000  # the WAV is 317 MB, the waveform 115 MB
