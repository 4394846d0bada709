"""Peak anonymous memory as the corpus grows: RssAnon, so mapped pages do not count."""

import os
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench.corpus import durations, synthesise, utterances_of
from bench.measure import REPEATS, anonymous_bytes, most_held, worker

HOURS = (1, 50)
STEPS = 100  # until the batches of most sizes have come
MIB = 2**20


def _peak_of(work: Callable[[], object]) -> int:
    """The most anonymous memory that this process held during a call."""
    with most_held(os.getpid()) as peak:
        work()
    return peak[0]


def _synthesise_and_count(folder: Path, hours: float) -> int:
    drawn = durations(int(hours * 3600 / 4))
    return len(synthesise(folder / "audio", drawn[drawn.cumsum() <= hours * 3600]))


def _prepare(folder: Path) -> dict[str, int]:
    """The peak of `prepare`, and what of it is the list of utterances."""
    from emospec.data.pack import prepare

    before = anonymous_bytes()
    utterances = utterances_of(sorted((folder / "audio").iterdir()))
    held = anonymous_bytes() - before
    return {"prepare": _peak_of(lambda: prepare(utterances, folder / "pack")), "list": held}


def _train(folder: Path, seed: int) -> int:
    import emospec

    changed = [
        f"training.steps={STEPS}",
        "training.selection_start=0.01",
        f"training.evaluate_every={STEPS // 2}",
    ]
    out = folder / f"run-{seed}"
    return _peak_of(lambda: emospec.train(folder / "pack", out, overrides=changed, seed=seed))


def main() -> str:
    """The section of the report."""
    rows, peaks, counts = [], {}, {}
    for hours in HOURS:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            count = counts[hours] = _synthesise_and_count(folder, hours)
            with worker(1) as pool:
                peaks[hours] = pool.submit(_prepare, folder).result()
            trained = []
            for seed in range(REPEATS):  # what is freed in pieces depends on the order of the batches
                with worker(1) as pool:
                    trained.append(pool.submit(_train, folder, seed).result())
            peaks[hours]["train"] = int(statistics.median(trained))
            cells = " | ".join(f"{b / MIB:.0f}" for b in peaks[hours].values())
            spread = f"{min(trained) / MIB:.0f} to {max(trained) / MIB:.0f}"
            rows.append(f"| {hours} | {count} | {cells} | {spread} |")
    few, many = HOURS
    growth = {what: peaks[many][what] / peaks[few][what] for what in ("prepare", "train")}
    words = "; ".join(
        f"`{what}` {times:.2f}x (at most 1.1x: {'reached' if times <= 1.1 else 'missed'})"
        for what, times in growth.items()
    )
    more = sum(counts.values()) - 2 * counts[few]
    each = ", ".join(f"{(peaks[many][what] - peaks[few][what]) / more / 1000:.1f} kB" for what in growth)
    return f"""## Memory

Peak anonymous memory (RssAnon) of one process; `prepare` decodes on all cores, `train` has one thread and is a whole run: audit, {STEPS} steps, dev, and
every utterance judged; {REPEATS} trainings of each corpus.

| hours of corpus | utterances | prepare, MiB | of that the list of utterances | train, MiB, median | spread |
|---|---|---|---|---|---|
{chr(10).join(rows)}

{many} h against {few} h: {words}; {each} per extra utterance.
`prepare` holds the list of utterances that it is given, their ids and the files' times. `train` holds what it knows of each (index,
lists, predictions, z), and freed blocks, which are kept for the next step. No audio and no frames are held.
"""
