"""Progress of runs: what one training reports, and the live state of many, read from what they write in their folders."""

import csv
import json
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from emospec.errors import EmospecError
from emospec.evaluation.summary import summarise
from emospec.experiments.spec import RunSpec
from emospec.files import write_json
from emospec.learning.task import HistoryRow, TrainingTask
from emospec.progress import Progress, roughly
from emospec.runs.folder import RunFolder
from emospec.runs.record import RunRecord, read_run
from emospec.runs.stored import Meta

# Called with the run's name, steps done, steps in all, and a word on how it stands.
RunProgress = Callable[[str, int, int, str], None]

# Up to so many runs have a row each, more of them one per setting.
_FEW_RUNS = 8
_ALL = "all runs"


def stage(progress: RunProgress | None, name: str) -> Progress | None:
    """Return the progress of one named stage, for modules that count and know no names."""
    return progress and (lambda done, total: progress(name, done, total, ""))


@dataclass(frozen=True)
class TrainingReports:
    """Hands the rows of a training, and its pace, to a progress."""

    progress: RunProgress
    files: RunFolder
    task: TrainingTask

    def row(self, row: HistoryRow, steps: int) -> None:
        """Report a row of history."""
        word = "" if row.dev_ua is None else f"dev UA {100 * row.dev_ua:.1f}"
        self.progress(self.files.path.name, row.step, steps, word)

    def pace(self, step: int, seconds: float) -> None:
        """Report how long the training takes at so many seconds a step, and note it in the run's folder."""
        training, train, dev = self.task.training, len(self.task.train), len(self.task.dev)
        steps, _ = training.plan(train)
        # Dev sets are predicted now and then: a step's work is not all of the work up to it.
        done, whole = (training.work(train, dev, at) for at in (step, steps))
        write_json(self.files.pace, {"step": step, "seconds": seconds * done})
        time = f"about {roughly(seconds * (whole - done))} for {steps - step} steps"
        self.progress(self.files.path.name, step, steps, f"{time} at {seconds:.2g} s a step")


@dataclass(frozen=True)
class _State:
    """The progress of one run: steps done and in all, work as of `Training.work` done and in all."""

    step: int
    steps: int
    dev_ua: str
    # The run itself, when it has finished.
    run: RunRecord | None
    # 0 where that is not known.
    seconds: float
    work: float
    whole: float


class RunFollower:
    """Follows runs in other processes by what they write: a row for each, or for each setting of many."""

    # `at_once` runs are at work at a time; 0 where nobody knows.
    def __init__(self, specs: Sequence[RunSpec], progress: RunProgress, at_once: int = 0) -> None:
        self._specs, self._progress, self._at_once = specs, progress, at_once
        self._rows: dict[str, list[RunSpec]] = {}
        above = os.path.commonpath([spec.out.parent.parent for spec in specs]) if specs else ""
        for spec in specs:
            # Settings may be folders deep: a value of a sweep may be a path.
            row = spec.out if len(specs) <= _FEW_RUNS else spec.out.parent
            self._rows.setdefault(os.path.relpath(row, above), []).append(spec)
        if 1 < len(self._rows) < len(specs):
            self._rows = {_ALL: list(specs)} | self._rows
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
            for spec in self._specs:
                # What cannot be read now, such as on a slow shared disk, is looked at again.
                with suppress(EmospecError, OSError, ValueError, LookupError):
                    self._look(spec)
            for name, specs in self._rows.items():
                self._show(name, specs)

    def _show(self, name: str, specs: Sequence[RunSpec]) -> None:
        states = [self._states[spec.out] for spec in specs if spec.out in self._states]
        if not states:
            return
        finished = [state.run for state in states if state.run]
        running = [state.dev_ua for state in states if state.dev_ua and not state.run]
        words = [f"{len(finished)} of {len(specs)} runs"] if len(specs) > 1 else ["done" for _ in finished]
        if finished and name != _ALL:
            so_far = " so far" if len(specs) > 1 else ""
            words.append(f"UA{so_far} {100 * summarise(finished).ua:.1f}")
        if running:
            words.append(f"dev UA {', '.join(running)}")
        if len(finished) < len(specs):
            words += self._time_left()
        steps = round(sum(state.steps for state in states) * len(specs) / len(states))
        row = sum(state.step for state in states), steps, ", ".join(words)
        if self._shown.get(name) != row:
            self._shown[name] = row
            self._progress(name, *row)

    def _time_left(self) -> list[str]:
        # All runs are taken to go on at the pace of those seen.
        states = list(self._states.values())
        if not (timed := sum(state.work for state in states if state.seconds)):
            return []
        pace = sum(state.seconds for state in states) / timed
        begun = sum(state.whole - state.work for state in states)
        waiting = (len(self._specs) - len(states)) * sum(state.whole for state in states) / len(states)
        at_once = self._at_once or max(1, sum(state.run is None for state in states))
        left = roughly(pace * (begun + waiting) / min(at_once, len(self._specs)))
        return [f"about {left} left in all at {pace:.2g} s a step"]

    def _look(self, spec: RunSpec) -> None:
        if (before := self._states.get(spec.out)) and before.run:
            return
        run = read_run(spec.out) if spec.files.is_finished else None
        row = _last_row(spec.files)
        counts = Meta.read(spec.files.meta).counts
        train, dev = (sum(counts.get(part, {}).values()) for part in ("train", "dev"))
        training = spec.settings.training
        steps, _ = training.plan(train)
        step = steps if run else int(row["step"])
        work, whole = (training.work(train, dev, at) for at in (step, steps))
        dev_ua = f"{100 * float(row['dev_ua']):.1f}" if row.get("dev_ua") else ""
        seconds = float(row.get("seconds", 0.0))
        state = _State(step, steps, dev_ua=dev_ua, run=run, seconds=seconds, work=work, whole=whole)
        self._states[spec.out] = state


def _last_row(files: RunFolder) -> dict[str, str]:
    with suppress(FileNotFoundError), open(files.history, encoding="utf-8", newline="") as file:
        # A run that resumes before its first row has the header alone.
        if rows := list(csv.DictReader(file)):
            return rows[-1]
    # The pace is noted before the first row of history. A run that has neither is looked at again.
    return dict(json.loads(files.pace.read_text(encoding="utf-8")))
