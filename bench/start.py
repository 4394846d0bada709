"""Cold start: a new process that predicts one recording, against one that only imports the same libraries."""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench.corpus import EMODB
from bench.measure import CORES, in_turn, ratios_of, seconds
from emospec.export.model_folder import export_model
from emospec.runs.record import find_runs

REPEATS = 11
LARGEST_RATIO = 2.5
IMPORTS = "import numpy, onnxruntime, soundfile"


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _clock(command: list[str]) -> float:
    return seconds(lambda: _run(command))


def _processor(command: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    _run(command)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _row(words: str, measure: Callable[[list[str]], float], ours: list[str], theirs: list[str]) -> str:
    times = in_turn({"ours": partial(measure, ours), "theirs": partial(measure, theirs)}, REPEATS)
    ratios = ratios_of(times["ours"], times["theirs"])
    middle = statistics.median(ratios)
    verdict = "reached" if middle <= LARGEST_RATIO else "missed"
    medians = (f"{statistics.median(times[way]):.2f} s" for way in ("ours", "theirs"))
    return (
        f"| {words} | {' | '.join(medians)} | **{middle:.2f}x** | {min(ratios):.2f} to {max(ratios):.2f} "
        f"| {LARGEST_RATIO:g}x: {verdict} |"
    )


def main(runs: Path) -> str:
    """Return the section of the report; the model is that of the first of `runs`, on EMO-DB."""
    load = os.getloadavg()[0]
    recording = min((EMODB / "audio").iterdir())
    with tempfile.TemporaryDirectory() as name:
        model = Path(name) / "model"
        export_model(find_runs([runs])[0].folder, model)
        ours = [sys.executable, "-m", "emospec", "predict", str(recording), "--model", str(model)]
        theirs = [sys.executable, "-c", IMPORTS]
        rows = [
            _row("by the clock", _clock, ours, theirs),
            _row("of processor time", _processor, ours, theirs),
        ]
    return f"""## Cold start

`emospec predict` of one recording of EMO-DB in a new process, against a new process that does no more than `{IMPORTS}`;
{REPEATS} repetitions. The load was {load:.1f} on {CORES} cores when it began.

| seconds | predict | the imports | ratio, median | spread | at most |
|---|---|---|---|---|---|
{chr(10).join(rows)}
"""
