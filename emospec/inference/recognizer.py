"""Recordings -> emotions: a saved model at work, by onnxruntime.

What is asked of a recording alone, in a batch, in any order or as a window of a stream is the same.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import islice
from numbers import Number
from pathlib import Path
from typing import Any, overload

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from emospec.audio.buckets import buckets
from emospec.audio.ffmpeg import check_ffmpeg
from emospec.audio.frames import HOP_SAMPLES
from emospec.audio.waveform import SAMPLE_RATE, Waveform
from emospec.cores import cores
from emospec.errors import AudioError, EmospecError, ModelError, TimelineError
from emospec.inference.decoding import DecodedRecording, RecordingReader
from emospec.inference.inputs import Recording, name_of, taken
from emospec.inference.model import DEFAULT, Class, Model, load_model
from emospec.inference.prediction import Failure as Failure
from emospec.inference.prediction import Prediction as Prediction
from emospec.inference.segments import Segmenter, speech_segments
from emospec.inference.streaming import Stream, Timing, segments_of
from emospec.inference.timeline import Segment, Timeline
from emospec.inference.vad import speech_stretches
from emospec.inference.windows import cut_out, speech_pieces

Floats = NDArray[np.float64]
Recordings = list[Any] | tuple[Any, ...]  # of `Recording`

LONGEST_WINDOWS, SHORTEST_PIECE_SECONDS = 5, 0.5  # of speech that is judged as one
PIECES_AT_ONCE = 16
FILES_AT_ONCE = 64  # are in memory
BATCH_SAMPLES = 60 * SAMPLE_RATE  # of one pass through the graph, padding included


class Recognizer:
    """A model at work.

    Args:
        model: a model, or what `load_model` takes: a folder, a bundled model's name, `hf:OWNER/NAME@REVISION`; by
            default the bundled one.
        int8: use the graph whose convolutions compute in 8 bits.
        threads: of the graph and of decoding; 0 is one per core.
        ffmpeg: decode recordings that are not read here by the program ffmpeg.

    Raises:
        ModelError: there is no such model, or it is damaged.
        AudioError: ffmpeg is asked for, and is not there.

    Example:
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
        self._folder = self.model.folder.resolve()  # which the current folder may have found
        self.ear = RecordingReader(self.model.max_frames, self.model.usual_seconds, ffmpeg=ffmpeg)
        self._threads = threads or cores()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        # Threads that spin while they wait take the processor from decoding, and from other programs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(
                self.model.graph(int8), options, providers=["CPUExecutionProvider"]
            )
        except ModelError:
            raise
        except Exception as error:  # onnxruntime's errors have no common root
            raise ModelError(f"{self.model.folder}: onnxruntime cannot read the graph ({error})") from error

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled it is its model, without the graph, and its options: where it is loaded, the folder is read again."""
        model = replace(self.model, folder=self._folder)
        return partial(type(self), **self._options), (model,)

    @overload
    def predict(
        self,
        recordings: Recording,
        sample_rate: int | None = None,
        *,
        abstain_below: float = 0.0,
        check_speech: bool = False,
        channel: int | None = None,
    ) -> Prediction: ...
    @overload
    def predict(
        self,
        recordings: Recordings,
        sample_rate: int | None = None,
        *,
        abstain_below: float = 0.0,
        check_speech: bool = False,
        channel: int | None = None,
    ) -> list[Prediction | Failure]: ...
    def predict(
        self,
        recordings: Recording | Recordings,
        sample_rate: int | None = None,
        *,
        abstain_below: float = 0.0,
        check_speech: bool = False,
        channel: int | None = None,
    ) -> Prediction | list[Prediction | Failure]:
        """The emotion of one recording, or of each of several.

        Of one longer than the model's crop (14 s), the central part is judged, as in training; a warning
        says so. `timeline` judges all of it.

        Args:
            recordings: a file's path, its bytes, an open binary file; samples (samples,) or (samples, channels),
                floats in [-1, 1] or integers of full scale, in an array or tensor; a dict as Hugging Face's
                datasets have it; or a list of these.
            sample_rate: Hz, of samples; files and dicts say it themselves.
            abstain_below: no emotion where the confidence is lower, 0 to 1.
            check_speech: look for speech in what is judged; see `Prediction.speech_seconds`.
            channel: judge this one, from 1; None judges the mean over all.

        Returns:
            A prediction; for a list, one prediction or failure each, in order.

        Raises:
            AudioError: the one recording cannot be used. In a list that is a `Failure`.
            ModelError: `abstain_below` is out of range.
        """
        _check_threshold(abstain_below)
        if isinstance(recordings, (list, tuple)):
            _check_recordings(recordings, sample_rate)
            return list(
                self.predict_many(
                    recordings,
                    sample_rate,
                    abstain_below=abstain_below,
                    check_speech=check_speech,
                    channel=channel,
                )
            )
        heard = self.ear.hear(recordings, sample_rate, channel=channel, check_speech=check_speech)
        return self._predictions([heard], abstain_below)[0]

    def predict_many(
        self,
        recordings: Iterable[Recording],
        sample_rate: int | None = None,
        *,
        abstain_below: float = 0.0,
        check_speech: bool = False,
        channel: int | None = None,
    ) -> Iterator[Prediction | Failure]:
        """As `predict`, for any number of recordings in bounded memory: 64 are held at a time."""
        _check_threshold(abstain_below)
        waiting = iter(recordings)
        with ThreadPoolExecutor(self._threads) as pool:
            while some := list(islice(waiting, FILES_AT_ONCE)):
                heard = list(
                    pool.map(lambda one: self._hear_safely(one, sample_rate, channel, check_speech), some)
                )
                usable = [one for one in heard if isinstance(one, DecodedRecording)]
                predictions = iter(self._predictions(usable, abstain_below))
                yield from (one if isinstance(one, Failure) else next(predictions) for one in heard)

    def embed(
        self,
        recordings: Recording | Recordings,
        sample_rate: int | None = None,
        *,
        channel: int | None = None,
    ) -> NDArray[np.float32]:
        """Z: (64,) of one recording, or (n, 64) of several, NaN where one cannot be used."""
        if not isinstance(recordings, (list, tuple)):
            return self.predict(recordings, sample_rate, channel=channel).z
        missing = np.full(len(self.model.classes[0].center), np.nan, np.float32)
        results = self.predict_many(recordings, sample_rate, channel=channel)
        rows = [missing if isinstance(one, Failure) else one.z for one in results]
        return np.stack(rows) if rows else np.empty((0, len(missing)), np.float32)

    def enroll(self, emotion: str, clips: Sequence[Recording], sample_rate: int | None = None) -> None:
        """Add a class by example: the mean z of a few clips is its centre.

        From then on the class of the nearest centre is predicted, among the trained and the enrolled
        (nearest class mean: Mensink et al. 2013, Distance-based image classification), with softmax of
        -||z - c||^2 / T as probabilities, T fitted on dev. `self.model.save(folder)` keeps it.

        Args:
            emotion: a new name, or that of an enrolled class, which is replaced.
            clips: at least one recording; five or more, of several speakers, are better.
            sample_rate: Hz, of samples.

        Raises:
            ModelError: the name is empty, or of a class that was trained, or there are no clips.
            AudioError: a clip cannot be used.
        """
        if not emotion.strip() or not len(clips):
            raise ModelError("to enrol a class, give it a name and at least one recording")
        z = np.stack([self.predict(clip, sample_rate).z for clip in clips]).astype(np.float64)
        center = z.mean(axis=0)
        # One example lies on its own centre: that says nothing of how far others lie.
        distances = np.sort(np.linalg.norm(z - center, axis=1)) if len(clips) > 1 else np.zeros(0)
        self.model = self.model.with_class(Class(emotion, center, distances, len(clips)))

    def stream(self, sample_rate: int, timing: Timing | None = None) -> Stream:
        """A stream: push samples as they come, in chunks of any size; see `Stream`.

        Args:
            sample_rate: Hz of what is pushed, 1 to 384 kHz.
            timing: windows, smoothing and segments; by default 3 s windows every second.
        """
        return Stream(self, sample_rate, self._timing(timing), self.model)

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
        """The emotions of a recording over its time, in memory that does not grow with its length.

        Args:
            recording: a file, its bytes, or samples as of `predict`.
            sample_rate: Hz, of samples.
            timing: windows, smoothing and segments; by default 3 s windows every second.
            speech: judge the stretches of speech that a voice-activity detector finds, each as a recording of its
                own, instead of windows; longer ones than 5 windows, or than the model judges whole, are split.
                Between them there is no emotion; hop and smoothing do not apply.
            channel: judge this one, from 1; None judges the mean over all.
            progress: is called with the seconds gone through, a block at a time; with `speech` all twice.

        Returns:
            Segments that cover the recording.

        Raises:
            AudioError: the recording cannot be used.
            TimelineError: the timing is out of range.
        """
        given = taken(recording, sample_rate)
        name = Path(given.name).name
        return self.timeline_of(
            lambda: _counted(self.ear.blocks(given.content, given.sample_rate, channel), progress),
            name,
            timing,
            speech,
        )

    def timeline_of(
        self, blocks: Callable[[], Iterator[Waveform]], name: str, timing: Timing | None, speech: bool
    ) -> Timeline:
        """As `timeline`, of a recording that comes at 16 kHz and in blocks; with `speech`, twice."""
        timing, model = self._timing(timing), self.model  # `enroll` may change it meanwhile
        if speech:
            least = 2 * SHORTEST_PIECE_SECONDS / LONGEST_WINDOWS
            if timing.window_seconds < least:
                raise TimelineError(
                    f"a window of {timing.window_seconds:g} s is too short to split long speech by. Take {least:g} s or more"
                )
            segments, samples = self._speech_segments(blocks, timing, model)
        else:
            stream = Stream(self, SAMPLE_RATE, timing, model)
            segments = list(segments_of(stream, blocks()))
            samples = round(stream.seconds * SAMPLE_RATE)
        return Timeline(name, samples / SAMPLE_RATE, model.names, tuple(segments))

    @property
    def _crop_seconds(self) -> float:
        """The longest stretch that is judged whole."""
        return (self.model.max_frames or np.inf) * HOP_SAMPLES / SAMPLE_RATE

    def _timing(self, timing: Timing | None) -> Timing:
        timing = timing or Timing()
        if timing.window_seconds > self._crop_seconds:
            raise TimelineError(
                f"a window of {timing.window_seconds:g} s is longer than the {self._crop_seconds:g} s that the model "
                "judges: part of it would go unheard. Take a shorter window"
            )
        return timing

    def _speech_segments(
        self, blocks: Callable[[], Iterator[Waveform]], timing: Timing, model: Model
    ) -> tuple[list[Segment], int]:
        """Two passes: where speech is, then what it says."""
        samples = 0

        def counted() -> Iterator[Waveform]:
            nonlocal samples
            for block in blocks():
                samples += len(block)
                yield block

        stretches = speech_stretches(counted())
        pieces = speech_pieces(
            stretches,
            samples / SAMPLE_RATE,
            min(LONGEST_WINDOWS * timing.window_seconds, self._crop_seconds),
            SHORTEST_PIECE_SECONDS,
        )
        segmenter = Segmenter(model.names, timing.abstain_below, timing.minimum_seconds)
        probabilities = (
            row
            for some in _in_groups(cut_out(blocks(), pieces), PIECES_AT_ONCE)
            for row in self.score(some, model)[0]
        )
        return list(speech_segments(pieces, probabilities, samples, segmenter)), samples

    def score(
        self, waveforms: Sequence[Waveform], model: Model | None = None
    ) -> tuple[Floats, NDArray[np.float32]]:
        """Calibrated probabilities (n, classes) and z (n, 64) of waveforms at 16 kHz, in their order.

        Args:
            waveforms: (samples,) float32 each.
            model: the classes to choose from, where they were others before an enrolment.
        """
        model = model or self.model
        classes = [c for c in model.classes if not c.examples]
        logits = np.empty((len(waveforms), len(classes)))
        z = np.empty((len(waveforms), len(classes[0].center)), np.float32)
        for rows in buckets([len(w) for w in waveforms], BATCH_SAMPLES):
            lengths = np.array([len(waveforms[i]) for i in rows])
            padded = np.zeros((len(rows), lengths.max()), np.float32)
            for row, i in zip(padded, rows, strict=True):
                row[: len(waveforms[i])] = waveforms[i]
            feed = {"waveforms": padded, "lengths": lengths}
            logits[rows], z[rows] = self._session.run(["logits", "z"], feed)
        return _probabilities(model, logits, z), z

    def _predictions(self, heard: Sequence[DecodedRecording], abstain_below: float) -> list[Prediction]:
        model = self.model  # `enroll` may change it meanwhile
        probabilities, z = self.score([one.waveform for one in heard], model)
        judged = zip(heard, probabilities, z, strict=True)
        return [self.judge(*one, abstain_below, model) for one in judged]

    def judge(
        self,
        heard: DecodedRecording,
        probabilities: Floats,
        z: NDArray[np.float32],
        abstain_below: float = 0.0,
        model: Model | None = None,
    ) -> Prediction:
        """What is told of a recording that was heard and scored: (classes,) probabilities and (64,) z.

        `model` is the one that scored it, where an enrolment may have changed it meanwhile.
        """
        model = model or self.model
        names, best = model.names, int(probabilities.argmax())
        return Prediction(
            heard.name,
            names[best] if probabilities[best] >= abstain_below else None,
            float(probabilities[best]),
            dict(zip(names, probabilities.tolist(), strict=True)),
            model.classes[best].typicality(z),
            z,
            heard.seconds,
            heard.span,
            heard.warnings,
            heard.speech_seconds,
        )

    def _hear_safely(
        self, recording: Recording, sample_rate: int | None, channel: int | None, check_speech: bool
    ) -> DecodedRecording | Failure:
        try:
            return self.ear.hear(recording, sample_rate, channel=channel, check_speech=check_speech)
        except EmospecError as error:
            return Failure(name_of(recording), str(error))


def _check_recordings(recordings: Recordings, sample_rate: int | None) -> None:
    """Refuse samples in a list: it would be taken for one of recordings, each of them one number."""
    if sample_rate is not None and recordings and all(isinstance(one, Number) for one in recordings):
        raise AudioError("a list of numbers is no recording. Make samples of it: numpy.array(...)")


def _check_threshold(abstain_below: float) -> None:
    if not 0 <= abstain_below <= 1:
        raise ModelError(f"abstain_below is {abstain_below:g}: choose 0 (never abstain) to 1")


def _counted(blocks: Iterator[Waveform], progress: Callable[[float], None] | None) -> Iterator[Waveform]:
    """The blocks, and news of each once the next is wanted."""
    for block in blocks:
        yield block
        if progress:
            progress(len(block) / SAMPLE_RATE)


def _in_groups(waveforms: Iterable[Waveform], size: int) -> Iterator[list[Waveform]]:
    waiting = iter(waveforms)
    while some := list(islice(waiting, size)):
        yield some


def _probabilities(model: Model, logits: Floats, z: NDArray[np.float32]) -> Floats:
    if model.has_enrolled:
        centers = np.stack([c.center for c in model.classes])
        squared = np.square(z[:, None].astype(np.float64) - centers).sum(axis=2)
        return _softmax(-squared / model.distance_temperature)
    return _softmax(logits / model.temperature)


def _softmax(logits: Floats) -> Floats:
    odds = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-np.inf))
    return np.asarray(odds / odds.sum(axis=1, keepdims=True), np.float64)
