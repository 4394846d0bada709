"""Run the benchmarks and write RESULTS.md, each section as soon as it is measured."""

import argparse
import importlib
import time
from datetime import date
from pathlib import Path

from bench.measure import REPEATS, machine
from emospec.provenance import commit

BENCHMARKS = ("training", "frontend", "preparing", "crossval", "memory", "growth")
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
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    names = parser.parse_args().names
    if unknown := [name for name in names if name not in BENCHMARKS]:
        parser.error(f"there is no benchmark {unknown[0]!r}; there are {', '.join(BENCHMARKS)}")
    SECTIONS.mkdir(exist_ok=True)
    for name in names or BENCHMARKS:
        started = time.perf_counter()
        section = importlib.import_module(f"bench.{name}").main()
        section += f"\nMeasured at {(commit() or 'an unknown commit')[:7]}, {date.today()}.\n"
        (SECTIONS / f"{name}.md").write_text(section, encoding="utf-8")
        print(f"{section}\n({name}: {time.perf_counter() - started:.0f} s)\n", flush=True)
    sections = [
        path.read_text(encoding="utf-8") for n in BENCHMARKS if (path := SECTIONS / f"{n}.md").is_file()
    ]
    head = HEAD.format(machine=machine(), repeats=REPEATS)
    RESULTS.write_text(head + "\n".join(sections), encoding="utf-8")


if __name__ == "__main__":
    main()
