"""The live state of many runs, read from what they write in their folders."""

import json
import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from emospec.errors import EmospecError
from emospec.evaluation.results import Run, read_run
from emospec.evaluation.summary import summarise
from emospec.job import Job
from emospec.run import Progress

FEW_RUNS = 8
"""Up to so many a progress has a row for each run, above for each setting."""
ALL = "all runs"


@dataclass(frozen=True)
class _State:
    """How far one run is: steps done, steps in all, its last dev UA, and the run when it has finished."""

    step: int
    steps: int
    dev_ua: str
    run: Run | None


class Watch:
    """Follows runs in other processes by what they write: a row for each, or for each setting of many."""

    def __init__(self, todo: Sequence[Job], progress: Progress) -> None:
        self._todo, self._progress = todo, progress
        self._rows: dict[str, list[Job]] = {}
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

    def _show(self, name: str, jobs: Sequence[Job]) -> None:
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
        steps = round(sum(state.steps for state in states) * len(jobs) / len(states))
        row = sum(state.step for state in states), steps, ", ".join(words)
        if self._shown.get(name) != row:
            self._shown[name] = row
            self._progress(name, *row)

    def _look(self, job: Job) -> None:
        """Note how far a run is, once it has written something."""
        before = self._states.get(job.out)
        if (before and before.run) or not (job.out / "history.csv").is_file():
            return
        run = read_run(job.out) if job.is_finished else None
        step, *_, dev_ua, _ = (
            (job.out / "history.csv").read_text(encoding="utf-8").splitlines()[-1].split(",")
        )
        if not step.isdecimal():  # a run that resumes before its first row has the header alone
            return
        meta = json.loads((job.out / "meta.json").read_text(encoding="utf-8"))
        steps = job.settings.training.plan(sum(meta["counts"]["train"].values()))[0]
        dev_ua = f"{100 * float(dev_ua):.1f}" if dev_ua else ""
        self._states[job.out] = _State(steps if run else int(step), steps, dev_ua, run)
