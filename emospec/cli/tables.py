"""What the command line shows: bars, tables, JSON."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from emospec.files import to_json
from emospec.progress import ProgressLines

if TYPE_CHECKING:
    from emospec.data.corpora import CorpusCheck
    from emospec.evaluation.comparison import Pair
    from emospec.evaluation.statistics import Comparison, Interval
    from emospec.evaluation.summary import Summary
    from emospec.evaluation.sweeps import Sweep
    from emospec.experiments.run import RunProgress
    from emospec.inference.model import Model
    from emospec.runs.record import RunRecord

PIPED_WIDTH = 120  # characters of a table that goes to a file or another program
MOST_LEAKS = 5
LINE_SECONDS = 10.0  # between two lines of progress where there is no terminal
SPEAKERS = {
    False: "speaker-independent",
    True: "speaker-DEPENDENT: test speakers are also in training or dev",
    None: "speakers unknown",
}


@contextmanager
def progress_bars(quiet: bool) -> Iterator["RunProgress"]:
    """A bar per run on standard error, where that is a terminal and not `quiet`; else a line now and then."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        "{task.description}",
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[word]}"),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal) as bars:
        tasks: dict[str, Any] = {}
        lines = None if console.is_terminal else ProgressLines()

        def update(name: str, done: int, total: int, word: str) -> None:
            if lines:
                lines.update(name, done, total, word)
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=total, word="")
            bars.update(tasks[name], completed=done, total=total, word=word)

        yield update


@contextmanager
def scoring_progress() -> Iterator[Callable[[int, int, float], None]]:
    """Files, their rate and the time left on standard error: a bar on a terminal, else a line now and then."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    console, started = Console(stderr=True), time.monotonic()
    at_first: list[int] = []
    told = started
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("files")

        def update(done: int, total: int, audio_seconds: float) -> None:
            nonlocal told
            now = time.monotonic()
            if not at_first:
                at_first.append(done)
            words = _rate(done - at_first[0], total - done, audio_seconds, now - started)
            bar.update(task, completed=done, total=total, description=words)
            if bar.disable and (now - told >= LINE_SECONDS or done == total):
                told = now
                print(f"{done} of {total} {words}", file=sys.stderr, flush=True)

        yield update


def _rate(files: int, left: int, audio_seconds: float, seconds: float) -> str:
    """How fast files are scored, in words."""
    if not files:
        return "files"
    hours = audio_seconds / 3600 / (seconds / 60)
    rest = round(left * seconds / files)
    clock = f"{rest // 3600}:{rest // 60 % 60:02}:{rest % 60:02}"
    return f"files, {files / seconds:.1f} files/s, {hours:.2f} hours of audio a minute, {clock} left"


def print_scored(facts: dict[str, Any], out: Path, as_json: bool) -> None:
    """What bulk scoring has found: emotions, then failures by kind."""
    if as_json:
        print_json(facts | {"out": str(out)})
        return
    console = wide_console()
    table = Table("", "files", "% of all", box=SIMPLE_HEAD, pad_edge=False)
    failures = {f"failed: {kind}": count for kind, count in facts["failures"].items()}
    for what, count in (facts["emotions"] | failures).items():
        table.add_row(escape(what), str(count), percent(count / facts["files"]))
    console.print(table)
    hours, last = facts["audio_seconds"] / 3600, facts["last_call"]
    console.print(
        f"{facts['files']} files, {hours:.2f} hours; the last call: {last['files']} files in {last['seconds']:.0f} s, "
        f"{last['files_per_second']:.1f} files/s"
    )
    console.print(f"results: {out.resolve()}", markup=False, soft_wrap=True)


def print_models(models: "list[Model]", as_json: bool) -> None:
    """The models, what each learned from and how good its recipe is on speakers it has not heard."""
    if as_json:
        facts = [
            {"name": m.folder.name, "classes": m.names, "licences": m.licences}
            | {key: m.about.get(key) for key in ("training", "crossval")}
            for m in models
        ]
        print_json({"models": facts})
        return
    from emospec.inference.model import CARD

    console = wide_console()
    for m in models:
        console.print(f"[bold]{escape(m.folder.name)}[/bold]: {escape(', '.join(m.names))}")
        for corpus in m.about["training"]["corpora"]:
            learned = f"{corpus['title']}, {corpus['utterances']} utterances of {corpus['speakers'] or 'unknown'} speakers"
            console.print(
                f"  learned from {learned}; {corpus['licence'] or 'not stated'}", markup=False, soft_wrap=True
            )
        if judged := m.about.get("crossval"):
            protocol, overlap = judged["protocol"], SPEAKERS[judged["speaker_overlap"]]
            told = "; ".join(
                f"{name} {percent(ua)} [{percent(low)}, {percent(high)}]"
                for name, (ua, low, high) in judged["UA"].items()
            )
            console.print(f"  UA, {protocol}, {overlap}: {told}", markup=False, soft_wrap=True)
        console.print(
            f"  licence of its weights: {m.terms}; card: {m.folder / CARD}",
            markup=False,
            soft_wrap=True,
        )
    console.print("One on your own data: emospec prepare, emospec train, emospec export (docs/using.md)")


def print_summaries(
    summaries: "list[Summary]", as_json: bool, places: dict[str, str], **more: dict[str, str]
) -> None:
    """UA and WA by setting; protocols that share speakers between training and test say so.

    Args:
        summaries: the settings.
        as_json: for machines.
        places: what was written where.
        more: further facts, for JSON only.
    """
    from emospec.evaluation.sweeps import find_sweeps
    from emospec.runs.record import share_overrides

    sweeps = find_sweeps(summaries)
    if as_json:
        further: dict[str, Any] = {name: facts for name, facts in more.items() if facts}
        if sweeps:
            further["sweeps"] = [_sweep_facts(sweep) for sweep in sweeps]
        print_json({"settings": [_setting_facts(s) for s in summaries]} | places | further)
        return
    console = wide_console()
    runs, told = share_overrides([s.runs[0] for s in summaries])
    named = [(run.setting, s) for run, s in zip(runs, summaries, strict=True)]
    for overlap in (False, True, None):
        chosen = [(name, s) for name, s in named if s.speaker_overlap is overlap]
        if chosen:
            console.print(_table_of(SPEAKERS[overlap], chosen))
        for corpora in dict.fromkeys(s.runs[0].corpora for _, s in chosen if s.by_corpus):
            console.print(
                _by_corpus(corpora, [(name, s) for name, s in chosen if s.runs[0].corpora == corpora])
            )
        _print_leaks(console, chosen)
    if told:
        console.print(f"all runs: {', '.join(told)}", markup=False, soft_wrap=True)
    for sweep in sweeps:
        _print_choice(console, sweep)
    for what, place in places.items():
        console.print(f"{what}: {Path(place).resolve()}", markup=False, soft_wrap=True)


def _where(run: "RunRecord") -> dict[str, Any]:
    """What `RunRecord.section` is, for `--json`."""
    protocol, corpora, classes = run.meta["protocol"]["name"], run.corpora, run.classes
    return {"corpus": "+".join(corpora), "classes": list(classes), "protocol": protocol}


def _setting_facts(summary: "Summary") -> dict[str, Any]:
    """What `--json` says of a setting."""
    run, protocol = summary.runs[0], summary.runs[0].meta["protocol"]
    return {
        "setting": summary.setting,
        **_where(run),
        "speaker_overlap": summary.speaker_overlap,
        "hash": protocol["hash"],
        "runs": len(summary.runs),
        "how": summary.how,
        "UA": summary.ua,
        "WA": summary.wa,
        "UA_interval": [summary.intervals["UA"].low, summary.intervals["UA"].high],
        "WA_interval": [summary.intervals["WA"].low, summary.intervals["WA"].high],
        "UA_deviation": summary.ua_deviation,
        "WA_deviation": summary.wa_deviation,
        "dev_UA": summary.dev_ua,
        "recall": summary.recall,
        "by_corpus": {
            name: {"UA": found.estimate, "UA_interval": [found.low, found.high]}
            for name, found in summary.by_corpus.items()
        },
        "corpora_mean_UA": summary.corpora_mean,
        "audit": sorted({run.audit.summary for run in summary.runs}),
    }


def _table_of(title: str, named: "list[tuple[str, Summary]]") -> Table:
    table = Table(title=title, box=SIMPLE_HEAD, pad_edge=False)
    for column in ("setting", "corpus", "split", "runs", "UA % [95%]", "WA % [95%]"):
        table.add_column(escape(column), no_wrap=column.endswith("[95%]"), overflow="fold")
    for name, s in named:
        run = s.runs[0]
        facts = ("+".join(run.corpora), run.meta["protocol"]["name"], str(len(s.runs)))
        scores = _with_interval(s.ua, s.intervals["UA"]), _with_interval(s.wa, s.intervals["WA"])
        table.add_row(escape(name), *facts, *scores)
    return table


def _by_corpus(corpora: tuple[str, ...], named: "list[tuple[str, Summary]]") -> Table:
    """UA on each corpus of a pool, and their plain mean."""
    table = Table(title="UA % [95%] by corpus", box=SIMPLE_HEAD, pad_edge=False)
    for column in ("setting", "split", *corpora, "plain mean"):
        table.add_column(escape(column), overflow="fold")
    for name, s in named:
        cells = (_with_interval(s.by_corpus[c].estimate, s.by_corpus[c]) for c in corpora)
        table.add_row(escape(name), s.runs[0].meta["protocol"]["name"], *cells, percent(s.corpora_mean))
    return table


def _with_interval(value: float, interval: "Interval") -> str:
    return escape(f"{percent(value)} [{percent(interval.low)}, {percent(interval.high)}]")


def _print_leaks(console: Console, named: "list[tuple[str, Summary]]") -> None:
    """What the audit found in the runs of a table, with the settings it was found in."""
    settings: dict[str, dict[str, None]] = {}
    for name, s in named:
        for run in s.runs:
            for leak in run.audit.leaks:
                settings.setdefault(f"{leak.check}: {leak.words}", {})[name] = None
    for words, names in list(settings.items())[:MOST_LEAKS]:
        where = f" ({'; '.join(names)})" if len(names) < len(named) else ""
        console.print(f"leak: {words}{where}", style="red", markup=False, soft_wrap=True)
    if len(settings) > MOST_LEAKS:
        console.print(f"and {len(settings) - MOST_LEAKS} more: `emospec report` lists all", style="red")


def _sweep_facts(sweep: "Sweep") -> dict[str, Any]:
    """What `--json` says of a sweep: dev of each value, dev's choice, and the result of choosing by dev."""
    by_dev, run = sweep.by_dev, sweep.summaries[0].runs[0]
    return {
        **_where(run),
        "key": sweep.key,
        "variant": sweep.variant,
        "values": sweep.values,
        "dev_UA": [sweep.dev_ua(summary) for summary in sweep.summaries],
        "chosen": sweep.best_value,
        "p_holm": [row.p for row in sweep.rows],
        "by_dev": by_dev
        and {
            "UA": by_dev.ua,
            "WA": by_dev.wa,
            "UA_interval": [by_dev.intervals["UA"].low, by_dev.intervals["UA"].high],
            "runs": len(by_dev.runs),
        },
    }


def _print_choice(console: Console, sweep: "Sweep") -> None:
    """What dev chooses in a sweep; the table above shows test of all values, which is no ground to choose."""
    dev = ", ".join(
        f"{value} {percent(sweep.dev_ua(s))}" for value, s in zip(sweep.values, sweep.summaries, strict=True)
    )
    run = sweep.summaries[0].runs[0]
    where = f"{'+'.join(run.corpora)}, {run.meta['protocol']['name']}"
    words = f"sweep of {sweep.symbol} on {where}: dev chooses {sweep.best_value} (dev UA %: {dev})"
    if sweep.by_dev:
        found = sweep.by_dev.intervals["UA"]
        ends = f"[{percent(found.low)}, {percent(found.high)}]"
        words += f"; choosing by dev in each fold gives UA {percent(sweep.by_dev.ua)} {ends}"
    console.print(words, markup=False, soft_wrap=True)


def print_comparison(pair: "Pair", as_json: bool) -> None:
    """One setting less another, with the interval by speaker and the p of the permutation test."""
    from emospec.runs.record import share_overrides

    if as_json:
        print_json(_pair_facts(pair))
        return
    (one, other), told = share_overrides([pair.first.runs[0], pair.second.runs[0]])
    named = [(one.setting, pair.first), (other.setting, pair.second)]
    found = [*pair.comparisons.values(), *pair.by_corpus.values()]
    console = wide_console()
    title = f"{one.meta['protocol']['name']}, {SPEAKERS[pair.first.speaker_overlap]}"
    table = Table(title=title, box=SIMPLE_HEAD, pad_edge=False)
    for column in ("", *pair.comparisons, *(f"UA, {name}" for name in pair.by_corpus)):
        table.add_column(escape(column), overflow="fold")
    for name, s in named:
        table.add_row(
            escape(name),
            percent(s.ua),
            percent(s.wa),
            *(percent(s.by_corpus[c].estimate) for c in pair.by_corpus),
        )
    ends = (f"[{percent(c.interval.low)}, {percent(c.interval.high)}]" for c in found)
    table.add_row("difference, points", *(f"{100 * c.difference:+.1f}" for c in found))
    table.add_row("95% interval", *map(escape, ends))
    table.add_row("p", *("n/a" if c.p is None else f"{c.p:.4f}" for c in found))
    console.print(table)
    _print_leaks(console, named)
    if told:
        console.print(f"all runs: {', '.join(told)}", markup=False, soft_wrap=True)
    ua = pair.comparisons["UA"]
    runs = len(pair.first.runs)
    how = f"p: sign-flip permutation by {ua.interval.unit}, {'exact' if ua.exact else 'sampled'}"
    console.print(f"{runs} pair{'s' * (runs != 1)} of runs; {ua.interval.clusters} {ua.interval.unit}.")
    console.print(ua.reason or f"{how}, {ua.permutations} ways.")
    if pair.are_equal:
        console.print("Both predict the same throughout: copies of one run, or one setting trained twice.")
    if pair.by_corpus:
        console.print("A corpus by itself is one of several looks: its p is not corrected for that.")


def _pair_facts(pair: "Pair") -> dict[str, Any]:
    """What `--json` says of a comparison."""
    facts: dict[str, Any] = {
        "first": pair.first.setting,
        "second": pair.second.setting,
        "runs": len(pair.first.runs),
        "protocol": pair.first.runs[0].meta["protocol"]["name"],
        "speaker_overlap": pair.first.speaker_overlap,
        "same_predictions": pair.are_equal,
        "audit": sorted({run.audit.summary for s in (pair.first, pair.second) for run in s.runs}),
    }
    for metric, found in pair.comparisons.items():
        name = metric.lower()
        facts[metric] = _comparison_facts(getattr(pair.first, name), getattr(pair.second, name), found)
    first, second = pair.first.by_corpus, pair.second.by_corpus
    facts["UA_by_corpus"] = {
        name: _comparison_facts(first[name].estimate, second[name].estimate, found)
        for name, found in pair.by_corpus.items()
    }
    return facts


def _comparison_facts(first: float, second: float, found: "Comparison") -> dict[str, Any]:
    return {
        "first": first,
        "second": second,
        "difference": found.difference,
        "interval": [found.interval.low, found.interval.high],
        "clusters": found.interval.clusters,
        "unit": found.interval.unit,
        "p": found.p,
        "permutations": found.permutations,
        "exact": found.exact,
        "reason": found.reason or found.interval.reason,
    }


def wide_console() -> Console:
    """Standard output; wide enough for tables where it is not a terminal."""
    plain = Console(highlight=False)
    if not plain.is_terminal:
        plain.width = PIPED_WIDTH
    return plain


def percent(value: float | None) -> str:
    """A share as percent with one digit; n/a where there is none."""
    return "n/a" if value is None or value != value else f"{100 * value:.1f}"


def print_json(content: Any) -> None:
    """JSON on standard output, for machines."""
    print(to_json(content), end="")


def print_corpora(rows: list[dict[str, Any]]) -> None:
    """A paragraph for each corpus."""
    console = Console(highlight=False)
    for row in rows:
        size = (
            f"{row['utterances']} utterances, {row['speakers']} speakers" if row["utterances"] else "any size"
        )
        language = f" ({row['language']})" if row["language"] else ""
        console.print(
            f"[bold]{row['name']}[/bold]  {row['title']}{language}: {size}; default split {row['protocol']}"
        )
        counts = ", ".join(f"{emotion} {n}" for emotion, n in row["classes"].items())
        facts = {
            "classes": counts,
            "files": row["layout"],
            "licence": row["licence"],
            "get it": row["source"],
        }
        for what, words in (facts | {"cite": row["citation"], "note": row["note"]}).items():
            if words:
                console.print(Padding(f"[dim]{what}:[/dim] {escape(words)}", (0, 0, 0, 4)))


def print_check(found: "CorpusCheck") -> None:
    """What a copy of a corpus holds beside what the whole corpus holds."""
    console = Console()
    console.print(f"[bold]{found.corpus}[/bold]: {escape(found.summary)}", highlight=False)
    table = Table("emotion", "found", "expected")
    for emotion, (n, expected) in found.classes.items():
        table.add_row(escape(emotion), str(n), "any" if expected is None else str(expected))
    console.print(table)
    for difference in found.differences:
        console.print(f"differs: {difference}", highlight=False, markup=False)
    console.print("The copy is complete." if found.complete else "The copy is not the whole corpus.")


def print_scores(scores: dict[str, Any]) -> None:
    """UA, WA and recall by class of one set of predictions."""
    classes = map(escape, scores["classes"])
    table = Table("UA %", "WA %", "utterances", *classes, title=SPEAKERS[scores["speaker_overlap"]])
    recalls = (percent(value) for value in scores["recall"].values())
    table.add_row(percent(scores["UA"]), percent(scores["WA"]), str(scores["utterances"]), *recalls)
    console = wide_console()
    console.print(table)
    console.print(scores["overlap_words"], markup=False, soft_wrap=True)
    if scores["left_out"]:
        console.print(f"left out: {scores['left_out']} utterances that the model was trained or selected on")
    if scores["other_emotions"]:
        others = ", ".join(f"{emotion} {n}" for emotion, n in scores["other_emotions"].items())
        console.print(f"left out, as the model does not know them: {others}", markup=False, soft_wrap=True)
