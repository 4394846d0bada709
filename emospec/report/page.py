"""Page of a report: one self-contained HTML file from run folders, and its figures beside it.

section.py has the facts, figures.py draws them, words.py phrases them, and report.html.j2 lays them out. A new table
is a property of `Section` and a table in the template.
"""

from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from inspect import isfunction
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from emospec.errors import OutputError, RunError
from emospec.evaluation.summary import Summary, grouped
from emospec.files import write_text
from emospec.report import words
from emospec.report.published import PUBLISHED_ON
from emospec.report.section import Section
from emospec.report.words import count, distinct, duration
from emospec.runs.record import RunRecord, flatten, share_changes

_PAPER = (
    "D. Dai, Z. Wu, R. Li, X. Wu, J. Jia, H. Meng, “Learning Discriminative Features from Spectrograms using "
    "Center Loss for Speech Emotion Recognition”, ICASSP 2019, pp. 7405-7409."
)
_PAPER_URL = "https://arxiv.org/abs/2501.01103"


def write_report(runs: Sequence[RunRecord], out: Path, title: str | None = None) -> Path:
    """Write `out`/report.html, which needs no other file, and `out`/figures/*.png and *.svg.

    Runs of different protocols, corpora or classes get sections of their own.

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
    sections = []
    for number, group in enumerate(grouped(runs, lambda run: run.section), start=1):
        renamed, shared = share_changes(group)
        sections.append(Section(number, tuple(renamed), tuple(shared)))
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    # Every function of words.py is a filter of the template.
    environment.filters |= {name: value for name, value in vars(words).items() if isfunction(value)}
    layout = resources.files(__package__).joinpath("report.html.j2").read_text("utf-8")
    titles = distinct(corpus.title for section in sections for corpus in section.corpora)
    dates = sorted(run.meta.created for run in runs)
    page = environment.from_string(layout).render(
        title=title or f"Speech emotion recognition on {' and '.join(titles)}",
        sections=[(section, section.pictures(out / "figures")) for section in sections],
        created=distinct(date[:10] for date in dates),
        provenance=_provenance,
        settings_text=_settings_text,
        paper=_PAPER,
        paper_url=_PAPER_URL,
        overlap_labels=words.OVERLAP_LABELS,
        published_where=PUBLISHED_ON,
    )
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "report.html", page)
    return out / "report.html"


def _provenance(runs: Sequence[RunRecord]) -> list[tuple[str, list[str]]]:
    """Return how runs were made: the names of the recorded facts, and the different values of each."""
    metas = [run.meta for run in runs]
    seconds = sum(meta.seconds for meta in metas)
    facts: dict[str, Iterable[str]] = {
        "commands": [*map(_preparation, runs), *(meta.command for meta in metas)],
        "emospec": (f"{m.emospec}, commit {m.commit or 'n/a (not recorded)'}" for m in metas),
        "versions": (_pairs(meta.versions) for meta in metas),
        "hardware": (_pairs(meta.hardware.to_dict()) for meta in metas),
        "seeds": [", ".join(distinct(str(meta.seed) for meta in metas))],
        "steps": (str(meta.steps) for meta in metas),
        "parameters": (f"{meta.parameters:,}" for meta in metas),
        "time": [f"{duration(seconds)} for {count(len(runs), 'run')}"],
        "fold lists": (f"repeat {p.repeat}: sha256 {p.hash}" for p in (m.protocol for m in metas)),
    }
    return [(name, distinct(values)) for name, values in facts.items()]


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _preparation(run: RunRecord) -> str:
    """Return the command that makes the run's pack; the reader fills in the folders of the corpora."""
    roots = " ".join(f"{name}={name.upper()}" for name in run.corpora)
    return f"emospec prepare {roots} --pack {run.meta.pack.folder}"


def _settings_text(summary: Summary) -> str:
    """Return `config.toml` of a setting's first run, and the keys whose values differ in its other runs."""
    configs = [
        {key: repr(value) for key, value in flatten(run.settings.model_dump(exclude_unset=True)).items()}
        for run in summary.runs
    ]
    differing = [key for key in set().union(*configs) if len({flat.get(key) for flat in configs}) > 1]
    note = (
        f"# differs between the {len(configs)} runs: {', '.join(sorted(differing))}\n\n" if differing else ""
    )
    return note + (summary.runs[0].folder / "config.toml").read_text(encoding="utf-8").strip()
