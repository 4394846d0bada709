"""Page of a report: one self-contained HTML file from run folders, and its figures beside it.

section.py has the facts, figures.py draws them, words.py phrases them, and report.html.j2 lays them out.
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
        runs: finished runs, of any settings; RunError for none, or different lists for one fold.
        out: a folder; made if missing, files of the same name are replaced.
        title: the page's title; by default it names the corpora.
    """
    if not runs:
        raise RunError("there are no runs to report: give at least one finished run folder")
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out} is a file: a report needs a folder. Name another")
    sections = []
    # Changed settings that all runs of a section have go above its tables, for shorter names within these.
    for number, group in enumerate(grouped(runs, lambda run: run.section), start=1):
        renamed, shared = share_changes(group)
        sections.append(Section(number, tuple(renamed), tuple(shared)))
    # Names in corpora and presets are other people's words: escaped, they are no markup.
    jinja = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    # Every function of words.py is a filter of the template.
    jinja.filters |= {name: value for name, value in vars(words).items() if isfunction(value)}
    layout = resources.files(__package__).joinpath("report.html.j2").read_text("utf-8")
    titles = distinct(corpus.title for section in sections for corpus in section.corpora)
    dates = sorted(run.meta.created for run in runs)
    page = jinja.from_string(layout).render(
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
    # Of the command that makes a pack the reader fills in the folders of the corpora.
    roots = (" ".join(f"{name}={name.upper()}" for name in run.corpora) for run in runs)
    packs = (f"emospec prepare {names} --pack {m.pack.folder}" for names, m in zip(roots, metas, strict=True))
    facts: dict[str, Iterable[str]] = {
        "commands": [*packs, *(meta.command for meta in metas)],
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


def _settings_text(summary: Summary) -> str:
    """Return `config.toml` of a setting's first run, and the keys whose values differ in its other runs."""
    configs = [flatten(run.settings.model_dump(exclude_unset=True)) for run in summary.runs]
    keys = sorted(set().union(*configs))
    # By `repr`, as lists are not hashable; a key that a run lacks is not one whose value is None.
    texts = {key: {repr(flat[key]) if key in flat else "" for flat in configs} for key in keys}
    differing = ", ".join(key for key in keys if len(texts[key]) > 1)
    text = (summary.runs[0].folder / "config.toml").read_text(encoding="utf-8").strip()
    return f"# differs between the {len(configs)} runs: {differing}\n\n{text}" if differing else text
