"""N runs of one thread side by side against N runs of N threads, one after the other.

    python bench/parallel_runs.py [--steps 60] [--repeats 3]

The same trainings both ways, in turn, on the demo corpus; prints each time, and the ratio with its spread.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

from emospec.config import load_settings
from emospec.data.corpora import demo
from emospec.data.pack import prepare
from emospec.experiment import run_jobs
from emospec.run import Job


def main() -> None:
    """Measure both ways in turn and print the ratio."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    cores = os.cpu_count() or 1
    settings = load_settings("demo", [f"training.steps={options.steps}", "training.select_after=0"])
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        demo.synthesise(Path(folder) / "corpus")
        pack, _ = prepare(demo.read(Path(folder) / "corpus"), Path(folder) / "pack")

        def seconds(name: str, side_by_side: int) -> float:
            started = time.perf_counter()
            seeds = range(cores)
            run_jobs(
                [Job(pack.folder, Path(folder) / name / f"s{k}", settings, seed=k) for k in seeds],
                jobs=side_by_side,
            )
            return time.perf_counter() - started

        seconds("warm-up", cores)
        for repeat in range(options.repeats):
            ways = {"together": cores, "in turn": 1}
            if repeat % 2:
                ways = dict(reversed(ways.items()))
            took = {way: seconds(f"{way}-{repeat}", jobs) for way, jobs in ways.items()}
            ratios.append(took["in turn"] / took["together"])
            print(
                f"{cores} runs of {options.steps} steps: together, one thread each {took['together']:.1f} s; "
                f"in turn, {cores} threads each {took['in turn']:.1f} s; ratio {ratios[-1]:.2f}"
            )
    print(f"ratio: median {statistics.median(ratios):.2f}, from {min(ratios):.2f} to {max(ratios):.2f}")


if __name__ == "__main__":
    main()
