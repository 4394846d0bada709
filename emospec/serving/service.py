"""The service of a model, without HTTP: recordings decoded by other processes, passes on a pool of threads."""

import asyncio
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from emospec.audio.waveform import SAMPLE_RATE, Waveform
from emospec.cores import cores
from emospec.errors import AudioError, EmospecError
from emospec.inference.model import Model
from emospec.inference.recognizer import Prediction, Recognizer
from emospec.inference.streaming import Timing
from emospec.inference.timeline import Timeline
from emospec.serving.decoding import (
    Decoder,
    DecoderLimits,
    DecoderLostError,
    Decoders,
    decode_again_if_lost,
)
from emospec.serving.errors import ApiError, api_error_of
from emospec.serving.limits import Gate, Limits
from emospec.serving.metrics import Metrics
from emospec.serving.uploads import Upload

RETRY_SECONDS = 5  # for decoders to be started

_INTERRUPTED = "what decoded it was killed each time, perhaps for want of memory"
_FILES_AT_ONCE = 8  # of one request, so that many files do not stand before one
_WAITING_PER_CALLER = 8  # waveforms, so that an hour's windows do not stand before a clip
_Output = tuple[NDArray[np.float64], NDArray[np.float32]]
_Result = TypeVar("_Result")


class SharedRecognizer(Recognizer):
    """A recogniser for many callers at once: each waveform is a pass of its own, on one thread.

    Args:
        model, int8, ffmpeg: as of `Recognizer`.
        threads: passes at the same time; 0 is one per core.
        on_pass: is called with the number of waveforms of each pass.
    """

    def __init__(
        self,
        model: Model | Path | str,
        *,
        int8: bool = False,
        threads: int = 0,
        on_pass: Callable[[int], None] = lambda size: None,
        ffmpeg: bool = False,
    ) -> None:
        super().__init__(model, int8=int8, threads=1, ffmpeg=ffmpeg)
        self._on_pass = on_pass
        self._passes = ThreadPoolExecutor(threads or cores(), "pass")

    def submit(self, waveform: Waveform) -> "Future[_Output]":
        """Return the future probabilities (classes,) and z (64,); cancelled before its pass starts, it costs nothing."""
        return self._passes.submit(self._pass, waveform)

    def forward(self, waveforms: Sequence[Waveform], model: Model | None = None) -> _Output:
        """Return probabilities and z, as of `Recognizer`; the model's classes do not change while it serves."""
        outputs = [
            future.result()
            for first in range(0, len(waveforms), _WAITING_PER_CALLER)
            for future in [self.submit(w) for w in waveforms[first : first + _WAITING_PER_CALLER]]
        ]
        probabilities, z = zip(*outputs, strict=True)
        return np.stack(probabilities), np.stack(z)

    def close(self) -> None:
        """Finish the passes that wait, and end."""
        self._passes.shutdown()

    def _pass(self, waveform: Waveform) -> _Output:
        # Waveforms of several requests in one pass gained nothing on a core: padding costs as much as sound.
        probabilities, z = super().forward([waveform])
        self._on_pass(1)
        return probabilities[0], z[0]


class Service:
    """A model with its decoders, counters and limits; for one event loop.

    Args:
        recognizer: the model at work.
        limits: the most that is taken.
        metrics: where it counts.
        decoders: processes for short recordings.
    """

    def __init__(
        self, recognizer: SharedRecognizer, limits: Limits, metrics: Metrics, decoders: int = 2
    ) -> None:
        self.recognizer, self.limits, self.metrics = recognizer, limits, metrics
        self.name = recognizer.model.folder.resolve().name
        self.gate = gate = Gate(limits)
        self._reader = dataclasses.replace(recognizer.reader, longest_seconds=limits.seconds)
        self.decoders = Decoders(decoders, lambda: self._decoder(limits.answer_seconds), metrics.lost.inc)
        self._places = asyncio.Semaphore(limits.recordings)
        self._timeline_places = asyncio.Semaphore(limits.timelines)
        self._threads = ThreadPoolExecutor(limits.streams + limits.timelines, "timeline")
        self.ready = False
        metrics.waiting.set_function(lambda: gate.requests)
        metrics.held_bytes.set_function(lambda: gate.bytes)
        metrics.streams.set_function(lambda: gate.streams)

    async def start(self) -> None:
        """Start the decoders."""
        await self.decoders.start()
        self.ready = True

    def stop(self) -> None:
        """Finish the passes that wait, and end."""
        self.ready = False
        self.decoders.stop()
        self._threads.shutdown()
        self.recognizer.close()

    async def check_readiness(self) -> None:
        """Check that requests can be answered: decode a recording.

        Raises:
            ApiError: the service starts or ends, or the decoders cannot work.
        """
        if not self.ready:
            raise ApiError("not_ready")
        try:
            await self.decoders.check()
        except DecoderLostError as error:
            raise ApiError("not_ready", "no recording can be decoded", retry_seconds=RETRY_SECONDS) from error

    async def predict(
        self,
        uploads: Sequence[Upload],
        abstain_below: float,
        check_speech: bool = False,
        channel: int | None = None,
    ) -> list[Prediction | ApiError]:
        """Return a prediction or an error for each upload, in order."""
        results: list[Prediction | ApiError] = []
        for first in range(0, len(uploads), _FILES_AT_ONCE):
            group = uploads[first : first + _FILES_AT_ONCE]
            results += await asyncio.gather(
                *(self._predict(upload, abstain_below, check_speech, channel) for upload in group)
            )
        return results

    async def _predict(
        self, upload: Upload, abstain_below: float, check_speech: bool, channel: int | None
    ) -> Prediction | ApiError:
        try:
            async with self._places:
                recording = await self.decoders.decode(upload.content, check_speech, channel)
                self.metrics.audio.inc(recording.seconds)
                output = await asyncio.wrap_future(self.recognizer.submit(recording.waveform))
        except (AudioError, DecoderLostError) as error:
            return self._failure(error, upload.name)
        return self.recognizer.prediction_of(
            dataclasses.replace(recording, name=upload.name), *output, abstain_below
        )

    async def timeline(
        self, upload: Upload, timing: Timing, speech: bool, channel: int | None = None
    ) -> Timeline:
        """Return the emotions of a recording over its time.

        Raises:
            ApiError: it cannot be read.
        """
        async with self._timeline_places:
            try:
                return await decode_again_if_lost(
                    lambda: self._timeline(upload, timing, speech, channel), self.metrics.lost.inc
                )
            except (AudioError, DecoderLostError) as error:
                raise self._failure(error, upload.name) from error

    async def _timeline(self, upload: Upload, timing: Timing, speech: bool, channel: int | None) -> Timeline:
        # A long recording has a process of its own, so that the short ones need not wait for it.
        decoder = self._decoder(self.limits.timeline_seconds)

        def blocks() -> Iterator[Waveform]:
            for block in decoder.blocks(upload.content, channel):
                self.metrics.audio.inc(len(block) / SAMPLE_RATE)
                yield block

        try:
            return await self.in_thread(
                lambda: self.recognizer.timeline_of_blocks(blocks, upload.name, timing, speech)
            )
        finally:
            decoder.stop()

    def _decoder(self, seconds: float) -> Decoder:
        return Decoder(self._reader, DecoderLimits(self.limits.bytes, seconds))

    async def in_thread(self, work: Callable[[], _Result]) -> _Result:
        """Run work that blocks in a thread, beside the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def _failure(self, error: EmospecError | DecoderLostError, name: str) -> ApiError:
        """Count a recording that has no result, and return the error, which names it."""
        if isinstance(error, DecoderLostError):
            failure = ApiError("interrupted", f"{name}: {_INTERRUPTED}", retry_seconds=RETRY_SECONDS)
        else:
            failure = api_error_of(error, name)
        self.metrics.failures.labels(failure.code).inc()
        return failure
