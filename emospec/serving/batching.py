"""Waveforms of many requests in one pass through the graph, with those of like length.

A pass starts as soon as a runner is free: nobody waits for company, and under load there is company.
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

Score = tuple[NDArray[np.float64], NDArray[np.float32]]
"""Probabilities (classes,) and z (64,) of one waveform."""

PASS_SAMPLES = 12 * SAMPLE_RATE  # of one pass: more gains nothing on a core and keeps others waiting
ALIKE = 1.1  # the longest of a pass over the shortest: padding costs as much as sound
TURN = 8  # waveforms of one caller that wait at a time, so that an hour's windows do not stand before a clip


@dataclass
class _Waiting:
    waveform: Waveform
    scored: "Future[Score]" = field(default_factory=Future)


class Batcher:
    """Scores waveforms that come from many threads.

    Args:
        score: of several waveforms at once: probabilities (n, classes) and z (n, 64).
        runners: passes at the same time, of one thread each.
        pass_samples: the largest pass, padding included; 0 scores each waveform alone.
        told: is told the number of waveforms of each pass.
    """

    def __init__(
        self,
        score: Callable[[Sequence[Waveform]], Score],
        runners: int,
        pass_samples: int = PASS_SAMPLES,
        told: Callable[[int], None] = lambda size: None,
    ) -> None:
        self._score, self._pass_samples, self._told = score, pass_samples, told
        self._waiting: list[_Waiting] = []
        self._changed = threading.Condition()
        self._closed = False
        self._runners = [threading.Thread(target=self._run, daemon=True) for _ in range(runners)]
        for runner in self._runners:
            runner.start()

    def submit(self, waveform: Waveform) -> "Future[Score]":
        """Its score, soon; cancelled before its pass starts, it costs nothing."""
        one = _Waiting(waveform)
        with self._changed:
            if self._closed:
                raise RuntimeError("the batcher is closed")
            self._waiting.append(one)
            self._changed.notify()
        return one.scored

    def score(self, waveforms: Sequence[Waveform]) -> Score:
        """Probabilities (n, classes) and z (n, 64) of one waveform or more, in order; waits for them."""
        scores = [
            future.result()
            for first in range(0, len(waveforms), TURN)
            for future in [self.submit(w) for w in waveforms[first : first + TURN]]
        ]
        probabilities, z = zip(*scores, strict=True)
        return np.stack(probabilities), np.stack(z)

    def close(self) -> None:
        """Finish what waits, and end."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for runner in self._runners:
            runner.join()

    def _run(self) -> None:
        for batch in iter(self._take, []):
            try:
                probabilities, z = self._score([one.waveform for one in batch])
            except Exception as error:
                for one in batch:
                    one.scored.set_exception(error)
                continue
            self._told(len(batch))
            for one, *row in zip(batch, probabilities, z, strict=True):
                one.scored.set_result((row[0], row[1]))

    def _take(self) -> list[_Waiting]:
        """The next pass, none at the end."""
        while True:
            with self._changed:
                while not self._waiting and not self._closed:
                    self._changed.wait()
                if not self._waiting:
                    return []
                batch = list(self._alike())
                taken = set(map(id, batch))
                self._waiting = [one for one in self._waiting if id(one) not in taken]
            if batch := [one for one in batch if one.scored.set_running_or_notify_cancel()]:
                return batch

    def _alike(self) -> Iterator[_Waiting]:
        """The one that waits longest, and those like it, as many as fit one pass."""
        oldest = self._waiting[0]
        shortest = longest = len(oldest.waveform)
        yield oldest
        count = 1
        for one in self._waiting[1:]:
            least, most = min(shortest, len(one.waveform)), max(longest, len(one.waveform))
            if most <= ALIKE * least and most * (count + 1) <= self._pass_samples:
                shortest, longest, count = least, most, count + 1
                yield one


class SharedRecognizer(Recognizer):
    """A recogniser whose `forward` shares passes through the graph with all who ask at the same time.

    Args:
        model, int8, ffmpeg: as of `Recognizer`.
        threads: passes at the same time, of one thread each; 0 is one per core.
        pass_samples, told: as of `Batcher`.
    """

    def __init__(
        self,
        model: Model | Path | str,
        *,
        int8: bool = False,
        threads: int = 0,
        pass_samples: int = PASS_SAMPLES,
        told: Callable[[int], None] = lambda size: None,
        ffmpeg: bool = False,
    ) -> None:
        super().__init__(model, int8=int8, threads=1, ffmpeg=ffmpeg)
        self._options = {"int8": int8, "threads": threads, "pass_samples": pass_samples, "told": told}
        self._options["ffmpeg"] = ffmpeg
        self.batcher = Batcher(super().forward, threads or cores(), pass_samples, told)

    def forward(self, waveforms: Sequence[Waveform], model: Model | None = None) -> Score:
        """As of `Recognizer`, in passes with others'; the model's classes do not change while it serves."""
        return self.batcher.score(waveforms)
