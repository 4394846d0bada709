"""A WAV or AIFF is decoded to its end or raises: MP3 and other codecs inside, headers older than their samples."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from conftest import tone
from emospec.audio.reader import read_audio, read_blocks
from emospec.errors import AudioError

LIST = b"LIST" + struct.pack("<I", 14) + b"INFOISFT" + struct.pack("<I", 2) + b"a\0"


def encoded(
    samples: NDArray[np.floating], form: str = "WAV", subtype: str = "PCM_16", rate: int = 16_000
) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, subtype, format=form)
    return file.getvalue()


def mp3(mode: str, rate: int, channels: int) -> bytes:
    """Silence, then noise: at a variable bit rate the first frames are far from the mean."""
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 2 * rate)
    samples = np.repeat(np.concatenate([np.zeros(rate), noise])[:, None], channels, axis=1)
    file = io.BytesIO()
    with soundfile.SoundFile(
        file, "w", rate, channels, "MPEG_LAYER_III", format="MP3", bitrate_mode=mode, compression_level=0.5
    ) as out:
        out.write(samples)
    return file.getvalue()


def in_wav(
    content: bytes,
    rate: int,
    channels: int,
    data_bytes: int | None = None,
    form: bytes = b"RIFF",
    tag: int = 0x55,
) -> bytes:
    """As ffmpeg, Audition and recorders write MP3 into a WAV."""
    extra = struct.pack("<HHIHHH", 12, 1, 2, 1152, 1, 1393)
    head = b"fmt " + struct.pack("<IHHIIHH", 30, tag, channels, rate, 16_000, 1, 0) + extra
    size = len(content) if data_bytes is None else data_bytes
    long_size = b"ds64" + struct.pack("<IQQQI", 28, 0, len(content), 0, 0) if form == b"RF64" else b""
    body = (
        b"WAVE" + long_size + head + b"data" + struct.pack("<I", size) + content + b"\0" * (len(content) % 2)
    )
    return form + struct.pack("<I", len(body)) + body


def error(content: bytes) -> str:
    with pytest.raises(AudioError) as caught:
        read_audio(content)
    return str(caught.value)


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
@pytest.mark.parametrize(("rate", "channels"), [(8_000, 1), (44_100, 2), (48_000, 1)])
@pytest.mark.parametrize("is_counted", [True, False])
def test_an_mp3_in_a_wav_gives_the_samples_of_the_mp3(
    mode: str, rate: int, channels: int, is_counted: bool, tmp_path: Path
) -> None:
    content = mp3(mode, rate, channels)
    if not is_counted:  # ffmpeg writes no first frame that counts the others
        content = content[content.index(content[:2], 2) :]
    plain = read_audio(content)
    assert len(plain) >= 3 * 16_000
    wav = in_wav(content, rate, channels)
    np.testing.assert_array_equal(read_audio(wav), plain)
    file = tmp_path / "call.wav"
    file.write_bytes(wav + LIST)
    np.testing.assert_array_equal(np.concatenate(list(read_blocks(file, 0.5))), plain)
    for sizes in ({"data_bytes": 0}, {"data_bytes": 0xFFFFFFFF}, {"data_bytes": 1000}, {"form": b"RF64"}):
        np.testing.assert_array_equal(read_audio(in_wav(content, rate, channels, **sizes)), plain)


def test_an_mp3_in_a_wav_that_is_cut_raises() -> None:
    content = in_wav(mp3("VARIABLE", 44_100, 1), 44_100, 1)
    assert "is truncated" in error(content[:-2000])


@pytest.mark.parametrize(
    ("tag", "codec"), [(0x50, "MPEG layer I or II"), (0xFF, "AAC"), (0xF1AC, "FLAC"), (0x9999, "0x9999")]
)
def test_a_wav_of_a_codec_that_is_not_read_raises_an_error_with_its_name(tag: int, codec: str) -> None:
    said = error(in_wav(bytes(4000), 44_100, 1, tag=tag))
    assert "is a WAV of " in said
    assert codec in said
    assert "ffmpeg" in said


@pytest.mark.parametrize(
    ("form", "subtype", "loss"),
    [
        *(("WAV", name, 0.06) for name in ("IMA_ADPCM", "MS_ADPCM", "G721_32", "NMS_ADPCM_32")),
        *(("WAV", name, 0.03) for name in ("ALAW", "ULAW")),
        *(("AIFF", name, 0.06) for name in ("ALAW", "ULAW", "IMA_ADPCM")),
        ("WAV", "GSM610", 0.2),
        ("AIFF", "GSM610", 0.2),
    ],
)
def test_other_codecs_are_decoded_whole(form: str, subtype: str, loss: float) -> None:
    hum = tone(300, 3.0, rate=8000)
    plain, read = read_audio(encoded(hum, rate=8000)), read_audio(encoded(hum, form, subtype, rate=8000))
    assert len(plain) <= len(read) <= len(plain) + 16_000 // 8  # the last block is full
    apart = read[: len(plain)] - plain
    assert np.sqrt(np.mean(apart[2000:-2000] ** 2)) < loss * 0.3


@pytest.mark.parametrize("declared", [0, 65 * 20, 0xFFFF_FFFF])
def test_gsm_of_a_stale_header_gains_no_block(declared: int) -> None:
    """Where libsndfile knows no length, it adds one of what follows the last block."""
    whole = encoded(tone(300, 1.92, rate=8000), "WAV", "GSM610", rate=8000)
    stale = read_audio(with_size(whole, b"data", declared))
    np.testing.assert_array_equal(stale, read_audio(whole))


def test_an_aiff_of_dwvw_raises() -> None:
    assert "DWVW" in error(encoded(tone(300, 0.5), "AIFF", "DWVW_16"))


def with_size(content: bytes, name: bytes, size: int) -> bytes:
    place = content.index(name) + 4
    order = ">I" if name == b"SSND" else "<I"
    return content[:place] + struct.pack(order, size) + content[place + 4 :]


@pytest.mark.parametrize(
    ("form", "name", "behind"),
    [("WAV", b"data", b""), ("WAV", b"data", LIST), ("WAVEX", b"data", b""), ("AIFF", b"SSND", b"")],
)
@pytest.mark.parametrize("size", [0, 2, 8000, 15_999, 31_000])
def test_a_header_older_than_its_samples_hides_none(form: str, name: bytes, behind: bytes, size: int) -> None:
    whole = encoded(np.random.default_rng(0).uniform(-0.5, 0.5, 16_000), form)
    np.testing.assert_array_equal(read_audio(with_size(whole, name, size) + behind), read_audio(whole))


@pytest.mark.parametrize("size", [0, 8000, 2**63])
def test_an_rf64_older_than_its_samples_hides_none(size: int) -> None:
    whole = encoded(np.random.default_rng(0).uniform(-0.5, 0.5, 16_000), "RF64")
    place = whole.index(b"ds64") + 16
    content = whole[:place] + struct.pack("<Q", size) + whole[place + 8 :]
    np.testing.assert_array_equal(read_audio(content), read_audio(whole))


@pytest.mark.parametrize(
    "behind",
    [
        LIST,
        LIST + LIST,
        LIST + bytes(100),
        b"TAG".ljust(128, b"\0"),
        b"ID3\x04\0\0\0\0\0\x02ab",
        bytes(512),
        b"\0",
        b"id3 " + struct.pack("<I", 3) + b"abc",  # of odd size, and without the byte that makes it even
        b"LIST" + struct.pack("<I", 500) + b"INFO",  # cut
    ],
)
def test_chunks_behind_the_samples_are_not_decoded(behind: bytes) -> None:
    whole = encoded(tone(440, 0.5))
    np.testing.assert_array_equal(read_audio(whole + behind), read_audio(whole))


def test_a_chunk_of_odd_size_hides_nothing_behind_it() -> None:
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, 1001)
    whole = encoded(samples, "WAV", "PCM_U8")
    bare = whole[: whole.index(b"data") + 8 + 1001]
    for content in (whole, bare, bare + LIST, bare + b"\0" + LIST):
        np.testing.assert_array_equal(read_audio(content), read_audio(whole))


def test_samples_in_two_chunks_and_another_recording_behind_raise() -> None:
    whole = encoded(tone(440, 0.5))
    second = whole[whole.index(b"data") :]
    assert "its samples lie in two chunks" in error(whole + second)
    assert "its samples lie in two chunks" in error(whole + LIST + second)
    assert "another recording begins where it ends" in error(whole + whole)
    assert "another recording begins where it ends" in error(encoded(tone(440, 0.5), "AIFF") + whole)
