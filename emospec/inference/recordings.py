"""Recordings as a model needs them: files, bytes or samples, decoded, cropped and checked.

Knows two numbers of a model and no graph, so that a separate process can decode.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from numbers import Number
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from emospec.audio.channels import ChannelMeter
from emospec.audio.discovery import printable
from emospec.audio.frames import HOP_SAMPLES, central_frames, frame_count
from emospec.audio.reader import read_blocks, read_part
from emospec.audio.samples import from_samples, is_array_like
from emospec.audio.waveform import SAMPLE_RATE, Waveform
from emospec.errors import AudioError
from emospec.inference.quality import is_quiet, loudest_part, may_be_quiet, quality_warnings
from emospec.inference.vad import speech_seconds
from emospec.inference.windows import Window, cut_windows

_NO_SPEECH = "no speech found: an emotion was chosen all the same, and says nothing"
# Kept on both sides of the crop of a long recording, because its loudest frame sets the floor of the spectrogram.
_MARGIN_FRAMES = 2300
_ALLOWED = (
    "a file's path or bytes, an open binary file, samples with their sample_rate, "
    "or a dict with 'array' and 'sampling_rate', or with 'bytes' or 'path'"
)


class ArrayLike(Protocol):
    """An array or a tensor."""

    def __array__(self) -> NDArray[Any]: ...


Recording = os.PathLike[str] | str | bytes | bytearray | memoryview | BinaryIO | Mapping[str, Any] | ArrayLike


@dataclass(frozen=True)
class RecordingInput:
    """A recording that the caller gave: a path, bytes of a file, or samples with their rate in Hz."""

    content: Path | str | bytes | Any
    sample_rate: int | None
    name: str
    channel: int | None = None

    @property
    def is_samples(self) -> bool:
        """Whether it is samples in memory."""
        return not isinstance(self.content, (Path, str, bytes))

    def waveform(self, meter: ChannelMeter | None = None) -> Waveform:
        """Return samples in memory as (samples,) at 16 kHz."""
        if self.sample_rate is None:
            raise AudioError("samples need their sample_rate, in Hz")
        return from_samples(self.content, self.sample_rate, self.channel, meter)


@dataclass(frozen=True)
class DecodedRecording:
    """A recording, decoded for a model; the attributes are those of a `Prediction`."""

    name: str
    # (samples,) at 16 kHz; the middle alone of a recording far longer than the model's crop, or its loudest part
    # where the middle is silent.
    waveform: Waveform
    seconds: float
    span: tuple[float, float]
    warnings: tuple[str, ...]
    speech_seconds: float | None = None


@dataclass(frozen=True)
class RecordingReader:
    """Decoding for one model, by its `max_frames` and `usual_seconds`."""

    max_frames: int
    usual_seconds: float
    # Recordings whose header says more raise an error before they are decoded.
    longest_seconds: float = np.inf
    ffmpeg: bool = False

    def read(
        self,
        recording: Recording,
        sample_rate: int | None = None,
        *,
        channel: int | None = None,
        check_speech: bool = False,
    ) -> DecodedRecording:
        """Decode a recording, with arguments as of `Recognizer.predict`; AudioError where it cannot be used.

        Where the central crop is silent and the rest is not, the part with most sound takes its place.
        """
        source, meter = as_input(recording, sample_rate, channel), ChannelMeter()
        waveform, seconds, start = self._part(source, self._middle, meter)
        # The meter measures all of samples in memory, but only the part that is read of a file.
        measured_from = 0.0 if source.is_samples else start
        first, last = self._crop(len(waveform))
        loudest = None
        # Training cropped long utterances to their middle too, but none of them is silent there.
        if round(seconds * SAMPLE_RATE) > last - first and may_be_quiet(waveform, Window(first, last)):
            loudest = self._loudest(source, waveform[first:last])
        if loudest is not None:
            start, waveform = loudest
            first, last = self._crop(len(waveform))
            # Of a file, only the channels around the old crop are measured: measure those of the new one.
            if meter.has_channels and not source.is_samples:
                meter, measured_from = ChannelMeter(), start
                begin = round(start * SAMPLE_RATE)
                self._part(source, lambda _: (begin, begin + len(waveform)), meter)
        used = waveform[first:last]
        span = start + first / SAMPLE_RATE, min(seconds, start + last / SAMPLE_RATE)
        warnings = [*quality_warnings(used, seconds, span, self.usual_seconds, moved=loudest is not None)]
        warnings += meter.warnings(span[0] - measured_from, span[1] - measured_from)
        speech = speech_seconds(used) if check_speech else None
        if speech == 0:
            warnings.append(_NO_SPEECH)
        return DecodedRecording(
            source.name, waveform, seconds, span, warnings=(*warnings,), speech_seconds=speech
        )

    def blocks(
        self,
        recording: "Recording | RecordingInput",
        sample_rate: int | None = None,
        channel: int | None = None,
    ) -> Iterator[Waveform]:
        """Return all of a recording, or one channel of it, at 16 kHz, block by block."""
        return self._blocks(as_input(recording, sample_rate, channel))

    def channel_warnings(self, recording: Recording, sample_rate: int | None = None) -> list[str]:
        """Return warnings where the channels of a recording cancel or differ in its middle."""
        meter = ChannelMeter()
        self._part(as_input(recording, sample_rate), self._middle, meter)
        return list(meter.warnings(0.0, np.inf))

    def _blocks(self, source: RecordingInput) -> Iterator[Waveform]:
        if source.is_samples:
            return iter([source.waveform()])
        longest, channel = self.longest_seconds, source.channel
        return read_blocks(source.content, longest_seconds=longest, channel=channel, ffmpeg=self.ffmpeg)

    def _part(
        self, source: RecordingInput, choose: Callable[[int], tuple[int, int]], meter: ChannelMeter
    ) -> tuple[Waveform, float, float]:
        """Return the chosen samples, and the length and their start in seconds."""
        if source.is_samples:
            whole = source.waveform(meter)
            first, last = choose(len(whole))
            return whole[first:last], len(whole) / SAMPLE_RATE, first / SAMPLE_RATE
        longest, channel = self.longest_seconds, source.channel
        return read_part(source.content, choose, longest, channel=channel, ffmpeg=self.ffmpeg, meter=meter)

    def _loudest(self, source: RecordingInput, crop: Waveform) -> tuple[float, Waveform] | None:
        """Return the start, in seconds, and the samples of the part with most sound; None where `crop` is as good."""
        part = loudest_part(self._blocks(source), self.max_frames * HOP_SAMPLES)
        if part is None:
            return None
        (waveform,) = cut_windows(self._blocks(source), [part])
        return (part.start / SAMPLE_RATE, waveform) if is_quiet(crop, waveform) else None

    def _crop(self, samples: int, margin: int = 0) -> tuple[int, int]:
        # The samples under the frames that the graph keeps, and under a margin of frames on both sides.
        kept = central_frames(frame_count(samples), self.max_frames)
        return max(0, kept.start - margin) * HOP_SAMPLES, min(samples, (kept.stop + margin) * HOP_SAMPLES)

    def _middle(self, samples: int) -> tuple[int, int]:
        # The margin makes the crop equal to that of the whole recording. The spectrogram's floor, 80 dB below the
        # loudest frame, refers to a minute, not to hours.
        first, last = self._crop(samples, _MARGIN_FRAMES)
        return (first, last) if first > 0 else (0, samples)


def as_input(
    recording: Recording | Any, sample_rate: int | None = None, channel: int | None = None
) -> RecordingInput:
    """Return a recording of any kind as a path, bytes or samples; an open file is read from its beginning.

    >>> as_input({"array": [0.0], "sampling_rate": 8000, "path": "a.wav"}).name
    'a.wav'
    """
    if isinstance(recording, RecordingInput):
        return recording
    name, content, samples_in_lists = name_of(recording), recording, False
    if isinstance(recording, Mapping):
        content, sample_rate = _content_of_dict(recording, sample_rate)
        # Datasets without a format give samples as lists.
        samples_in_lists = isinstance(content, (list, tuple))
    is_samples = samples_in_lists or (is_array_like(content) and not isinstance(content, Number))
    if not (is_samples or isinstance(content, (str, Path, bytes))):
        if isinstance(content, os.PathLike):
            content = Path(os.fsdecode(content))
        elif isinstance(content, (bytearray, memoryview)):
            content = bytes(content)
        elif hasattr(content, "read"):
            content = _bytes_of_file(content, name)
        else:
            raise AudioError(f"{type(content).__name__} is no kind of recording. Give {_ALLOWED}")
    return RecordingInput(content, sample_rate, name, channel)


def name_of(recording: Recording | Any) -> str:
    """Return the name of a recording: its path as it was given, on one line; `recording` where it has none."""
    if isinstance(recording, Mapping):
        recording = recording.get("path")
    elif hasattr(recording, "read"):
        recording = getattr(recording, "name", None)
    if isinstance(recording, (str, os.PathLike)) and os.fsdecode(recording):
        return printable(os.fsdecode(recording))
    return "recording"


def _content_of_dict(recording: Mapping[str, Any], sample_rate: int | None) -> tuple[Any, int | None]:
    """Return the content of a dict as Hugging Face's datasets have it, and its rate."""
    if recording.get("array") is not None:
        rate = recording.get("sampling_rate", sample_rate)
        if sample_rate is not None and rate != sample_rate:
            raise AudioError(f"the recording says {rate} Hz, and sample_rate is {sample_rate}. Leave one out")
        return recording["array"], rate
    for key in ("bytes", "path"):
        if recording.get(key) is not None:
            return recording[key], sample_rate
    keys = ", ".join(repr(key) for key in recording)[:80] or "nothing"
    raise AudioError(f"a dict with {keys} is no recording. Give {_ALLOWED}")


def _bytes_of_file(file: Any, name: str) -> bytes:
    try:
        # A file that was just written stands at its end.
        if file.seekable():
            file.seek(0)
        content = file.read()
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise AudioError(f"{name}: an open file that cannot be read ({error})") from error
    if not isinstance(content, bytes):
        raise AudioError(f"{name}: is open as text. Open it with mode 'rb'")
    return content
