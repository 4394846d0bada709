"""The live state of many runs, read from what they write in their folders."""

import csv
import json
import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from emospec.errors import EmospecError
from emospec.evaluation.summary import summarise
from emospec.experiments.run import PACE, RunProgress
from emospec.experiments.spec import RunSpec
from emospec.progress import roughly
from emospec.runs.record import RunRecord, read_run

FEW_RUNS = 8
"""Up to so many a progress has a row for each run, above for each setting."""
ALL = "all runs"


@dataclass(frozen=True)
class _State:
    """The progress of one run.

    Attributes:
        step, steps: done, and in all.
        dev_ua: its last one, in words.
        run: itself, when it has finished.
        seconds: spent; 0 where that is not known.
        work, whole: done and in all, as of `Training.work`.
    """

    step: int
    steps: int
    dev_ua: str
    run: RunRecord | None
    seconds: float
    work: float
    whole: float


class Watch:
    """Follows runs in other processes by what they write: a row for each, or for each setting of many.

    Args:
        todo: the runs.
        progress: is called with each row that has changed.
        at_once: how many are at work at a time; 0 where nobody knows.
    """

    def __init__(self, todo: Sequence[RunSpec], progress: RunProgress, at_once: int = 0) -> None:
        self._todo, self._progress, self._at_once = todo, progress, at_once
        self._rows: dict[str, list[RunSpec]] = {}
        above = os.path.commonpath([job.out.parent.parent for job in todo]) if todo else ""
        for job in todo:
            # Settings may be folders deep: a value of a sweep may be a path.
            row = job.out if len(todo) <= FEW_RUNS else job.out.parent
            self._rows.setdefault(os.path.relpath(row, above), []).append(job)
        if 1 < len(self._rows) < len(todo):
            self._rows = {ALL: list(todo)} | self._rows
        self._states: dict[Path, _State] = {}
        self._shown: dict[str, tuple[int, int, str]] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look a last time and end."""
        self._stopped.set()
        self._thread.join()

    def _follow(self) -> None:
        stopped = False
        while not stopped:
            stopped = self._stopped.wait(0.5)
            for job in self._todo:
                # What cannot be read now, such as on a slow shared disk, is looked at again.
                with suppress(EmospecError, OSError, ValueError, LookupError):
                    self._look(job)
            for name, jobs in self._rows.items():
                self._show(name, jobs)

    def _show(self, name: str, jobs: Sequence[RunSpec]) -> None:
        states = [self._states[job.out] for job in jobs if job.out in self._states]
        if not states:
            return
        finished = [state.run for state in states if state.run]
        running = [state.dev_ua for state in states if state.dev_ua and not state.run]
        words = [f"{len(finished)} of {len(jobs)} runs"] if len(jobs) > 1 else ["done"] * len(finished)
        if finished and name != ALL:
            words.append(f"UA{' so far' * (len(jobs) > 1)} {100 * summarise(finished).ua:.1f}")
        if running:
            words.append(f"dev UA {', '.join(running)}")
        if len(finished) < len(jobs):
            words += self._time_left()
        steps = round(sum(state.steps for state in states) * len(jobs) / len(states))
        row = sum(state.step for state in states), steps, ", ".join(words)
        if self._shown.get(name) != row:
            self._shown[name] = row
            self._progress(name, *row)

    def _time_left(self) -> list[str]:
        """Return in words how long all runs still take at the pace of those seen; nothing while none was."""
        states = list(self._states.values())
        if not (known := sum(state.work for state in states if state.seconds)):
            return []
        pace = sum(state.seconds for state in states) / known
        begun = sum(state.whole - state.work for state in states)
        waiting = (len(self._todo) - len(states)) * sum(state.whole for state in states) / len(states)
        at_once = self._at_once or max(1, sum(state.run is None for state in states))
        left = roughly(pace * (begun + waiting) / min(at_once, len(self._todo)))
        return [f"about {left} left in all at {pace:.2g} s a step"]

    def _look(self, job: RunSpec) -> None:
        """Note how far a run is, once it has written something."""
        before = self._states.get(job.out)
        if before and before.run:
            return
        run = read_run(job.out) if job.is_finished else None
        row = _last_row(job.out)
        step = int(row["step"])
        counts = json.loads((job.out / "meta.json").read_text(encoding="utf-8"))["counts"]
        train, dev = (sum(counts.get(part, {}).values()) for part in ("train", "dev"))
        training = job.settings.training
        steps = training.plan(train)[0]
        step = steps if run else step
        work, whole = (training.work(train, dev, at) for at in (step, steps))
        dev_ua = f"{100 * float(row['dev_ua']):.1f}" if row.get("dev_ua") else ""
        self._states[job.out] = _State(step, steps, dev_ua, run, float(row.get("seconds", 0.0)), work, whole)


def _last_row(out: Path) -> dict[str, str]:
    """Return the last row of a run's history, or its pace where it has none yet; OSError where it has neither."""
    with suppress(FileNotFoundError), open(out / "history.csv", encoding="utf-8", newline="") as file:
        # A run that resumes before its first row has the header alone.
        if rows := list(csv.DictReader(file)):
            return rows[-1]
    return dict(json.loads((out / PACE).read_text(encoding="utf-8")))
