"""What the server does, without HTTP: recordings decoded elsewhere, scored together, answered in order."""

import asyncio
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from emospec.audio.waveform import SAMPLE_RATE, Waveform
from emospec.errors import AudioError, EmospecError
from emospec.inference.recognizer import Prediction
from emospec.inference.streaming import Timing
from emospec.inference.timeline import Timeline
from emospec.serving.batching import SharedRecognizer
from emospec.serving.decoding import FAILURES, LOST, TRIES, Decoder, DecoderLostError, Decoders, Room
from emospec.serving.errors import ApiError, api_error_of
from emospec.serving.limits import Gate, Limits
from emospec.serving.metrics import Metrics
from emospec.serving.uploads import Upload

Result = TypeVar("Result")

RETRY_SECONDS = 5  # for decoders to be started
INTERRUPTED = "what decoded it was killed each time, perhaps for want of memory"
FILES_AT_ONCE = 8  # of one request, so that many files do not stand before one


class Service:
    """A model with its decoders, counters and limits; for one event loop.

    Args:
        recognizer: the model at work.
        limits: what is taken at most.
        metrics: where it counts.
        decoders: processes for short recordings.
    """

    def __init__(
        self, recognizer: SharedRecognizer, limits: Limits, metrics: Metrics, decoders: int = 2
    ) -> None:
        self.recognizer, self.limits, self.metrics = recognizer, limits, metrics
        self.name = recognizer.model.folder.resolve().name
        self.gate = Gate(limits)
        ear = dataclasses.replace(recognizer.reader, longest_seconds=limits.seconds)
        room = Room(limits.bytes, limits.answer_seconds)
        self.decoders = Decoders(decoders, ear, room, metrics.lost.inc)
        self._long = ear, Room(limits.bytes, limits.timeline_seconds)
        self._judged = asyncio.Semaphore(limits.judged)
        self._timelines = asyncio.Semaphore(limits.timelines)
        self._threads = ThreadPoolExecutor(limits.streams + limits.timelines, "timeline")
        self.ready = False
        gate = self.gate
        metrics.watch(lambda: gate.requests, lambda: gate.bytes, lambda: gate.streams)

    async def start(self) -> None:
        """Start the decoders."""
        await self.decoders.start()
        self.ready = True

    def stop(self) -> None:
        """Finish what is scored, and end."""
        self.ready = False
        self.decoders.stop()
        self._threads.shutdown()
        self.recognizer.batcher.close()

    async def prove(self) -> None:
        """Show that requests can be answered: a recording is decoded.

        Raises:
            RefusedError: none is taken yet or any more, or the decoders cannot work.
        """
        if not self.ready:
            raise ApiError("not_ready")
        try:
            await self.decoders.prove()
        except DecoderLostError as error:
            raise ApiError("not_ready", "no recording can be decoded", retry_seconds=RETRY_SECONDS) from error

    async def predict(
        self,
        uploads: Sequence[Upload],
        abstain_below: float,
        check_speech: bool = False,
        channel: int | None = None,
    ) -> list[Prediction | ApiError]:
        """A prediction or a refusal for each, in order."""
        results: list[Prediction | ApiError] = []
        for first in range(0, len(uploads), FILES_AT_ONCE):
            some = uploads[first : first + FILES_AT_ONCE]
            results += await asyncio.gather(
                *(self._predict(upload, abstain_below, check_speech, channel) for upload in some)
            )
        return results

    async def _predict(
        self, upload: Upload, abstain_below: float, check_speech: bool, channel: int | None
    ) -> Prediction | ApiError:
        try:
            async with self._judged:
                heard = await self.decoders.hear(upload.content, check_speech, channel)
                self.metrics.audio.inc(heard.seconds)
                scored = await asyncio.wrap_future(self.recognizer.batcher.submit(heard.waveform))
        except (AudioError, DecoderLostError) as error:
            return self._told(error, upload.name)
        return self.recognizer.prediction_of(
            dataclasses.replace(heard, name=upload.name), *scored, abstain_below
        )

    async def timeline(
        self, upload: Upload, timing: Timing, speech: bool, channel: int | None = None
    ) -> Timeline:
        """The emotions of a recording over its time.

        Raises:
            RefusedError: it cannot be read.
        """
        async with self._timelines:
            failures = 0
            for left in reversed(range(TRIES)):
                try:
                    return await self._timeline(upload, timing, speech, channel)
                except AudioError as error:
                    raise self._told(error, upload.name) from error
                except DecoderLostError as error:
                    self.metrics.lost.inc()
                    failures += not error.killed
                    if failures == FAILURES:
                        raise self._told(AudioError(LOST), upload.name) from error
                    if not left:
                        raise self._told(error, upload.name) from error
            raise AssertionError("the last try returns or raises")

    async def _timeline(self, upload: Upload, timing: Timing, speech: bool, channel: int | None) -> Timeline:
        decoder = Decoder(*self._long)
        try:
            return await self.in_thread(
                lambda: self.recognizer.timeline_of_blocks(
                    lambda: self._counted(decoder.blocks(upload.content, channel)),
                    upload.name,
                    timing,
                    speech,
                )
            )
        finally:
            decoder.stop()

    async def in_thread(self, work: Callable[[], Result]) -> Result:
        """Run what blocks, beside the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def _counted(self, blocks: Iterator[Waveform]) -> Iterator[Waveform]:
        for block in blocks:
            self.metrics.audio.inc(len(block) / SAMPLE_RATE)
            yield block

    def _told(self, error: EmospecError | DecoderLostError, name: str) -> ApiError:
        """Count a recording that is not judged, and say why, by its name."""
        if isinstance(error, DecoderLostError):
            refusal = ApiError("interrupted", f"{name}: {INTERRUPTED}", retry_seconds=RETRY_SECONDS)
        else:
            refusal = api_error_of(error, name)
        self.metrics.failures.labels(refusal.code).inc()
        return refusal
