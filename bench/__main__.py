"""Run the benchmarks and write RESULTS.md, each section as soon as it is measured."""

import argparse
import importlib
import time
from datetime import date
from pathlib import Path

from bench.measure import REPEATS, machine
from emospec.provenance import commit

BENCHMARKS = ("training", "frontend", "preparing", "crossval", "memory", "growth")
OF_RUNS = ("recognition", "typicality")
RESULTS = Path(__file__).with_name("RESULTS.md")
SECTIONS = Path(__file__).with_name(".sections")

HEAD = """# Speed, measured

Made by `make bench` ({machine}). Every ratio compares two ways that
took turns in one run, {repeats} repetitions after a warm-up; spread is the least and the largest of the repetitions.
"Plain" is the method written naively: `bench/plain.py`.

"""


def main() -> None:
    """Measure what is named, or everything."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS + OF_RUNS))
    parser.add_argument(
        "--runs", type=Path, help=f"a one-speaker-out crossval on EMO-DB, for {' and '.join(OF_RUNS)}"
    )
    options = parser.parse_args()
    every = BENCHMARKS + OF_RUNS
    if unknown := [name for name in options.names if name not in every]:
        parser.error(f"there is no benchmark {unknown[0]!r}; there are {', '.join(every)}")
    SECTIONS.mkdir(exist_ok=True)
    for name in options.names or (every if options.runs else BENCHMARKS):
        started = time.perf_counter()
        measure = importlib.import_module(f"bench.{name}").main
        section = measure(options.runs) if name in OF_RUNS else measure()
        section += f"\nMeasured at {(commit() or 'an unknown commit')[:7]}, {date.today()}.\n"
        (SECTIONS / f"{name}.md").write_text(section, encoding="utf-8")
        print(f"{section}\n({name}: {time.perf_counter() - started:.0f} s)\n", flush=True)
    sections = [path.read_text(encoding="utf-8") for n in every if (path := SECTIONS / f"{n}.md").is_file()]
    head = HEAD.format(machine=machine(), repeats=REPEATS)
    RESULTS.write_text(head + "\n".join(sections), encoding="utf-8")


if __name__ == "__main__":
    main()
