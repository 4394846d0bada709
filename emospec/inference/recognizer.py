"""A saved model in use: recordings to predictions and timelines, by onnxruntime.

A prediction is the same for a recording alone, in a batch, in any order or as a window of a stream.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import islice
from numbers import Number
from pathlib import Path
from typing import Any, TypedDict, Unpack, overload

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from emospec.audio.buckets import buckets
from emospec.audio.ffmpeg import check_ffmpeg
from emospec.audio.frames import HOP_SAMPLES
from emospec.audio.waveform import SAMPLE_RATE, Waveform
from emospec.cores import cores
from emospec.errors import AudioError, EmospecError, ModelError, TimelineError
from emospec.inference.model import DEFAULT, Class, Model, load_model
from emospec.inference.prediction import Failure, Prediction
from emospec.inference.recordings import DecodedRecording, Recording, RecordingReader, as_input, name_of
from emospec.inference.segments import Segmenter, speech_segments
from emospec.inference.streaming import Stream, Timing
from emospec.inference.timeline import Segment, Timeline
from emospec.inference.vad import find_speech
from emospec.inference.windows import cut_windows, speech_windows

# Segments of speech that are longer than so many windows are split; shorter ones are joined or dropped.
_LONGEST_WINDOWS, _SHORTEST_SECONDS = 5, 0.5
_WINDOWS_AT_ONCE, _FILES_AT_ONCE = 16, 64
_PASS_SAMPLES = 60 * SAMPLE_RATE

_Recordings = list[Any] | tuple[Any, ...]


class _PredictOptions(TypedDict, total=False):
    abstain_below: float
    check_speech: bool
    channel: int | None


class Recognizer:
    """A model in use.

    Args:
        model: a model, or what `load_model` takes: a folder, a bundled model's name, `hf:OWNER/NAME@REVISION`; by
            default the bundled one.
        int8: use the graph whose convolutions compute in 8 bits.
        threads: of the graph and of decoding; 0 is one per core.
        ffmpeg: decode by the program ffmpeg what is not read here.

    >>> recognizer = Recognizer("models/emodb")  # doctest: +SKIP
    >>> recognizer.predict("angry.wav").emotion  # doctest: +SKIP
    'angry'
    """

    def __init__(
        self,
        model: Model | Path | str = DEFAULT,
        *,
        int8: bool = False,
        threads: int = 0,
        ffmpeg: bool = False,
    ) -> None:
        self._options: dict[str, Any] = {"int8": int8, "threads": threads, "ffmpeg": ffmpeg}
        if ffmpeg:
            check_ffmpeg()
        self.model = model if isinstance(model, Model) else load_model(model)
        # A relative path would change its meaning with the current folder.
        self._folder = self.model.folder.resolve()
        self.reader = RecordingReader(self.model.max_frames, self.model.usual_seconds, ffmpeg=ffmpeg)
        self._threads = threads or cores()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        # Threads that spin while they wait take the processor from decoding, and from other programs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        graph = self.model.graph(int8)
        try:
            self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            # onnxruntime's errors have no common root.
            raise ModelError(f"{self.model.folder}: onnxruntime cannot read the graph ({error})") from error

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the model, without the graph, and the options; loading reads the folder again."""
        model = replace(self.model, folder=self._folder)
        return partial(type(self), **self._options), (model,)

    @overload
    def predict(
        self, recordings: Recording, sample_rate: int | None = None, **options: Unpack[_PredictOptions]
    ) -> Prediction: ...
    @overload
    def predict(
        self, recordings: _Recordings, sample_rate: int | None = None, **options: Unpack[_PredictOptions]
    ) -> list[Prediction | Failure]: ...
    def predict(
        self,
        recordings: Recording | _Recordings,
        sample_rate: int | None = None,
        *,
        abstain_below: float = 0.0,
        check_speech: bool = False,
        channel: int | None = None,
    ) -> Prediction | list[Prediction | Failure]:
        """Return the prediction for one recording, or for each of several.

        Of a recording longer than the model's crop (14 s), the central part is used, as in training; a warning
        says so. `timeline` covers all of it.

        Args:
            recordings: a file's path, its bytes, an open binary file; samples (samples,) or (samples, channels),
                floats in [-1, 1] or integers of full scale, in an array or tensor; a dict as Hugging Face's
                datasets have it; or a list of these.
            sample_rate: Hz, of samples; files and dicts say it themselves.
            abstain_below: no emotion where the confidence is lower, 0 to 1.
            check_speech: look for speech in the part that is used; see `Prediction.speech_seconds`.
            channel: use this one, from 1; None uses the mean over all.

        Raises:
            AudioError: the one recording cannot be used. In a list that is a `Failure`.
        """
        if isinstance(recordings, (list, tuple)):
            # Samples in a list would pass for recordings of one number each.
            if sample_rate is not None and recordings and all(isinstance(r, Number) for r in recordings):
                raise AudioError("a list of numbers is no recording. Make samples of it: numpy.array(...)")
            options = _PredictOptions(abstain_below=abstain_below, check_speech=check_speech, channel=channel)
            return list(self.predict_many(recordings, sample_rate, **options))
        _check_threshold(abstain_below)
        recording = self.reader.read(recordings, sample_rate, channel=channel, check_speech=check_speech)
        return self._predictions([recording], abstain_below)[0]

    def predict_many(
        self,
        recordings: Iterable[Recording],
        sample_rate: int | None = None,
        *,
        abstain_below: float = 0.0,
        check_speech: bool = False,
        channel: int | None = None,
    ) -> Iterator[Prediction | Failure]:
        """Yield the predictions of any number of recordings, as of `predict`; 64 are held at a time."""
        _check_threshold(abstain_below)

        def read(recording: Recording) -> DecodedRecording | Failure:
            try:
                return self.reader.read(recording, sample_rate, channel=channel, check_speech=check_speech)
            except EmospecError as error:
                return Failure(name_of(recording), str(error))

        waiting = iter(recordings)
        with ThreadPoolExecutor(self._threads) as pool:
            while group := list(islice(waiting, _FILES_AT_ONCE)):
                results = list(pool.map(read, group))
                decoded = [result for result in results if isinstance(result, DecodedRecording)]
                predictions = iter(self._predictions(decoded, abstain_below))
                yield from (r if isinstance(r, Failure) else next(predictions) for r in results)

    def embed(
        self,
        recordings: Recording | _Recordings,
        sample_rate: int | None = None,
        *,
        channel: int | None = None,
    ) -> NDArray[np.float32]:
        """Return z: (64,) of one recording, or (n, 64) of several, NaN where one cannot be used."""
        if not isinstance(recordings, (list, tuple)):
            return self.predict(recordings, sample_rate, channel=channel).z
        missing = np.full(len(self.model.classes[0].center), np.nan, np.float32)
        results = self.predict_many(recordings, sample_rate, channel=channel)
        rows = [missing if isinstance(result, Failure) else result.z for result in results]
        return np.stack(rows) if rows else np.empty((0, len(missing)), np.float32)

    def enroll(self, emotion: str, clips: Sequence[Recording], sample_rate: int | None = None) -> None:
        """Add a class by example: the mean z of a few clips is its centre.

        From then on the class of the nearest centre is predicted, among the trained and the enrolled.
        `self.model.save(folder)` keeps it.

        Args:
            emotion: a new name, or that of an enrolled class, which is replaced.
            clips: at least one recording; five or more, of several speakers, are better.
            sample_rate: Hz, of samples.
        """
        if not emotion.strip() or not len(clips):
            raise ModelError("to enrol a class, give it a name and at least one recording")
        z = np.stack([self.predict(clip, sample_rate).z for clip in clips]).astype(np.float64)
        center = z.mean(axis=0)
        # A single example lies on its own centre, which says nothing about how far others lie.
        distances = np.sort(np.linalg.norm(z - center, axis=1)) if len(clips) > 1 else np.zeros(0)
        self.model = self.model.with_class(Class(emotion, center, distances, len(clips)))

    def stream(self, sample_rate: int, timing: Timing | None = None) -> Stream:
        """Return a stream for samples of 1 to 384 kHz; by default of 3 s windows every second."""
        return self._stream(sample_rate, self._timing(timing), self.model)

    def timeline(
        self,
        recording: Recording,
        sample_rate: int | None = None,
        *,
        timing: Timing | None = None,
        speech: bool = False,
        channel: int | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> Timeline:
        """Return the emotions of a recording over its time, in memory that does not grow with its length.

        Args:
            recording, sample_rate, channel: as of `predict`.
            timing: windows, smoothing and segments; by default 3 s windows every second.
            speech: predict each segment of speech that a voice-activity detector finds, as a recording of its own,
                instead of windows. One longer than 5 windows or than the model's crop is split. Between them there
                is no emotion; hop and smoothing do not apply.
            progress: is called with the seconds of each block that is done; with `speech` all of them come twice.
        """
        source = as_input(recording, sample_rate, channel)

        def blocks() -> Iterator[Waveform]:
            for block in self.reader.blocks(source):
                yield block
                if progress:
                    progress(len(block) / SAMPLE_RATE)

        return self.timeline_of_blocks(blocks, Path(source.name).name, timing, speech)

    def timeline_of_blocks(
        self, blocks: Callable[[], Iterator[Waveform]], name: str, timing: Timing | None, speech: bool
    ) -> Timeline:
        """Return the timeline of a recording that comes at 16 kHz in blocks; with `speech` they are read twice."""
        # Another thread may enrol a class meanwhile: all of a timeline is of one model.
        timing, model = self._timing(timing), self.model
        if speech:
            segments, samples = self._speech_segments(blocks, timing, model)
        else:
            stream = self._stream(SAMPLE_RATE, timing, model)
            segments = list(stream.segments(blocks()))
            samples = round(stream.seconds * SAMPLE_RATE)
        return Timeline(name, samples / SAMPLE_RATE, model.names, tuple(segments))

    def _stream(self, sample_rate: int, timing: Timing, model: Model) -> Stream:
        return Stream(lambda waveforms: self.forward(waveforms, model)[0], model.names, sample_rate, timing)

    @property
    def _crop_seconds(self) -> float:
        return (self.model.max_frames or np.inf) * HOP_SAMPLES / SAMPLE_RATE

    def _timing(self, timing: Timing | None) -> Timing:
        timing, crop = timing or Timing(), self._crop_seconds
        if timing.window_seconds > crop:
            raise TimelineError(
                f"a window of {timing.window_seconds:g} s is longer than the {crop:g} s that the model uses: part of it "
                "would be left out. Take a shorter window"
            )
        return timing

    def _speech_segments(
        self, blocks: Callable[[], Iterator[Waveform]], timing: Timing, model: Model
    ) -> tuple[list[Segment], int]:
        """Return segments of speech and the number of samples: one pass finds speech, another predicts it."""
        # A split of the longest segments must leave no window below the shortest.
        least = 2 * _SHORTEST_SECONDS / _LONGEST_WINDOWS
        if timing.window_seconds < least:
            raise TimelineError(
                f"a window of {timing.window_seconds:g} s is too short to split long speech by. Take {least:g} s or more"
            )
        samples = 0

        def counted() -> Iterator[Waveform]:
            nonlocal samples
            for block in blocks():
                samples += len(block)
                yield block

        speech = find_speech(counted())
        longest = min(_LONGEST_WINDOWS * timing.window_seconds, self._crop_seconds)
        windows = speech_windows(speech, samples / SAMPLE_RATE, longest, _SHORTEST_SECONDS)
        segmenter = Segmenter(model.names, timing.abstain_below, timing.minimum_seconds)
        waveforms = cut_windows(blocks(), windows)
        groups = iter(lambda: list(islice(waveforms, _WINDOWS_AT_ONCE)), [])
        probabilities = (row for group in groups for row in self.forward(group, model)[0])
        return list(speech_segments(windows, probabilities, samples, segmenter)), samples

    def forward(
        self, waveforms: Sequence[Waveform], model: Model | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """Return calibrated probabilities (n, classes) and z (n, 64) of waveforms (samples,) at 16 kHz.

        `model` is the one whose classes are used; by default the current one.
        """
        model = model or self.model
        trained = [c for c in model.classes if not c.examples]
        logits = np.empty((len(waveforms), len(trained)))
        z = np.empty((len(waveforms), len(trained[0].center)), np.float32)
        # Waveforms of like length share a pass, padded with zeros; the graph ignores the padding.
        for rows in buckets([len(waveform) for waveform in waveforms], _PASS_SAMPLES):
            lengths = np.array([len(waveforms[i]) for i in rows])
            padded = np.zeros((len(rows), lengths.max()), np.float32)
            for row, i in zip(padded, rows, strict=True):
                row[: len(waveforms[i])] = waveforms[i]
            feed = {"waveforms": padded, "lengths": lengths}
            logits[rows], z[rows] = self._session.run(["logits", "z"], feed)
        if not any(c.examples for c in model.classes):
            return _softmax(logits / model.temperature), z
        # Nearest class mean (Mensink et al. 2013, Distance-based image classification): an enrolled class has no
        # logit, so that softmax of -||z - c||^2 / T decides among all, T fitted on dev.
        centers = np.stack([c.center for c in model.classes])
        squared = np.square(z[:, None].astype(np.float64) - centers).sum(axis=2)
        return _softmax(-squared / model.distance_temperature), z

    def _predictions(self, recordings: Sequence[DecodedRecording], abstain_below: float) -> list[Prediction]:
        # Another thread may enrol a class meanwhile: probabilities and names are of one model.
        model = self.model
        rows = zip(recordings, *self.forward([r.waveform for r in recordings], model), strict=True)
        return [self.prediction_of(*row, abstain_below, model) for row in rows]

    def prediction_of(
        self,
        recording: DecodedRecording,
        probabilities: NDArray[np.float64],
        z: NDArray[np.float32],
        abstain_below: float = 0.0,
        model: Model | None = None,
    ) -> Prediction:
        """Return the prediction for a decoded recording from its (classes,) probabilities and (64,) z."""
        # `model` is the one that computed them, where an enrolment may have changed it meanwhile.
        model = model or self.model
        names, best = model.names, int(probabilities.argmax())
        return Prediction(
            recording=recording.name,
            emotion=names[best] if probabilities[best] >= abstain_below else None,
            confidence=float(probabilities[best]),
            probabilities=dict(zip(names, probabilities.tolist(), strict=True)),
            typicality=model.classes[best].typicality(z),
            z=z,
            seconds=recording.seconds,
            span=recording.span,
            warnings=recording.warnings,
            speech_seconds=recording.speech_seconds,
        )


def _check_threshold(abstain_below: float) -> None:
    if not 0 <= abstain_below <= 1:
        raise ModelError(f"abstain_below is {abstain_below:g}: choose 0 (never abstain) to 1")


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    # The greatest is subtracted, so that none overflows; `initial` is for no rows at all.
    odds = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-np.inf))
    return np.asarray(odds / odds.sum(axis=1, keepdims=True), np.float64)
