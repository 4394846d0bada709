"""Waveforms of many requests in one pass through the graph, together with others of similar length.

A pass starts as soon as a runner is free: it waits for no others, and under load there are others.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emospec.audio.waveform import SAMPLE_RATE, Waveform
from emospec.cores import cores
from emospec.inference.model import Model
from emospec.inference.recognizer import Recognizer

_Output = tuple[NDArray[np.float64], NDArray[np.float32]]
"""Probabilities (classes,) and z (64,) of one waveform, or (n, classes) and (n, 64) of n waveforms."""

PASS_SAMPLES = 12 * SAMPLE_RATE  # of one pass: more gains nothing on a core and keeps others waiting
_LENGTH_RATIO = 1.1  # of the longest waveform of a pass to the shortest: padding costs as much as sound
_WAITING_PER_CALLER = 8  # waveforms, so that an hour's windows do not stand before a clip


@dataclass
class _Waiting:
    waveform: Waveform
    output: "Future[_Output]" = field(default_factory=Future)


class Batcher:
    """A queue of waveforms from many threads, which passes through the graph take together.

    Args:
        forward: of several waveforms at once: probabilities (n, classes) and z (n, 64).
        runners: passes at the same time, of one thread each.
        pass_samples: the largest pass, padding included; 0 takes each waveform alone.
        on_pass: is called with the number of waveforms of each pass.
    """

    def __init__(
        self,
        forward: Callable[[Sequence[Waveform]], _Output],
        runners: int,
        pass_samples: int = PASS_SAMPLES,
        on_pass: Callable[[int], None] = lambda size: None,
    ) -> None:
        self._forward, self._pass_samples, self._on_pass = forward, pass_samples, on_pass
        self._waiting: list[_Waiting] = []
        self._changed = threading.Condition()
        self._closed = False
        self._runners = [threading.Thread(target=self._run, daemon=True) for _ in range(runners)]
        for runner in self._runners:
            runner.start()

    def submit(self, waveform: Waveform) -> "Future[_Output]":
        """Return the future output for a waveform; cancelled before its pass starts, it costs nothing."""
        waiting = _Waiting(waveform)
        with self._changed:
            if self._closed:
                raise RuntimeError("the batcher is closed")
            self._waiting.append(waiting)
            self._changed.notify()
        return waiting.output

    def forward(self, waveforms: Sequence[Waveform]) -> _Output:
        """Return probabilities (n, classes) and z (n, 64) of one waveform or more, in order; wait for them."""
        outputs = [
            future.result()
            for first in range(0, len(waveforms), _WAITING_PER_CALLER)
            for future in [self.submit(w) for w in waveforms[first : first + _WAITING_PER_CALLER]]
        ]
        probabilities, z = zip(*outputs, strict=True)
        return np.stack(probabilities), np.stack(z)

    def close(self) -> None:
        """Finish what waits, and end."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for runner in self._runners:
            runner.join()

    def _run(self) -> None:
        for batch in iter(self._next_batch, []):
            try:
                probabilities, z = self._forward([waiting.waveform for waiting in batch])
            except Exception as error:
                for waiting in batch:
                    waiting.output.set_exception(error)
                continue
            self._on_pass(len(batch))
            for waiting, *output in zip(batch, probabilities, z, strict=True):
                waiting.output.set_result((output[0], output[1]))

    def _next_batch(self) -> list[_Waiting]:
        """Wait for waveforms and return those of the next pass; none at the end."""
        while True:
            with self._changed:
                while not self._waiting and not self._closed:
                    self._changed.wait()
                if not self._waiting:
                    return []
                batch = list(self._similar())
                taken = set(map(id, batch))
                self._waiting = [waiting for waiting in self._waiting if id(waiting) not in taken]
            if batch := [waiting for waiting in batch if waiting.output.set_running_or_notify_cancel()]:
                return batch

    def _similar(self) -> Iterator[_Waiting]:
        """Yield the waveform that waits longest, and those of similar length, as many as fit one pass."""
        oldest = self._waiting[0]
        shortest = longest = len(oldest.waveform)
        yield oldest
        count = 1
        for waiting in self._waiting[1:]:
            least, most = min(shortest, len(waiting.waveform)), max(longest, len(waiting.waveform))
            if most <= _LENGTH_RATIO * least and most * (count + 1) <= self._pass_samples:
                shortest, longest, count = least, most, count + 1
                yield waiting


class SharedRecognizer(Recognizer):
    """A recogniser whose passes through the graph take the waveforms of all its callers together.

    Args:
        model, int8, ffmpeg: as of `Recognizer`.
        threads: passes at the same time, of one thread each; 0 is one per core.
        pass_samples, on_pass: as of `Batcher`.
    """

    def __init__(
        self,
        model: Model | Path | str,
        *,
        int8: bool = False,
        threads: int = 0,
        pass_samples: int = PASS_SAMPLES,
        on_pass: Callable[[int], None] = lambda size: None,
        ffmpeg: bool = False,
    ) -> None:
        super().__init__(model, int8=int8, threads=1, ffmpeg=ffmpeg)
        self.batcher = Batcher(super().forward, threads or cores(), pass_samples, on_pass)

    def forward(self, waveforms: Sequence[Waveform], model: Model | None = None) -> _Output:
        """Return probabilities and z, as of `Recognizer`; the model's classes do not change while it serves."""
        return self.batcher.forward(waveforms)
