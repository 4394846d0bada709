"""Run the benchmarks and write RESULTS.md, each section as soon as it is measured."""

import argparse
import importlib
import os
import re
import time
from datetime import date
from pathlib import Path

from bench.measure import REPEATS, machine
from emospec.errors import exit_on_error
from emospec.processes import SAFE_PATH
from emospec.runs.provenance import commit

BENCHMARKS = ("training", "frontend", "preparing", "crossval", "memory", "growth", "large")
OF_RUNS = ("recognition", "typicality", "start", "broken", "serving", "scoring")
RESULTS = Path(__file__).with_name("RESULTS.md")

HEAD = f"""# Speed, measured

Made by `make bench` on an idle machine (Memory needs some 20 GB in `TMPDIR`), or `python -m bench NAME`; what needs a model, by
`python -m bench {" ".join(OF_RUNS)} --runs RUNS`, RUNS made by `emospec prepare emodb=EMODB --pack packs/emodb` and
`emospec crossval packs/emodb --out RUNS` (one speaker out, speaker-independent, seed 0), and EMO-DB at $EMODB, else in
`../shared/corpora/emodb`. Every ratio compares two ways that took turns in one run, {REPEATS} repetitions after a warm-up (Cold start: 11; Serving: 2 rounds
of many requests, the first without a warm-up; Memory: as many trainings); spread is the smallest and largest repetition. A + marks a commit with changes. "Plain" is the method written naively: `bench/plain.py`.
"""


def main() -> None:
    """Measure what is named, or everything."""
    os.environ[SAFE_PATH] = "1"  # of what is started to be measured
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS + OF_RUNS))
    parser.add_argument(
        "--runs", type=Path, help=f"a one-speaker-out crossval on EMO-DB, for {' and '.join(OF_RUNS)}"
    )
    options = parser.parse_args()
    every = BENCHMARKS + OF_RUNS
    if unknown := [name for name in options.names if name not in every]:
        parser.error(f"there is no benchmark {unknown[0]!r}; there are {', '.join(every)}")
    if options.runs is None and (of_runs := [name for name in options.names if name in OF_RUNS]):
        parser.error(f"{of_runs[0]} needs --runs, a one-speaker-out crossval on EMO-DB")
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # every benchmark is of the CPU, and says so
    code = _code()  # before RESULTS.md is one of its changes
    for name in options.names or (every if options.runs else BENCHMARKS):
        started = time.perf_counter()
        measure = importlib.import_module(f"bench.{name}").main
        section = measure(options.runs) if name in OF_RUNS else measure()
        section += f"\nMeasured at {code}, {date.today()}, on {machine()}.\n"
        keep(section)
        print(f"{section}\n({name}: {time.perf_counter() - started:.0f} s)\n", flush=True)


def _code() -> str:
    found = commit()
    return f"{found[:7]}{'+' * found.endswith('+')}" if found else "an unknown commit"


def keep(section: str) -> None:
    """Put a section in its place in RESULTS.md, or at its end; the others stay."""
    old = RESULTS.read_text(encoding="utf-8") if RESULTS.is_file() else ""
    title = section.partition("\n")[0]
    parts = [HEAD, *re.split(r"(?m)^(?=## )", old)[1:]]
    places = {part.partition("\n")[0]: i for i, part in enumerate(parts)}
    if title in places:
        parts[places[title]] = section
    else:
        parts.append(section)
    RESULTS.write_text("\n".join(part.strip("\n") + "\n" for part in parts), encoding="utf-8")


if __name__ == "__main__":
    with exit_on_error("bench"):
        main()
