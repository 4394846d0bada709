"""Tables of results, and the same facts as JSON: settings, sweeps, comparisons, scores, bulk scoring, models."""

from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from emospec.cli.streams import print_json
from emospec.report.words import OVERLAP_LABELS, count, percent

if TYPE_CHECKING:
    from emospec.evaluation.comparison import Pair
    from emospec.evaluation.statistics import Comparison, Interval
    from emospec.evaluation.summary import Summary
    from emospec.evaluation.sweeps import Sweep
    from emospec.experiments.results import NewScores
    from emospec.inference.model import Model
    from emospec.runs.record import RunRecord

    # Settings, each under the name of its row.
    _Named = list[tuple[str, Summary]]

# Characters of a table that goes to a file or another program.
_PIPED_WIDTH = 120
_MOST_LEAKS = 5
# The title of a table warns of an overlap of speakers, which makes its numbers no measure of new ones.
OVERLAP_TITLES = OVERLAP_LABELS | {True: "speaker-DEPENDENT: test speakers are also in training or dev"}


def print_summaries(
    summaries: "list[Summary]", as_json: bool, places: dict[str, str], **more: dict[str, str]
) -> None:
    """Print UA and WA by setting, and the places of what was written; `more` is for JSON only."""
    from emospec.evaluation.sweeps import find_sweeps
    from emospec.runs.record import share_changes

    sweeps = find_sweeps(summaries)
    if as_json:
        facts: dict[str, Any] = {"settings": [_setting_facts(s) for s in summaries]} | places
        facts |= {name: further for name, further in more.items() if further}
        if sweeps:
            facts["sweeps"] = [_sweep_facts(sweep) for sweep in sweeps]
        print_json(facts)
        return
    console = _console()
    runs, shared = share_changes([s.runs[0] for s in summaries])
    named = [(run.setting, s) for run, s in zip(runs, summaries, strict=True)]
    # Numbers of protocols that share speakers stand in a table of their own, with a warning in its title.
    for overlap in (False, True, None):
        chosen = [(name, s) for name, s in named if s.speaker_overlap is overlap]
        if chosen:
            console.print(_settings_table(OVERLAP_TITLES[overlap], chosen))
        for corpora in dict.fromkeys(s.runs[0].corpora for _, s in chosen if s.by_corpus):
            of_corpora = [(name, s) for name, s in chosen if s.runs[0].corpora == corpora]
            console.print(_corpora_table(corpora, of_corpora))
        _print_leaks(console, chosen)
    # Overrides that all settings share stand below the table instead of in each name.
    _print_shared(console, shared)
    for sweep in sweeps:
        _print_choice(console, sweep)
    for name, place in places.items():
        _print_line(console, f"{name}: {Path(place).resolve()}")


def _settings_table(title: str, named: "_Named") -> Table:
    columns = ("setting", "corpus", "split", "runs", "UA % [95%]", "WA % [95%]")
    table = _folding_table(title, *columns)
    for name, s in named:
        run = s.runs[0]
        facts = ("+".join(run.corpora), run.meta.protocol.name, str(len(s.runs)))
        scores = (s.ua, s.intervals["UA"]), (s.wa, s.intervals["WA"])
        table.add_row(escape(name), *facts, *(_with_interval(*score) for score in scores))
    return table


def _corpora_table(corpora: tuple[str, ...], named: "_Named") -> Table:
    table = _folding_table("UA % [95%] by corpus", "setting", "split", *corpora, "plain mean")
    for name, s in named:
        cells = (_with_interval(s.by_corpus[c].estimate, s.by_corpus[c]) for c in corpora)
        table.add_row(escape(name), s.runs[0].meta.protocol.name, *cells, percent(s.corpora_mean))
    return table


def _print_leaks(console: Console, named: "_Named") -> None:
    # The audit finds the same leak in many runs: it stands once, with the settings that have it.
    settings: dict[str, dict[str, None]] = {}
    for name, s in named:
        for run in s.runs:
            for leak in run.meta.audit.leaks:
                settings.setdefault(f"{leak.check}: {leak.words}", {})[name] = None
    for words, names in list(settings.items())[:_MOST_LEAKS]:
        where = f" ({'; '.join(names)})" if len(names) < len(named) else ""
        _print_line(console, f"leak: {words}{where}", style="red")
    if len(settings) > _MOST_LEAKS:
        console.print(f"and {len(settings) - _MOST_LEAKS} more: `emospec report` lists all", style="red")


def _print_choice(console: Console, sweep: "Sweep") -> None:
    # The table shows the test UA of all values, which is no ground to choose one: dev chooses.
    scores = [percent(sweep.dev_ua(s)) for s in sweep.summaries]
    dev = ", ".join(map(" ".join, zip(sweep.values, scores, strict=True)))
    run = sweep.summaries[0].runs[0]
    where = f"{'+'.join(run.corpora)}, {run.meta.protocol.name}"
    words = f"sweep of {sweep.symbol} on {where}: dev chooses {sweep.best_value} (dev UA %: {dev})"
    if sweep.by_dev:
        ua = f"{percent(sweep.by_dev.ua)} {_ends(sweep.by_dev.intervals['UA'])}"
        words += f"; choosing by dev in each fold gives UA {ua}"
    _print_line(console, words)


def _section_facts(run: "RunRecord") -> dict[str, Any]:
    protocol = run.meta.protocol.name
    return {"corpus": "+".join(run.corpora), "classes": list(run.classes), "protocol": protocol}


def _accuracies(summary: "Summary") -> dict[str, Any]:
    intervals = {f"{name}_interval": _bounds(interval) for name, interval in summary.intervals.items()}
    return {"UA": summary.ua, "WA": summary.wa} | intervals


def _setting_facts(summary: "Summary") -> dict[str, Any]:
    run = summary.runs[0]
    intervals = summary.by_corpus.items()
    by_corpus = {name: {"UA": i.estimate, "UA_interval": _bounds(i)} for name, i in intervals}
    return {
        "setting": summary.setting,
        **_section_facts(run),
        "speaker_overlap": summary.speaker_overlap,
        "hash": run.meta.protocol.hash,
        "runs": len(summary.runs),
        "how": summary.how,
        **_accuracies(summary),
        "UA_deviation": summary.ua_deviation,
        "WA_deviation": summary.wa_deviation,
        "dev_UA": summary.dev_ua,
        "recall": summary.recall,
        "by_corpus": by_corpus,
        "corpora_mean_UA": summary.corpora_mean,
        "audit": sorted({run.meta.audit.summary for run in summary.runs}),
    }


def _sweep_facts(sweep: "Sweep") -> dict[str, Any]:
    # `by_dev` is the result of choosing by dev in each fold, which may be another value in each.
    by_dev, run = sweep.by_dev, sweep.summaries[0].runs[0]
    chosen = by_dev and {
        "UA": by_dev.ua,
        "WA": by_dev.wa,
        "UA_interval": _bounds(by_dev.intervals["UA"]),
        "runs": len(by_dev.runs),
    }
    return {
        **_section_facts(run),
        "key": sweep.key,
        "variant": sweep.variant,
        "values": sweep.values,
        "dev_UA": [sweep.dev_ua(summary) for summary in sweep.summaries],
        "chosen": sweep.best_value,
        "p_holm": [row.p for row in sweep.rows],
        "by_dev": chosen,
    }


def print_comparison(pair: "Pair", as_json: bool) -> None:
    """Print one setting less another, with the interval by speaker and the p of the permutation test."""
    from emospec.runs.record import share_changes

    if as_json:
        print_json(_pair_facts(pair))
        return
    (first, second), shared = share_changes([pair.first.runs[0], pair.second.runs[0]])
    named = [(first.setting, pair.first), (second.setting, pair.second)]
    comparisons = [*pair.comparisons.values(), *pair.by_corpus.values()]
    title = f"{first.meta.protocol.name}, {OVERLAP_TITLES[pair.first.speaker_overlap]}"
    by_corpus = (f"UA, {name}" for name in pair.by_corpus)
    table = _folding_table(title, "", *pair.comparisons, *by_corpus)
    for name, s in named:
        shares = (s.ua, s.wa, *(s.by_corpus[corpus].estimate for corpus in pair.by_corpus))
        table.add_row(escape(name), *map(percent, shares))
    table.add_row("difference, points", *(f"{100 * c.difference:+.1f}" for c in comparisons))
    table.add_row("95% interval", *(escape(_ends(c.interval)) for c in comparisons))
    table.add_row("p", *("n/a" if c.p is None else f"{c.p:.4f}" for c in comparisons))
    console = _console()
    console.print(table)
    _print_leaks(console, named)
    _print_shared(console, shared)
    ua = pair.comparisons["UA"]
    runs = count(len(pair.first.runs), "pair")
    how = f"p: sign-flip permutation by {ua.interval.unit}, {'exact' if ua.exact else 'sampled'}"
    console.print(f"{runs} of runs; {ua.interval.clusters} {ua.interval.unit}.")
    console.print(ua.reason or f"{how}, {ua.permutations} ways.")
    if pair.are_equal:
        console.print("Both predict the same throughout: copies of one run, or one setting trained twice.")
    if pair.by_corpus:
        console.print("A corpus by itself is one of several looks: its p is not corrected for that.")


def _pair_facts(pair: "Pair") -> dict[str, Any]:
    first, second = pair.first, pair.second
    facts: dict[str, Any] = {
        "first": first.setting,
        "second": second.setting,
        "runs": len(first.runs),
        "protocol": first.runs[0].meta.protocol.name,
        "speaker_overlap": first.speaker_overlap,
        "same_predictions": pair.are_equal,
        "audit": sorted({run.meta.audit.summary for s in (first, second) for run in s.runs}),
    }
    # The metric's name in lower case is the field of its score.
    for metric, comparison in pair.comparisons.items():
        score = attrgetter(metric.lower())
        facts[metric] = _comparison_facts(score(first), score(second), comparison)
    facts["UA_by_corpus"] = {
        name: _comparison_facts(first.by_corpus[name].estimate, second.by_corpus[name].estimate, comparison)
        for name, comparison in pair.by_corpus.items()
    }
    return facts


def _comparison_facts(first: float, second: float, comparison: "Comparison") -> dict[str, Any]:
    return {
        "first": first,
        "second": second,
        "difference": comparison.difference,
        "interval": _bounds(comparison.interval),
        "clusters": comparison.interval.clusters,
        "unit": comparison.interval.unit,
        "p": comparison.p,
        "permutations": comparison.permutations,
        "exact": comparison.exact,
        "reason": comparison.reason or comparison.interval.reason,
    }


def print_scores(scores: "NewScores") -> None:
    """Print UA, WA and recall by class of one set of predictions."""
    classes = map(escape, scores.classes)
    table = Table("UA %", "WA %", "utterances", *classes, title=OVERLAP_TITLES[scores.speaker_overlap])
    recalls = (percent(value) for value in scores.recall.values())
    table.add_row(percent(scores.ua), percent(scores.wa), str(scores.utterances), *recalls)
    console = _console()
    console.print(table)
    _print_line(console, scores.overlap_words)
    if scores.left_out:
        console.print(f"left out: {scores.left_out} utterances that the model was trained or selected on")
    if scores.other_emotions:
        others = ", ".join(f"{emotion} {n}" for emotion, n in scores.other_emotions.items())
        _print_line(console, f"left out, as the model does not know them: {others}")


def print_scored(facts: dict[str, Any], out: Path, as_json: bool) -> None:
    """Print the summary of bulk scoring: emotions, then failures by kind."""
    if as_json:
        print_json(facts | {"out": str(out)})
        return
    console = _console()
    table = Table("", "files", "% of all", box=SIMPLE_HEAD, pad_edge=False)
    failures = {f"failed: {kind}": files for kind, files in facts["failures"].items()}
    for label, files in (facts["emotions"] | failures).items():
        table.add_row(escape(label), str(files), percent(files / facts["files"]))
    console.print(table)
    hours, last = facts["audio_seconds"] / 3600, facts["last_call"]
    console.print(
        f"{facts['files']} files, {hours:.2f} hours; the last call: {last['files']} files in {last['seconds']:.0f} s, "
        f"{last['files_per_second']:.1f} files/s"
    )
    _print_line(console, f"results: {out.resolve()}")


def print_models(models: "list[Model]", as_json: bool) -> None:
    """Print the models: their corpora, the scores of their recipe on speakers new to it, and their licences."""
    if as_json:
        facts = [
            {"name": m.folder.name, "classes": m.names, "licences": m.licences}
            | {key: m.about.get(key) for key in ("training", "crossval")}
            for m in models
        ]
        print_json({"models": facts})
        return
    from emospec.inference.model import CARD

    console = _console()
    for m in models:
        console.print(f"[bold]{escape(m.folder.name)}[/bold]: {escape(', '.join(m.names))}")
        for corpus in m.about["training"]["corpora"]:
            # Model folders of others may lack a licence or a number of speakers.
            learned = f"{corpus['title']}, {corpus['utterances']} utterances of {corpus['speakers'] or 'unknown'} speakers"
            _print_line(console, f"  learned from {learned}; {corpus['licence'] or 'not stated'}")
        if crossval := m.about.get("crossval"):
            protocol, overlap = crossval["protocol"], OVERLAP_TITLES[crossval["speaker_overlap"]]
            scores = "; ".join(
                f"{name} {percent(ua)} [{percent(low)}, {percent(high)}]"
                for name, (ua, low, high) in crossval["UA"].items()
            )
            _print_line(console, f"  UA, {protocol}, {overlap}: {scores}")
        _print_line(console, f"  licence of its weights: {m.terms}; card: {m.folder / CARD}")
    console.print("One on your own data: emospec prepare, emospec train, emospec export (docs/using.md)")


def _ends(interval: "Interval") -> str:
    return f"[{percent(interval.low)}, {percent(interval.high)}]"


def _with_interval(value: float, interval: "Interval") -> str:
    return escape(f"{percent(value)} {_ends(interval)}")


def _bounds(interval: "Interval") -> list[float]:
    return [interval.low, interval.high]


def _console() -> Console:
    """Return standard output; wide enough for tables where it is not a terminal."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _PIPED_WIDTH
    return console


def _folding_table(title: str, *columns: str) -> Table:
    """Return a table that folds long cells instead of cutting them, but for those with intervals."""
    table = Table(title=title, box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(escape(column), no_wrap=column.endswith("[95%]"), overflow="fold")
    return table


def _print_line(console: Console, line: str, style: str | None = None) -> None:
    """Print text as it is, unwrapped: names may hold what rich takes for markup, and paths are to be copied."""
    console.print(line, style=style, markup=False, soft_wrap=True)


def _print_shared(console: Console, shared: list[str]) -> None:
    if shared:
        _print_line(console, f"all runs: {', '.join(shared)}")
