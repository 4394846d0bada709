"""Broken recordings through the recogniser: how each ends, how long the slowest takes, how much memory all need."""

import os
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from bench.measure import CORES
from emospec.export.model_folder import export_model
from emospec.runs.record import find_runs

if TYPE_CHECKING:
    from broken_audio import Outcome

TESTS = Path(__file__).parents[1] / "tests"
COUNT, SEED = 2000, 0
VERBS = {"predict": "broken_use:predicted", "timeline": "broken_use:over_time"}
MOST_SECONDS, MOST_BYTES = 10.0, 2**30
REASONS = (
    "cannot be decoded", "is truncated", "is empty", "holds no samples", "there is no such file", "is a folder",
    "is a pipe", "cannot be read", "nothing in it says how long", "NaN", "sample rate", "channels",
    "shorter than one sample", "memory does not hold", "another recording begins", "not WAV",
)  # fmt: skip
"""Words of each error that a recording can end in; one more names a format that is not read."""


def reason(outcome: "Outcome") -> str:
    """Return how a recording ended: predicted, with which error, or as no program may end."""
    if outcome.end == "result":
        return "predicted"
    found = (words for words in REASONS if words in outcome.detail)
    return next(found, "another error") if outcome.end == "refused" else f"**{outcome.end}**"


def outcomes_of(model: Path) -> "dict[str, list[Outcome]]":
    """How the recordings of one seed end, by verb."""
    sys.path.append(str(TESTS))
    from broken_audio import broken, run
    from broken_use import MODEL

    os.environ[MODEL] = str(model)
    ends = {}
    for verb, target in VERBS.items():
        with tempfile.TemporaryDirectory() as name:
            # They may take longer than the target, so that it is seen by how much.
            recordings = (broken(Path(name), k, SEED) for k in range(COUNT))
            ends[verb] = list(
                run(recordings, target, seconds=6 * MOST_SECONDS, megabytes=2 * MOST_BYTES >> 20)
            )
    return ends


def rows_of(ends: "dict[str, list[Outcome]]") -> list[str]:
    """The rows of the table: the ends by how many, then the most that one took."""
    counts = {verb: Counter(map(reason, outcomes)) for verb, outcomes in ends.items()}
    rows = [
        [words, *(str(counts[verb][words]) for verb in ends)]
        for words, _ in sum(counts.values(), Counter()).most_common()
    ]
    for what, words in (("processor_seconds", "processor seconds"), ("seconds", "seconds by the clock")):
        slowest = [max(outcomes, key=lambda o: getattr(o, what)) for outcomes in ends.values()]
        rows.append([f"most {words}", *(f"{getattr(o, what):.1f} ({o.recording.fault})" for o in slowest)])
    peaks = (max(o.peak_bytes for o in outcomes) for outcomes in ends.values())
    rows.append(["most memory, MiB", *(f"{peak / 2**20:.0f}" for peak in peaks)])
    return [f"| {' | '.join(row)} |" for row in rows]


def main(runs: Path) -> str:
    """The section of the report; the model is that of the first of `runs`."""
    busy = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        export_model(find_runs([runs])[0].folder, Path(name) / "model")
        ends = outcomes_of(Path(name) / "model")
    good = all(
        o.sound and o.processor_seconds <= MOST_SECONDS and o.peak_bytes <= MOST_BYTES
        for outcomes in ends.values()
        for o in outcomes
    )
    return f"""## Broken recordings

{COUNT} recordings broken by seed (`tests/broken_audio.py`, seed {SEED}), one after another in one process of one thread: an
emotion, or an error of one line. Memory is all that the process holds (VmHWM), libraries included.

| how it ends | {" | ".join(VERBS)} |
|---|{"---|" * len(VERBS)}
{chr(10).join(rows_of(ends))}

No crash, none over {MOST_SECONDS:.0f} processor seconds, never over {MOST_BYTES >> 20} MiB: {"reached" if good else "missed"}. `long_silence` is ten minutes, predicted by a
timeline in 600 windows of 3 s, silent or not. The clock includes other work: the load was {busy:.1f} on {CORES} cores at the start.
"""
