"""What of a recording is judged: found, decoded, and what is off with it in words.

Knows two numbers of a model and no graph, so that a process of its own can hear.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from emospec.audio.channels import ChannelMeter
from emospec.audio.frames import HOP_SAMPLES, frame_count
from emospec.audio.reader import read_blocks, read_part
from emospec.audio.samples import from_samples
from emospec.audio.waveform import SAMPLE_RATE, Waveform
from emospec.errors import AudioError
from emospec.inference.inputs import Given, Recording, taken
from emospec.inference.quality import quality_warnings
from emospec.inference.sound_span import is_quiet, loudest_part, may_be_quiet
from emospec.inference.vad import speech_seconds
from emospec.inference.windows import Window, cut_out

NO_SPEECH = "no speech found: an emotion was chosen all the same, and says nothing"
MARGIN_FRAMES = 2300  # kept on both sides of the central frames of a long recording, for its loudest frame


@dataclass(frozen=True)
class DecodedRecording:
    """A recording as a model hears it.

    Attributes:
        name: of the recording; `recording` where it has none.
        waveform: (samples,) at 16 kHz; of a recording far longer than the model's crop, its middle alone, and
            of one that is silent there, what is judged.
        seconds: of the whole recording.
        span: start and end of what is judged, in seconds.
        warnings: what is off with what is judged, in words.
        speech_seconds: how much speech lies in the span; None where nobody asked.
    """

    name: str
    waveform: Waveform
    seconds: float
    span: tuple[float, float]
    warnings: tuple[str, ...]
    speech_seconds: float | None = None


@dataclass(frozen=True)
class RecordingReader:
    """How a model hears.

    Attributes:
        max_frames, usual_seconds: as of `Model`.
        longest_seconds: recordings that say they are longer are refused before they are decoded.
        ffmpeg: decode what is not read here by the program ffmpeg.
    """

    max_frames: int
    usual_seconds: float
    longest_seconds: float = np.inf
    ffmpeg: bool = False

    def hear(
        self,
        recording: Recording,
        sample_rate: int | None = None,
        *,
        channel: int | None = None,
        check_speech: bool = False,
    ) -> DecodedRecording:
        """Decode a recording; of one far longer than the crop, the middle alone.

        Where the central crop is silent and the rest is not, what is judged is the part with most sound.

        Args:
            recording: as of `Recognizer.predict`.
            sample_rate: Hz, of samples.
            channel: take this one, from 1; None takes the mean over all.
            check_speech: look for speech in the span, and warn where there is none.

        Raises:
            AudioError: it cannot be used.
        """
        given = replace(taken(recording, sample_rate), channel=channel)
        meter, measured_from = ChannelMeter(), 0.0
        if given.is_samples:
            whole = _samples_of(given, meter)
            first, last = self._middle(len(whole))
            waveform, seconds, start = whole[first:last], len(whole) / SAMPLE_RATE, first / SAMPLE_RATE
        else:
            waveform, seconds, start = self._part(given, self._middle, meter)
            measured_from = start
        first, last = self._judged_samples(len(waveform))
        sound = None
        # Training took the middle of long utterances, but none of them is silent there.
        if round(seconds * SAMPLE_RATE) > last - first and may_be_quiet(waveform, Window(first, last)):
            sound = self._loudest(given, waveform[first:last])
        if sound is not None:
            start, waveform = sound
            first, last = self._judged_samples(len(waveform))
            if meter.has_channels and not given.is_samples:
                meter, measured_from = ChannelMeter(), start
                begin = round(start * SAMPLE_RATE)
                self._part(given, lambda _: (begin, begin + len(waveform)), meter)
        judged = waveform[first:last]
        span = start + first / SAMPLE_RATE, min(seconds, start + last / SAMPLE_RATE)
        said = tuple(quality_warnings(judged, seconds, span, self.usual_seconds, moved=sound is not None))
        said += tuple(meter.warnings(span[0] - measured_from, span[1] - measured_from))
        spoken = None
        if check_speech:
            spoken = speech_seconds(judged)
            said += () if spoken else (NO_SPEECH,)
        return DecodedRecording(given.name, waveform, seconds, span, said, spoken)

    def blocks(
        self, recording: Recording, sample_rate: int | None = None, channel: int | None = None
    ) -> Iterator[Waveform]:
        """All of a recording, or one channel of it, at 16 kHz, block by block; AudioError as of `hear`."""
        return self._blocks(replace(taken(recording, sample_rate), channel=channel))

    def channel_warnings(self, recording: Recording, sample_rate: int | None = None) -> list[str]:
        """Say in words whether the channels of a recording cancel or differ, by its middle; AudioError as of `hear`."""
        given, meter = taken(recording, sample_rate), ChannelMeter()
        if given.is_samples:
            _samples_of(given, meter)
        else:
            self._part(given, self._middle, meter)
        return list(meter.warnings(0.0, np.inf))

    def _blocks(self, given: Given) -> Iterator[Waveform]:
        if not given.is_samples:
            return read_blocks(
                given.content,
                longest_seconds=self.longest_seconds,
                channel=given.channel,
                ffmpeg=self.ffmpeg,
            )
        return iter([_samples_of(given)])

    def _part(
        self, given: Given, choose: Callable[[int], tuple[int, int]], meter: ChannelMeter
    ) -> tuple[Waveform, float, float]:
        return read_part(
            given.content,
            choose,
            self.longest_seconds,
            channel=given.channel,
            ffmpeg=self.ffmpeg,
            meter=meter,
        )

    def _loudest(self, given: Given, judged: Waveform) -> tuple[float, Waveform] | None:
        """Where the part with most sound starts, in seconds, and its samples; None where `judged` is as good."""
        part = loudest_part(self._blocks(given), self.max_frames * HOP_SAMPLES)
        if part is None:
            return None
        (waveform,) = cut_out(self._blocks(given), [part])
        return (part.start / SAMPLE_RATE, waveform) if is_quiet(judged, waveform) else None

    def _judged_frames(self, samples: int) -> tuple[int, int]:
        """The first and the last (excluded) frame that the graph's crop keeps."""
        frames, most = frame_count(samples), self.max_frames
        if not most or frames <= most:
            return 0, frames
        first = (frames - most) // 2
        return first, first + most

    def _judged_samples(self, samples: int) -> tuple[int, int]:
        """The samples that lie under those frames."""
        first, last = self._judged_frames(samples)
        return first * HOP_SAMPLES, min(samples, last * HOP_SAMPLES)

    def _middle(self, samples: int) -> tuple[int, int]:
        """The samples to keep of a recording: its judged frames are those of the whole.

        The floor of 80 dB below the loudest frame then refers to a minute, not to hours.
        """
        first, last = self._judged_frames(samples)
        margin = MARGIN_FRAMES if self.max_frames else 0
        if not margin or first <= margin:
            return 0, samples
        return (first - margin) * HOP_SAMPLES, min(samples, (last + margin) * HOP_SAMPLES)


def _samples_of(given: Given, meter: ChannelMeter | None = None) -> Waveform:
    if given.sample_rate is None:
        raise AudioError("samples need their sample_rate, in Hz")
    return from_samples(given.content, given.sample_rate, given.channel, meter)
