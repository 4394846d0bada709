"""A recording keeps its pitch and level whatever its format; what cannot be used is one named line."""

import io
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from emospec.audio.discovery import find_recordings
from emospec.audio.reader import Source, decode, read_audio
from emospec.audio.waveform import MAX_CHANNELS, SAMPLE_RATE
from emospec.errors import AudioError

LEVEL, HZ = 0.3, 440.0
FORMATS = [
    ("WAV", "PCM_U8"),
    ("WAV", "PCM_16"),
    ("WAV", "PCM_24"),
    ("WAV", "PCM_32"),
    ("WAV", "FLOAT"),
    ("WAV", "DOUBLE"),
    ("WAVEX", "PCM_16"),
    ("FLAC", "PCM_16"),
    ("FLAC", "PCM_24"),
    ("MP3", "MPEG_LAYER_III"),
    ("OGG", "VORBIS"),
    ("OGG", "OPUS"),
    ("AIFF", "PCM_16"),
    ("AIFF", "PCM_24"),
    ("AIFF", "FLOAT"),
]
TRUNCATABLE = [
    ("WAV", "PCM_16"),
    ("WAV", "FLOAT"),
    ("AIFF", "PCM_16"),
    ("FLAC", "PCM_16"),
    ("OGG", "VORBIS"),
    ("OGG", "OPUS"),
    ("MP3", "MPEG_LAYER_III"),
]


def tone(rate: int, seconds: float = 0.5, hz: float = HZ) -> NDArray[np.float64]:
    return LEVEL * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)


def encoded(
    samples: NDArray[np.floating] | NDArray[np.integer],
    rate: int = SAMPLE_RATE,
    kind: tuple[str, str] = ("WAV", "PCM_16"),
    comment: str = "",
) -> bytes:
    file = io.BytesIO()
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    with soundfile.SoundFile(file, "w", rate, channels, kind[1], format=kind[0]) as out:
        if comment:
            out.comment = comment
        out.write(samples)
    return file.getvalue()


def peak_and_level(waveform: NDArray[np.float32]) -> tuple[float, float]:
    """Frequency of the strongest bin (Hz) and the amplitude of a sine of the waveform's power."""
    middle = waveform[len(waveform) // 8 : -len(waveform) // 8]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle)), 16 * SAMPLE_RATE))
    return float(spectrum.argmax() / 16), float(np.sqrt(2 * np.mean(middle.astype(np.float64) ** 2)))


def error(recording: Path | str | bytes, start: float = 0.0, end: float | None = None) -> str:
    with pytest.raises(AudioError) as caught:
        read_audio(recording, start, end)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("the recording: " if isinstance(recording, bytes) else f"{recording}: ")
    return message


@pytest.mark.parametrize("kind", FORMATS, ids="-".join)
@pytest.mark.parametrize("channels", [1, 2])
def test_a_tone_keeps_pitch_and_level_in_every_format(kind: tuple[str, str], channels: int) -> None:
    waveform = read_audio(encoded(np.stack([tone(48_000)] * channels, axis=1), 48_000, kind))
    assert waveform.dtype == np.float32
    assert waveform.shape == (8000,)
    hz, level = peak_and_level(waveform)
    assert hz == pytest.approx(HZ, abs=1)
    assert level == pytest.approx(LEVEL, rel=0.1 if kind[1] in ("OPUS", "VORBIS") else 0.02)


@pytest.mark.parametrize("rate", [1000, 8000, 11_025, 22_050, 44_100, 48_000, 96_000, 192_000, 384_000])
def test_a_tone_keeps_pitch_and_level_at_every_rate(rate: int) -> None:
    waveform = read_audio(encoded(tone(rate, hz=200), rate))
    assert len(waveform) == pytest.approx(8000, abs=1)
    hz, level = peak_and_level(waveform)
    assert hz == pytest.approx(200, abs=1)
    assert level == pytest.approx(LEVEL, rel=0.01)


def test_what_16_khz_cannot_hold_is_gone_and_not_folded_back() -> None:
    waveform = read_audio(encoded(tone(48_000, hz=12_000), 48_000, ("WAV", "FLOAT")))
    assert np.abs(waveform[200:-200]).max() < 1e-4


@pytest.mark.parametrize(
    ("kind", "channels"),
    [
        (("WAV", "FLOAT"), 2),
        (("WAV", "FLOAT"), 5),
        (("WAV", "FLOAT"), MAX_CHANNELS),
        (("AIFF", "FLOAT"), MAX_CHANNELS),
    ],
)
def test_mono_is_the_mean_over_channels(kind: tuple[str, str], channels: int) -> None:
    samples = np.random.default_rng(0).uniform(-1, 1, (800, channels)).astype(np.float32)
    waveform = read_audio(encoded(samples, kind=kind))
    np.testing.assert_allclose(waveform, samples.astype(np.float64).mean(axis=1), atol=1e-6)


@pytest.mark.parametrize("kind", [("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("AIFF", "PCM_16")], ids="-".join)
def test_16_bits_at_16_khz_are_bit_exact(kind: tuple[str, str]) -> None:
    integers = np.array([-32768, -1, 0, 1, 32767, 1234], np.int16)
    waveform, source = decode(encoded(integers, kind=kind))
    np.testing.assert_array_equal(waveform * 32768, integers)
    assert source == Source(16_000, 1, "PCM_16")
    assert source.is_int16_mono_16k


@pytest.mark.parametrize(
    ("samples", "rate", "kind"),
    [
        (tone(8000), 8000, ("WAV", "PCM_16")),
        (tone(16_000), 16_000, ("WAV", "PCM_24")),
        (np.stack([tone(16_000)] * 2, axis=1), 16_000, ("WAV", "PCM_16")),
    ],
    ids=["resampled", "24-bit", "stereo"],
)
def test_only_16_bit_mono_at_16_khz_fits_into_integers(
    samples: NDArray[np.float64], rate: int, kind: tuple[str, str]
) -> None:
    assert not decode(encoded(samples, rate, kind))[1].is_int16_mono_16k


@pytest.mark.parametrize("kind", FORMATS, ids="-".join)
def test_bytes_and_file_are_the_same_and_names_do_not_matter(kind: tuple[str, str], tmp_path: Path) -> None:
    content = encoded(tone(16_000), kind=kind)
    file = tmp_path / "named.wav"
    file.write_bytes(content)
    from_bytes = read_audio(content)
    np.testing.assert_array_equal(read_audio(file), from_bytes)
    np.testing.assert_array_equal(read_audio(str(file)), from_bytes)


def test_a_name_need_not_be_utf_8(tmp_path: Path) -> None:
    file = os.fsdecode(os.fsencode(tmp_path) + b"/gr\xfc\xdfe.wav")
    Path(file).write_bytes(encoded(tone(16_000)))
    assert read_audio(file).shape == (8000,)


@pytest.mark.parametrize("kind", FORMATS, ids="-".join)
def test_a_segment_is_that_slice_of_the_whole(kind: tuple[str, str]) -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 16_000)
    content = encoded(noise, kind=kind)
    whole = read_audio(content)
    np.testing.assert_array_equal(read_audio(content, 0.25, 0.75), whole[4000:12_000])
    np.testing.assert_array_equal(read_audio(content, 0.9), whole[14_400:])
    np.testing.assert_array_equal(read_audio(content, 0, 0.1), whole[:1600])


def test_a_segment_at_another_rate_is_that_slice_but_for_its_edges() -> None:
    content = encoded(tone(44_100, 1.0), 44_100, ("MP3", "MPEG_LAYER_III"))
    whole, part = read_audio(content), read_audio(content, 0.5)
    np.testing.assert_allclose(part[200:-200], whole[8000:][200:-200], atol=1e-4)


def test_a_segment_may_end_a_rounding_error_after_the_recording() -> None:
    content = encoded(tone(16_000))
    np.testing.assert_array_equal(read_audio(content, 0.25, 0.55), read_audio(content, 0.25))


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (-0.1, None),
        (0.5, None),
        (7.0, 8.0),
        (0.2, 0.2),
        (0.3, 0.2),
        (0.0, 0.7),
        (0.0, float("inf")),
        (0.10001, 0.10002),
        (float("nan"), None),
        (0.0, float("nan")),
    ],
)
def test_a_segment_outside_the_recording_raises(start: float, end: float | None) -> None:
    assert "the segment" in error(encoded(tone(16_000)), start, end)


@pytest.mark.parametrize("seconds", [0.05, 0.1, 0.5])
@pytest.mark.parametrize("rate", [8000, 16_000, 44_100])
def test_silence_and_short_clips_are_results(seconds: float, rate: int) -> None:
    waveform = read_audio(encoded(np.zeros(round(seconds * rate)), rate))
    assert len(waveform) == pytest.approx(seconds * SAMPLE_RATE, abs=1)
    assert not waveform.any()


def piped(content: bytes, riff_bytes: int, data_bytes: int) -> bytes:
    """A WAV as one would write it that cannot go back to its header."""
    place = content.index(b"data") + 4
    head = content[:4] + struct.pack("<I", riff_bytes) + content[8:place]
    return head + struct.pack("<I", data_bytes) + content[place + 4 :]


@pytest.mark.parametrize(
    ("riff_bytes", "data_bytes"),
    [
        (0xFFFFFFFF, 0xFFFFFFFF),
        (0x7FFFF024, 0x7FFFF000),
        (0x80000023, 0x7FFFFFFF),
        (0, 0xFFFFFFFF),
        (0, 0),
        (36, 0),
        (0xFFFFFFFF, 0),
    ],
)
def test_a_wav_from_a_pipe_is_read_to_its_end(riff_bytes: int, data_bytes: int, tmp_path: Path) -> None:
    whole = encoded(tone(16_000))
    content = piped(whole, riff_bytes, data_bytes)
    (tmp_path / "pipe.wav").write_bytes(content)
    np.testing.assert_array_equal(read_audio(content), read_audio(whole))
    np.testing.assert_array_equal(read_audio(tmp_path / "pipe.wav", 0.1, 0.2), read_audio(whole, 0.1, 0.2))


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
def test_an_mp3_that_does_not_count_its_frames_is_read_to_its_end(
    rate: int, channels: int, mode: str
) -> None:
    rng = np.random.default_rng(0)
    # Loud noise after silence: at a variable bit rate the first frames are far from the mean.
    samples = np.concatenate([np.zeros(rate), rng.uniform(-0.5, 0.5, 2 * rate)])
    file = io.BytesIO()
    with soundfile.SoundFile(
        file, "w", rate, channels, "MPEG_LAYER_III", format="MP3", bitrate_mode=mode, compression_level=0.6
    ) as out:
        out.write(np.repeat(samples[:, None], channels, axis=1))
    whole = file.getvalue()
    assert b"Xing" in whole[:64] or b"Info" in whole[:64]
    headless = whole[whole.index(whole[:2], 2) :]  # without the first frame, which counts the others
    plain, read = read_audio(whole), read_audio(headless)
    delays = np.correlate(read[16_000:32_000], plain[16_000:24_000], "valid")
    late = int(np.argmax(delays))  # the codec's, which no frame tells
    assert len(plain) <= len(read) <= len(plain) + 2 * 2304 * SAMPLE_RATE / rate
    assert late < 2304 * SAMPLE_RATE / rate
    # To the very end, but for the fraction of a sample that the delay is after resampling.
    ends = read[len(plain) - 8000 + late : len(plain)], plain[-8000 : len(plain) - late]
    assert np.corrcoef(*ends)[0, 1] > 0.8
    assert read_audio(b"ID3\x04\0\0\0\0\0\x02ab" + headless + b"TAG".ljust(128)).shape == read.shape
    assert "may be cut" in error(headless[:-30])


@pytest.mark.parametrize("size", [1, 3, 25])
def test_a_chunk_of_odd_size_before_the_samples_hides_nothing(size: int) -> None:
    whole = encoded(tone(16_000))
    note = b"note" + struct.pack("<I", size) + bytes(size + 1)
    content = whole[:36] + note + whole[36:]
    np.testing.assert_array_equal(read_audio(content), read_audio(whole))
    assert "is truncated: 15900 of 16000 bytes" in error(content[:-100])


@pytest.mark.parametrize("tag_bytes", [200, 20_000])
def test_a_tag_before_an_mp3_does_not_hide_that_it_is_truncated(tag_bytes: int) -> None:
    size = bytes(tag_bytes >> shift & 0x7F for shift in (21, 14, 7, 0))
    content = b"ID3\x04\0\0" + size + bytes(tag_bytes) + encoded(tone(16_000), kind=("MP3", "MPEG_LAYER_III"))
    assert read_audio(content).shape == (8000,)
    assert "truncated" in error(content[:-600])


@pytest.mark.parametrize("kind", TRUNCATABLE, ids="-".join)
@pytest.mark.parametrize("share", [0.002, 0.1, 0.5, 0.9, 0.99])
def test_a_truncated_recording_raises(kind: tuple[str, str], share: float, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 3 * SAMPLE_RATE)
    content = encoded(noise, kind=kind, comment="" if kind[0] == "MP3" else "long " * 1000)
    file = tmp_path / "cut.wav"
    file.write_bytes(content[: int(len(content) * share)])
    assert "truncated" in error(file)


def test_an_ogg_that_ends_at_a_page_but_not_its_last_is_truncated() -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 3 * SAMPLE_RATE)
    for subtype in ("VORBIS", "OPUS"):
        content = encoded(noise, kind=("OGG", subtype))
        assert read_audio(content).shape == (3 * SAMPLE_RATE,)
        assert "is truncated" in error(content[: content.rindex(b"OggS")])


def with_frames(flac: bytes, frames: int) -> bytes:
    """A FLAC whose STREAMINFO declares another number of frames (36 bits, RFC 9639 section 8.2)."""
    return (
        flac[:21]
        + bytes([flac[21] & 0xF0 | frames >> 32])
        + struct.pack(">I", frames & 0xFFFFFFFF)
        + flac[26:]
    )


@pytest.mark.parametrize(
    ("frames", "words"),
    [(0, "nothing in it says how long it is"), (2**36 - 1, "damaged"), (16_000, "damaged, truncated")],
)
def test_a_flac_that_declares_a_wrong_length_raises(frames: int, words: str) -> None:
    flac = encoded(tone(16_000), kind=("FLAC", "PCM_16"))
    assert with_frames(flac, 8000) == flac
    assert words in error(with_frames(flac, frames))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])
@pytest.mark.parametrize("rate", [16_000, 8000])
def test_samples_that_are_not_finite_raise(bad: float, rate: int) -> None:
    samples = np.stack([tone(rate), tone(rate)], axis=1).astype(np.float32)
    samples[100, 1] = bad
    content = encoded(samples, rate, ("WAV", "FLOAT"))
    assert "holds 1 samples that are NaN, infinite" in error(content)
    assert np.isfinite(read_audio(content, 0.25)).all()


@pytest.mark.parametrize("rate", [500, 999, 384_001, 500_000])
def test_a_rate_out_of_range_raises(rate: int) -> None:
    message = error(encoded(np.zeros(rate), rate))
    assert f"its sample rate is {rate} Hz, allowed are 1000 to 384000 Hz" in message


def test_too_many_channels_raise() -> None:
    assert "has 65 channels, allowed are 1 to 64" in error(encoded(np.zeros((100, 65))))


def test_less_than_a_sample_at_16_khz_raises() -> None:
    assert "shorter than one sample" in error(encoded(np.zeros(5), 384_000))


EMPTY = encoded(np.zeros(0))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty (0 bytes)"),
        (EMPTY, "holds no samples (zero length)"),
        (
            EMPTY[:4]
            + struct.pack("<I", len(EMPTY) + 4)
            + EMPTY[8:]
            + b"LIST"
            + struct.pack("<I", 4)
            + b"INFO",
            "holds no samples (zero length)",
        ),
        (encoded(np.zeros(0), kind=("AIFF", "PCM_16")), "holds no samples (zero length)"),
        (encoded(np.zeros(0), kind=("OGG", "VORBIS")), "holds no samples (zero length)"),
        (piped(EMPTY, 0xFFFFFFFF, 0xFFFFFFFF) + b"\0", "holds no samples (zero length)"),
        (encoded(tone(16_000))[:44], "is truncated: 0 of 16000 bytes of samples"),
        (b"These are words, not sounds.\n" * 50, "cannot be decoded as audio"),
        (bytes(5000), "cannot be decoded as audio"),
        (b"OggS", "is truncated"),
        (b"RIFF", "cannot be decoded as audio"),
        (encoded(tone(16_000), kind=("AU", "PCM_16")), "is a Sun AU recording, not WAV"),
        (encoded(tone(16_000), kind=("W64", "PCM_16")), "is a Sony Wave64 (w64) recording, not WAV"),
    ],
    ids=[
        "nothing",
        "empty-wav",
        "empty-wav-and-list",
        "empty-aiff",
        "empty-ogg",
        "half-a-sample",
        "header-only",
        "text",
        "zeros",
        "ogg-magic",
        "riff-magic",
        "au",
        "w64",
    ],
)
def test_a_file_that_is_no_recording_raises_an_error_with_its_name(
    content: bytes, words: str, tmp_path: Path
) -> None:
    file = tmp_path / "speech.wav"
    file.write_bytes(content)
    assert words in error(file)
    assert words in error(content)


def test_a_path_without_a_file_raises(tmp_path: Path) -> None:
    assert "there is no such file" in error(tmp_path / "missing.wav")
    assert "is a folder" in error(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    file = tmp_path / "secret.wav"
    file.write_bytes(encoded(tone(16_000)))
    file.chmod(0)
    assert "cannot be read (Permission denied)" in error(file)


def test_what_macos_leaves_beside_recordings_is_none(tmp_path: Path) -> None:
    hidden = tmp_path / ".hidden"
    for place in (tmp_path, hidden, tmp_path / ".trash"):
        place.mkdir(exist_ok=True)
        for name in ("a.wav", "._a.wav"):
            (place / name).touch()
    assert find_recordings(tmp_path) == [tmp_path / "a.wav"]
    assert find_recordings(hidden) == [hidden / "a.wav"]


def test_links_are_followed_to_each_folder_once(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.wav").touch()
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "link").symlink_to(tmp_path / "real")
    (tmp_path / "tree" / "loop").symlink_to(tmp_path / "tree")
    assert find_recordings(tmp_path / "tree") == [tmp_path / "tree" / "link" / "a.wav"]


def test_a_folder_that_cannot_be_read_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shut").mkdir()
    (tmp_path / "a.wav").touch()
    plain = os.scandir

    def scandir(place: str) -> object:
        if Path(place).name == "shut":  # root, who runs tests in containers, may read all
            raise PermissionError(13, "Permission denied", str(place))
        return plain(place)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(AudioError, match=r"shut: the folder cannot be read \(Permission denied\)"):
        find_recordings(tmp_path)


@pytest.mark.parametrize("zeros", [(4, 8), (0, 4), (0, 8)])  # of the frames, of the bytes
def test_an_mp3_whose_writer_was_killed_before_it_had_counted_is_read_to_its_end(
    zeros: tuple[int, int],
) -> None:
    samples = np.random.default_rng(0).normal(0, 0.1, 32_000)
    whole = encoded(samples, 16_000, ("MP3", "MPEG_LAYER_III"))
    place = max(whole[:64].find(word) for word in (b"Xing", b"Info")) + 8
    killed = bytearray(whole)
    killed[place + zeros[0] : place + zeros[1]] = bytes(zeros[1] - zeros[0])
    assert len(read_audio(bytes(killed))) >= 32_000


@pytest.mark.parametrize("kind", [k for k in FORMATS if k[0] in ("FLAC", "OGG", "MP3")], ids="-".join)
def test_a_recording_behind_another_raises(kind: tuple[str, str]) -> None:
    one, two = (
        encoded(np.random.default_rng(k).normal(0, 0.1, n), 16_000, kind)
        for k, n in ((1, 16_000), (2, 40_000))
    )
    for whole in (one, two):
        read_audio(whole)
    assert "another recording begins where it ends" in error(one + two)
    tagged = b"ID3\x04\0\0\0\0\0\x02ab" + one
    if kind[0] == "OGG":  # behind a tag libsndfile does not know it
        assert "cannot be decoded" in error(tagged)
    else:
        np.testing.assert_array_equal(read_audio(tagged), read_audio(one))
        assert "another recording begins where it ends" in error(tagged + two)
    if kind[0] == "MP3":
        assert "another recording begins where it ends" in error(one + b"ID3\x04\0\0\0\0\0\x02ab" + two)
        assert read_audio(one + b"TAG".ljust(128, b"\0")).shape == read_audio(one).shape
