"""Recordings as broken as an engineer's folder holds them, by seed, and a runner that survives them.

    recordings = [broken(folder, index, seed=0) for index in range(200)]
    wrong = [outcome for outcome in run(recordings, "emospec.audio.reader:read_audio") if not outcome.sound]

Each recording is put through a callable, named `module:function`, in a child process with a limit of memory
and of time. It must end in an EmospecError of one line or in waveforms of finite float32.
"""

import importlib
import io
import json
import os
import resource
import select
import struct
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from emospec.audio.reader import read_audio, read_blocks
from emospec.errors import EmospecError

ROOT = Path(__file__).parents[1]
KINDS = [
    *(("WAV", s) for s in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW")),
    *(("WAV", s) for s in ("IMA_ADPCM", "MS_ADPCM", "GSM610", "G721_32", "NMS_ADPCM_32")),
    *(("WAVEX", s) for s in ("PCM_16", "FLOAT")),
    *(("RF64", s) for s in ("PCM_16", "PCM_24", "FLOAT")),
    *(("FLAC", s) for s in ("PCM_S8", "PCM_16", "PCM_24")),
    *(("AIFF", s) for s in ("PCM_S8", "PCM_16", "PCM_24", "FLOAT", "DOUBLE", "ULAW", "IMA_ADPCM")),
    *[("MP3", "MPEG_LAYER_III"), ("OGG", "VORBIS"), ("OGG", "OPUS")] * 4,
    *((other, "PCM_16") for other in ("W64", "CAF", "AU", "VOC", "NIST", "MAT5")),
]
SUFFIXES = ["wav", "WAV", "flac", "aiff", "aif", "mp3", "ogg", "opus", "raw", "vox", "gsm", "sd2", ""]
MONO_ONLY = {"GSM610", "G721_32", "NMS_ADPCM_32"}
RATES = [8000, 11_025, 16_000, 22_050, 44_100, 48_000]
ABSURD_RATES = [0, 1, 7, 999, 1000, 1001, 192_000, 384_000, 384_001, 2**24, 2**31 - 1, 2**31, 2**32 - 1]
ABSURD_CHANNELS = [0, 1, 2, 3, 5, 6, 8, 16, 24, 48, 63, 64, 65, 255, 256, 1024, 32_767, 65_535]
WAITING = 6  # times the limit of processor time: a machine may be busy with other work
LYING_WORDS = [0, 1, 2, 7, 0xFFFF, 10**6, 3600 * 16_000 * 2, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1]


@dataclass(frozen=True)
class Recording:
    """A path, whose name need not be UTF-8, and what is wrong with what is there."""

    path: str
    fault: str


@dataclass(frozen=True)
class Outcome:
    """How one recording ended: waveform, result, refused; or exception, crash, hang, not sound, printed aside.

    `peak_bytes` is the most memory that the child has held so far, 0 of a dead one.
    """

    recording: Recording
    end: str
    detail: str
    seconds: float
    processor_seconds: float
    peak_bytes: int

    @property
    def sound(self) -> bool:
        """Whether a program may end so."""
        return self.end in ("waveform", "result", "refused")


def encoded(rng: np.random.Generator, kind: tuple[str, str] | None = None) -> bytes:
    """A sound recording of up to 0.6 s in one of KINDS."""
    form, subtype = kind or KINDS[rng.integers(len(KINDS))]
    rate = 8000 if subtype in MONO_ONLY else int(rng.choice(RATES[:1] if subtype == "OPUS" else RATES))
    channels = 1 if subtype in MONO_ONLY else int(rng.choice([1, 1, 2, 2, 6] if form != "MP3" else [1, 2]))
    channels = min(channels, 2) if "ADPCM" in subtype or form == "VOC" else channels
    samples = rng.uniform(-0.5, 0.5, (int(rng.integers(1, round(0.6 * rate))), channels))
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", rate, channels, subtype, format=form) as out:
        if form in ("WAV", "WAVEX", "FLAC", "AIFF", "OGG") and rng.random() < 0.2:
            out.title = "long " * int(rng.integers(1, 200))
        out.write(samples)
    return file.getvalue()


def fuzzed_header(rng: np.random.Generator) -> bytes:
    content = bytearray(encoded(rng))
    for place in rng.integers(0, min(len(content), int(rng.choice([16, 48, 200]))), rng.integers(1, 9)):
        content[place] = rng.integers(256)
    return bytes(content)


def scattered(rng: np.random.Generator) -> bytes:
    content = bytearray(encoded(rng))
    for place in rng.integers(0, len(content), rng.integers(1, 100)):
        content[place] ^= 1 << rng.integers(8)
    return bytes(content)


def truncated(rng: np.random.Generator) -> bytes:
    content = encoded(rng)
    return content[: rng.integers(len(content))]


def headless(rng: np.random.Generator) -> bytes:
    """Without its first bytes: in an MP3 often the frame that counts the others."""
    content = encoded(rng, ("MP3", "MPEG_LAYER_III") if rng.random() < 0.5 else None)
    begin = content.find(content[:2], 2) if rng.random() < 0.7 else int(rng.integers(len(content)))
    return content[max(0, begin) : len(content) - int(rng.choice([0, 0, 1, 100]))]


def hole(rng: np.random.Generator) -> bytes:
    content = encoded(rng)
    begin, end = sorted(rng.integers(0, len(content) + 1, 2))
    return content[:begin] + bytes(int(end - begin) * int(rng.integers(2))) + content[end:]


def nested(rng: np.random.Generator) -> bytes:
    """One recording in, before or after another."""
    one, other = encoded(rng), encoded(rng)
    place = int(rng.choice([0, 4, 12, 36, len(one) // 2, len(one)]))
    return one[:place] + (one if rng.random() < 0.3 else other) + one[place:]


def odd_chunks(rng: np.random.Generator) -> bytes:
    content = encoded(rng, KINDS[rng.integers(18)])
    lies = rng.random() < 0.5
    for _ in range(rng.integers(1, 20)):
        size = int(rng.integers(0, 30)) * (1 + (not lies))
        declared = int(rng.choice([size, size, size, size + 1, *LYING_WORDS])) if lies else size
        name = [b"LIST", b"note", b"id3 ", b"bext", b"data", b"ds64", b"fmt "][rng.integers(7 if lies else 4)]
        place = int(rng.choice([12, 36])) if lies else 12
        content = content[:place] + name + struct.pack("<I", declared) + rng.bytes(size) + content[place:]
    return content


def lying_sizes(rng: np.random.Generator) -> bytes:
    content = bytearray(encoded(rng))
    for _ in range(rng.integers(1, 4)):
        places = [
            p for word in (b"data", b"SSND", b"RIFF", b"ds64", b"fact") if (p := content.find(word)) >= 0
        ]
        place = int(rng.choice(places)) + 4 if places else int(rng.integers(0, min(60, len(content))))
        word = struct.pack(rng.choice(["<I", ">I"]), int(rng.choice(LYING_WORDS)))
        content[place : place + 4] = word
    return bytes(content)


def absurd(rng: np.random.Generator) -> bytes:
    """A WAV of any rate, channels, bits and code, whose header is in itself consistent, or nearly."""
    channels = int(rng.choice(ABSURD_CHANNELS))
    rate = 16_000 if rng.random() < 0.4 else int(rng.choice(ABSURD_RATES))
    bits = 16 if rng.random() < 0.6 else int(rng.choice([8, 24, 32, 0, 1, 12, 64, 65_535]))
    code = 1 if rng.random() < 0.6 else int(rng.choice([3, 6, 7, 2, 17, 0x55, 0xFFFE, 0]))
    align = min(channels * bits // 8, 65_535) if rng.random() < 0.8 else int(rng.integers(65_536))
    body = rng.bytes(int(rng.integers(0, 20_000)))
    head = struct.pack("<4sIHHIIHH", b"fmt ", 16, code, channels, rate, rate * align % 2**32, align, bits)
    data = b"data" + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", 4 + len(head) + len(data)) + b"WAVE" + head + data


def absurd_flac(rng: np.random.Generator) -> bytes:
    """A FLAC whose STREAMINFO lies (RFC 9639 section 8.2): 20 bits of rate, 3 of channels, 36 of frames."""
    content = encoded(rng, ("FLAC", "PCM_16"))
    word = int.from_bytes(content[18:26], "big")
    for bits, shift in ((20, 44), (3, 41), (5, 36), (36, 0)):
        if rng.random() < 0.4:
            lie = int(rng.integers(2**bits)) >> int(rng.integers(bits))
            word = word & ~((2**bits - 1) << shift) | lie << shift
    return content[:18] + word.to_bytes(8, "big") + content[26:]


def no_sound(rng: np.random.Generator) -> bytes:
    """Float samples, some of them NaN, infinite or huge."""
    form, subtype = [("WAV", "FLOAT"), ("WAV", "DOUBLE"), ("AIFF", "FLOAT"), ("RF64", "FLOAT")][
        rng.integers(4)
    ]
    samples = rng.uniform(-1, 1, (int(rng.integers(1, 9000)), int(rng.choice([1, 2, 6]))))
    bad = [np.nan, np.inf, -np.inf, 1e30, 2.0**31, 1e-42, 3e38][rng.integers(7)]
    samples.flat[rng.integers(0, samples.size, int(rng.choice([1, 1, 50])))] = bad
    file = io.BytesIO()
    soundfile.write(file, samples, int(rng.choice(RATES)), subtype, format=form)
    return file.getvalue()


def noise(rng: np.random.Generator) -> bytes:
    magic = [b"", b"RIFF", b"OggS", b"fLaC", b"ID3\4", b"\xff\xfb\x90\x00", b"FORM", b"RF64", b"RIFX"]
    return magic[rng.integers(len(magic))] + rng.bytes(int(rng.choice([1, 10, 100, 5000])))


def text(rng: np.random.Generator) -> bytes:
    return b"<html>404: this is no recording</html>\n" * int(rng.integers(1, 200))


def long_silence(rng: np.random.Generator) -> bytes:
    """Ten minutes in some kilobytes, or in an MP3 without a count of its frames."""
    form, subtype = [("FLAC", "PCM_16"), ("MP3", "MPEG_LAYER_III")][rng.integers(2)]
    file = io.BytesIO()
    soundfile.write(file, np.zeros(600 * 8000, np.int16), 8000, subtype, format=form)
    content = file.getvalue()
    return content[content.index(content[:2], 2) :] if form == "MP3" else content


FAULTS: list[Callable[[np.random.Generator], bytes]] = [
    *[encoded, fuzzed_header, scattered, truncated, headless, hole, nested, odd_chunks, lying_sizes] * 2,
    *[absurd, absurd_flac, no_sound, noise] * 2,
    text,
]
PLACES = ["empty", "folder", "broken link", "link to itself", "pipe", "name not UTF-8", "name of two lines"]


def broken(folder: Path, index: int, seed: int) -> Recording:
    """Write the recording of an index into a folder.

    It is the same for the same index and seed, but for the serial numbers and times that libsndfile writes.
    """
    rng = np.random.default_rng([seed, index])
    suffix = SUFFIXES[rng.integers(len(SUFFIXES))]
    path = f"{folder}/{index:05d}.{suffix}"
    if index % 10 == 9:
        return _at_odd_place(path, PLACES[index // 10 % len(PLACES)], rng)
    fault = long_silence if index % 100 == 50 else FAULTS[rng.integers(len(FAULTS))]
    Path(path).write_bytes(fault(rng))
    return Recording(path, fault.__name__)


def _at_odd_place(path: str, place: str, rng: np.random.Generator) -> Recording:
    if place == "folder":
        os.mkdir(path)
    elif place == "broken link":
        os.symlink(path + ".gone", path)
    elif place == "link to itself":
        os.symlink(path, path)
    elif place == "pipe":
        os.mkfifo(path)
    else:
        if place.startswith("name"):
            path += os.fsdecode(b"gr\xfc\xdfe.wav") if "UTF-8" in place else "\nline.wav"
        Path(path).write_bytes(b"" if place == "empty" else [encoded, truncated][rng.integers(2)](rng))
    return Recording(path, place)


def every_way(path: str) -> np.ndarray:
    """Read whole, by blocks and from bytes: the same samples, or the same words of refusal."""
    ways: list[Callable[[], np.ndarray]] = [
        lambda: read_audio(path),
        lambda: np.concatenate(list(read_blocks(path, 0.1))),
    ]
    if os.path.isfile(path):
        ways.append(lambda: read_audio(Path(path).read_bytes()))
    ends = [_end_of(way) for way in ways]
    for other in ends[1:]:
        if isinstance(ends[0], np.ndarray) and isinstance(other, np.ndarray):
            np.testing.assert_array_equal(other, ends[0])
        else:
            words = [str(end).split(": ", 1)[-1] for end in (ends[0], other)]
            assert words[0] == words[1], words
    if isinstance(ends[0], EmospecError):
        raise ends[0]
    return ends[0]


def _end_of(way: Callable[[], np.ndarray]) -> np.ndarray | EmospecError:
    try:
        return way()
    except EmospecError as error:
        return error


def run(
    recordings: Iterable[Recording], target: str, seconds: float = 10.0, megabytes: int = 1024
) -> Iterator[Outcome]:
    """Put recordings through a callable, one after another in a child process that is replaced when it dies.

    Args:
        recordings: what `broken` gives.
        target: `module:function`; it takes a path as a str.
        seconds: of processor time for each, and WAITING times as many by the clock.
        megabytes: of anonymous memory that the child may take beyond what it holds at its start.
    """
    child: _Child | None = None
    try:
        for recording in recordings:
            child = child or _Child(target, megabytes)
            outcome = child.outcome(recording, seconds)
            yield outcome
            if outcome.end in ("crash", "hang"):
                child.close()
                child = None
    finally:
        if child:
            child.close()


class _Child:
    def __init__(self, target: str, megabytes: int) -> None:
        self._aside = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the child
        paths = [str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", __file__, target, str(megabytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._aside,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
        )
        if self._answer(60) != ["ready"]:
            said = self._said_aside()
            self.close()
            raise RuntimeError(f"{target} cannot be started: {said}")

    def outcome(self, recording: Recording, seconds: float) -> Outcome:
        assert self._process.stdin is not None
        begin, used = time.monotonic(), self._processor_seconds()
        self._process.stdin.write(json.dumps(recording.path).encode() + b"\n")
        self._process.stdin.flush()
        answer = self._answer(seconds)
        took, used = time.monotonic() - begin, self._processor_seconds() - used
        peak = self._peak_bytes()
        return Outcome(recording, *self._end(answer, seconds), took, used, peak)

    def _end(self, answer: list[str] | None, seconds: float) -> tuple[str, str]:
        aside = self._said_aside()
        if answer is None:
            return "hang", f"nothing in {seconds} s"
        if not answer:
            return "crash", f"exit status {self._process.wait()}: {aside[-500:]}"
        # An exception in a callback from C is only printed.
        return ("printed aside", aside[-2000:]) if "Traceback" in aside else (answer[0], answer[1])

    def close(self) -> None:
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout, self._aside):
            assert pipe is not None
            pipe.close()
        self._process.wait()

    def _answer(self, seconds: float) -> list[str] | None:
        """What the child says: nothing at its death; None where it says nothing in time."""
        assert self._process.stdout is not None
        begin, used = time.monotonic(), self._processor_seconds()
        while not select.select([self._process.stdout], [], [], 0.1)[0]:
            waited = time.monotonic() - begin
            if self._processor_seconds() - used > seconds or waited > WAITING * seconds:
                return None
        line = self._process.stdout.readline()
        return list(json.loads(line)) if line else []

    def _processor_seconds(self) -> float:
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _peak_bytes(self) -> int:
        words = Path(f"/proc/{self._process.pid}/status").read_text().partition("VmHWM:")[2].split()
        return int(words[0]) * 1024 if words else 0

    def _said_aside(self) -> str:
        self._aside.seek(0)
        said = self._aside.read().decode(errors="replace")
        self._aside.seek(0)
        self._aside.truncate()
        return said


def _work(target: str, megabytes: int) -> None:
    """The child: read paths from stdin, say how each ends on what was stdout."""
    module, name = target.split(":")
    function = getattr(importlib.import_module(module), name)
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)
    held = int(Path("/proc/self/status").read_text().split("VmData:")[1].split()[0]) * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (held + megabytes * 2**20,) * 2)
    print(json.dumps(["ready"]), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(_outcome_of(function, json.loads(line))), file=answers, flush=True)


def _outcome_of(function: Callable[[str], Any], path: str) -> tuple[str, str]:
    try:
        result = function(path)
        return _described(result)
    except EmospecError as error:
        message = str(error)
        # A surrogate, of a name that is not UTF-8, cannot be printed.
        one_line = message.isprintable() and message.encode("utf-8", "replace").decode() == message
        return "refused" if one_line else "not one line", message
    except Exception:
        return "exception", traceback.format_exc(limit=-3)


def _described(result: Any) -> tuple[str, str]:
    if not isinstance(result, np.ndarray | Generator):
        return "result", type(result).__name__
    samples = 0
    for waveform in [result] if isinstance(result, np.ndarray) else result:
        if waveform.dtype != np.float32 or waveform.ndim != 1 or not np.isfinite(waveform).all():
            return "not sound", f"{waveform.dtype} {waveform.shape}"
        samples += len(waveform)
    return "waveform" if samples else "not sound", f"{samples} samples"


if __name__ == "__main__":
    _work(sys.argv[1], int(sys.argv[2]))
