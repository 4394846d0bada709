"""One report from run folders: a self-contained HTML page and its figures.

This room says what the numbers mean and where they are silent, from what the run folders hold and
from nothing else. results.py sums up, figures.py draws, report.html.j2 lays out.
"""

from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from emospec.errors import OutputError, RunError
from emospec.evaluation.summary import Summary
from emospec.files import write_text
from emospec.report import words
from emospec.report.published import WHERE
from emospec.report.section import Section
from emospec.report.words import count, distinct, duration
from emospec.runs.record import RunRecord, flatten, share_changes

PAPER = (
    "D. Dai, Z. Wu, R. Li, X. Wu, J. Jia, H. Meng, “Learning Discriminative Features from Spectrograms using "
    "Center Loss for Speech Emotion Recognition”, ICASSP 2019, pp. 7405-7409."
)
PAPER_URL = "https://arxiv.org/abs/2501.01103"


def write_report(runs: Sequence[RunRecord], out: Path, title: str | None = None) -> Path:
    """Write `out`/report.html, which needs no other file, and `out`/figures/*.png and *.svg.

    Runs of different protocols, corpora or classes are told in sections of their own.

    Args:
        runs: finished runs, of any settings.
        out: a folder; made if missing, files of the same name are replaced.
        title: the page's title; by default it names the corpora.

    Returns:
        The path of report.html.

    Raises:
        RunError: there are no runs, or runs that claim one fold list have different ones.
        OutputError: `out` is a file.

    Example:
        >>> write_report(find_runs([Path("runs")]), Path("report"))  # doctest: +SKIP
    """
    if not runs:
        raise RunError("there are no runs to report: give at least one finished run folder")
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out} is a file: a report needs a folder. Name another")
    groups: dict[tuple[object, ...], list[RunRecord]] = {}
    for run in runs:
        groups.setdefault(run.section, []).append(run)
    sections = []
    for number, group in enumerate(groups.values(), start=1):
        renamed, shared = share_changes(group)
        sections.append(Section(number, tuple(renamed), tuple(shared)))
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    names = [
        "cell",
        "count",
        "duration",
        "ends",
        "p_words",
        "percent_sign",
        "signed",
        "signed_ends",
        "verdict",
    ]
    environment.filters |= {name: getattr(words, name) for name in names}
    template = environment.from_string(
        resources.files(__package__).joinpath("report.html.j2").read_text("utf-8")
    )
    titles = distinct(corpus.title for section in sections for corpus in section.corpora)
    page = template.render(
        title=title or f"Speech emotion recognition on {' and '.join(titles)}",
        sections=[(section, section.pictures(out / "figures")) for section in sections],
        created=distinct(run.meta.created[:10] for run in sorted(runs, key=lambda run: run.meta.created)),
        made=made,
        config_of=config_of,
        paper=PAPER,
        paper_url=PAPER_URL,
        overlap_labels=words.OVERLAP_LABELS,
        published_where=WHERE,
    )
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "report.html", page)
    return out / "report.html"


def made(runs: Sequence[RunRecord]) -> list[tuple[str, list[str]]]:
    """How runs were made: what was recorded, and its different values."""

    def pairs(values: dict[str, Any]) -> str:
        return ", ".join(f"{name} {value}" for name, value in values.items())

    seconds = [run.meta.seconds for run in runs]
    facts: list[tuple[str, Iterable[str]]] = [
        ("commands", [*(_preparation(run) for run in runs), *(run.meta.command for run in runs)]),
        (
            "emospec",
            (f"{m.emospec}, commit {m.commit or 'n/a (not recorded)'}" for m in (r.meta for r in runs)),
        ),
        ("versions", (pairs(run.meta.versions) for run in runs)),
        ("hardware", (pairs(run.meta.hardware.to_dict()) for run in runs)),
        ("seeds", [", ".join(distinct(str(run.meta.seed) for run in runs))]),
        ("steps", (str(run.meta.steps) for run in runs)),
        ("parameters", (f"{run.meta.parameters:,}" for run in runs)),
        ("time", [f"{duration(sum(seconds))} for {count(len(runs), 'run')}"]),
        (
            "fold lists",
            (f"repeat {p.repeat}: sha256 {p.hash}" for p in (r.meta.protocol for r in runs)),
        ),
    ]
    return [(name, distinct(values)) for name, values in facts]


def _preparation(run: RunRecord) -> str:
    """The command that makes the run's pack, from corpora whose folders only the reader knows."""
    roots = " ".join(f"{name}={name.upper()}" for name in run.corpora)
    return f"emospec prepare {roots} --pack {run.meta.pack.folder}"


def config_of(summary: Summary) -> str:
    """`config.toml` of a setting's first run, and the keys whose values differ in its other runs."""
    flat = [
        {key: repr(value) for key, value in flatten(run.settings.model_dump(exclude_unset=True)).items()}
        for run in summary.runs
    ]
    differing = sorted(key for key in set().union(*flat) if len({settings.get(key) for settings in flat}) > 1)
    note = f"# differs between the {len(flat)} runs: {', '.join(differing)}\n\n" if differing else ""
    return note + (summary.runs[0].folder / "config.toml").read_text(encoding="utf-8").strip()
