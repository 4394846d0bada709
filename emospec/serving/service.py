"""The service of a model, without HTTP: recordings decoded by other processes, passes on a pool of threads."""

import asyncio
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from emospec.audio.waveform import SAMPLE_RATE, Waveform
from emospec.cores import cores
from emospec.errors import AudioError, EmospecError
from emospec.inference.model import Model
from emospec.inference.prediction import Prediction
from emospec.inference.recognizer import Recognizer
from emospec.inference.streaming import Timing
from emospec.inference.timeline import Timeline
from emospec.serving.decoding import Decoder, DecoderLimits, DecoderLostError, Decoders, decode_again_if_lost
from emospec.serving.errors import ApiError, api_error_of
from emospec.serving.limits import Gate, Limits
from emospec.serving.metrics import Metrics
from emospec.serving.uploads import Upload

# Clients wait until fresh decoders are started.
RETRY_SECONDS = 5

_INTERRUPTED = "what decoded it was killed each time, perhaps for want of memory"
# A request with many files must not stand before one with a single file.
_FILES_AT_ONCE = 8
# An hour's windows must not stand before another request's clip.
_Output = tuple[NDArray[np.float64], NDArray[np.float32]]
_Result = TypeVar("_Result")


class SharedRecognizer(Recognizer):
    """A recogniser whose passes, of one thread each, are made side by side.

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
        return self._passes.submit(lambda: tuple(rows[0] for rows in self._pass([waveform])))

    def forward(self, waveforms: Sequence[Waveform], model: Model | None = None) -> _Output:
        """Return probabilities and z, as of `Recognizer`; the model's classes do not change while it serves."""
        # The windows of a timeline stay together: it is then that of the command line to the last bit.
        return self._passes.submit(self._pass, waveforms).result()

    def close(self) -> None:
        """Finish the passes that wait, and end."""
        self._passes.shutdown()

    def _pass(self, waveforms: Sequence[Waveform]) -> _Output:
        # Waveforms of several requests in one pass gained nothing on a core: padding costs as much as sound.
        output = super().forward(waveforms)
        self._on_pass(len(waveforms))
        return output


class Service:
    """A model with its decoders (processes for short recordings), counters and limits; for one event loop."""

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
        """Decode a recording; ApiError if the service starts or ends, or the decoders cannot work."""
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
            options = abstain_below, check_speech, channel
            results += await asyncio.gather(*(self._predict(upload, *options) for upload in group))
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
        recording = dataclasses.replace(recording, name=upload.name)
        return self.recognizer.prediction_of(recording, *output, abstain_below)

    async def timeline(
        self, upload: Upload, timing: Timing, speech: bool, channel: int | None = None
    ) -> Timeline:
        """Return the emotions of a recording over its time; ApiError if it cannot be read."""
        async with self._timeline_places:
            try:
                attempt = partial(self._timeline, upload, timing, speech=speech, channel=channel)
                return await decode_again_if_lost(attempt, self.metrics.lost.inc)
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
            timeline = partial(
                self.recognizer.timeline_of_blocks, blocks, upload.name, timing=timing, speech=speech
            )
            return await self.in_thread(timeline)
        finally:
            decoder.stop()

    def _decoder(self, seconds: float) -> Decoder:
        return Decoder(self._reader, DecoderLimits(self.limits.bytes, seconds))

    async def in_thread(self, work: Callable[[], _Result]) -> _Result:
        """Run work that blocks in a thread, beside the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def _failure(self, error: EmospecError | DecoderLostError, name: str) -> ApiError:
        if isinstance(error, DecoderLostError):
            failure = ApiError("interrupted", f"{name}: {_INTERRUPTED}", retry_seconds=RETRY_SECONDS)
        else:
            failure = api_error_of(error, name)
        self.metrics.failures.labels(failure.code).inc()
        return failure
