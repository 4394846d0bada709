"""What the command line shows: bars, tables, JSON."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from emospec.files import to_json

if TYPE_CHECKING:
    from emospec.data.corpora import CorpusCheck
    from emospec.data.pack import Pack
    from emospec.evaluation.results import Pair, Summary
    from emospec.run import Progress

PIPED_WIDTH = 120  # characters of a table that goes to a file or another program
INTERVALS = (("UA", "UA_interval"), ("WA", "WA_interval"))
SPEAKERS = {
    False: "speaker-independent",
    True: "speaker-DEPENDENT: test speakers are also in training",
    None: "speakers unknown",
}


@contextmanager
def progress_bars(quiet: bool) -> Iterator["Progress"]:
    """A bar per run on standard error, where that is a terminal."""
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

        def update(name: str, done: int, total: int, word: str) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=total, word="")
            bars.update(tasks[name], completed=done, total=total, word=word)

        yield update


def print_pack(pack: "Pack", new: bool, corpora: dict[str, str]) -> None:
    """What a pack holds, of which corpora, and what was left out."""
    console = Console(highlight=False)
    for name, summary in corpora.items():
        console.print(f"[bold]{name}[/bold]: {summary}")
    state = "made" if new else "was valid already"
    console.print(f"Pack {pack.folder} {state}: {len(pack)} utterances, {pack.seconds / 3600:.2f} hours")
    for skip in pack.skipped:
        console.print(f"left out {skip.id}: {skip.reason}", markup=False)


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
    rows = []
    for s in summaries:
        protocol = s.runs[0].meta["protocol"]
        rows.append(
            {
                "setting": s.setting,
                "corpus": "+".join(s.runs[0].corpora),
                "classes": list(s.classes),
                "protocol": protocol["name"],
                "speaker_overlap": protocol["speaker_overlap"],
                "hash": protocol["hash"],
                "runs": len(s.runs),
                "how": s.how,
                "UA": s.ua,
                "WA": s.wa,
                "UA_interval": [s.intervals["UA"].low, s.intervals["UA"].high],
                "WA_interval": [s.intervals["WA"].low, s.intervals["WA"].high],
                "UA_deviation": s.ua_deviation,
                "WA_deviation": s.wa_deviation,
                "dev_UA": s.dev_ua,
                "recall": s.recall,
                "by_corpus": {
                    name: {"UA": found.estimate, "UA_interval": [found.low, found.high]}
                    for name, found in s.by_corpus.items()
                },
                "corpora_mean_UA": s.corpora_mean,
                "audit": sorted({run.audit.summary for run in s.runs}),
            }
        )
    if as_json:
        print_json({"settings": rows} | places | {name: facts for name, facts in more.items() if facts})
        return
    from emospec.evaluation.results import share_overrides

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    runs, told = share_overrides([s.runs[0] for s in summaries])
    for row, run in zip(rows, runs, strict=True):
        row["setting"] = run.setting
    for overlap in (False, True, None):
        chosen = [row for row in rows if row["speaker_overlap"] is overlap]
        if not chosen:
            continue
        table = Table(title=SPEAKERS[overlap], box=SIMPLE_HEAD, pad_edge=False)
        for column in ("setting", "corpus", "split", "runs", "UA % [95%]", "WA % [95%]"):
            table.add_column(escape(column), no_wrap=column.endswith("[95%]"), overflow="fold")
        for row in chosen:
            tests = [f"{percent(row[m])} [{percent(row[i][0])}, {percent(row[i][1])}]" for m, i in INTERVALS]
            table.add_row(
                row["setting"], row["corpus"], row["protocol"], str(row["runs"]), *map(escape, tests)
            )
        console.print(table)
        if any(row["by_corpus"] for row in chosen):
            console.print(_by_corpus([row for row in chosen if row["by_corpus"]]))
    if told:
        console.print(f"all runs: {', '.join(told)}", markup=False, soft_wrap=True)
    leaks: dict[str, list[str]] = {}
    for leak in (leak for s in summaries for run in s.runs for leak in run.audit.leaks):
        leaks.setdefault(leak.check, []).append(leak.words)
    for check, words in leaks.items():
        others = f" (and {len(words) - 1} more runs)" if len(words) > 1 else ""
        console.print(f"leak: {check}: {words[0]}{others}", style="red", markup=False, soft_wrap=True)
    for what, place in places.items():
        console.print(f"{what}: {Path(place).resolve()}", soft_wrap=True)


def _by_corpus(rows: list[dict[str, Any]]) -> Table:
    """UA on each corpus of a pool, and their plain mean."""
    names = list(dict.fromkeys(name for row in rows for name in row["by_corpus"]))
    table = Table(title="UA % [95%] by corpus", box=SIMPLE_HEAD, pad_edge=False)
    for column in ("setting", "split", *names, "plain mean"):
        table.add_column(escape(column), overflow="fold")
    for row in rows:
        cells = (
            f"{percent(found['UA'])} [{percent(found['UA_interval'][0])}, {percent(found['UA_interval'][1])}]"
            for found in row["by_corpus"].values()
        )
        table.add_row(row["setting"], row["protocol"], *map(escape, cells), percent(row["corpora_mean_UA"]))
    return table


def print_comparison(pair: "Pair", as_json: bool) -> None:
    """One setting less another, with the interval by speaker and the p of the permutation test."""
    if as_json:
        facts = {
            metric: {
                "first": getattr(pair.first, metric.lower()),
                "second": getattr(pair.second, metric.lower()),
                "difference": found.difference,
                "interval": [found.interval.low, found.interval.high],
                "clusters": found.interval.clusters,
                "unit": found.interval.unit,
                "p": found.p,
                "permutations": found.permutations,
                "exact": found.exact,
                "reason": found.reason or found.interval.reason,
            }
            for metric, found in pair.comparisons.items()
        }
        names = {"first": pair.first.setting, "second": pair.second.setting, "runs": len(pair.first.runs)}
        print_json(names | {"protocol": pair.first.runs[0].meta["protocol"]["name"]} | facts)
        return
    from emospec.evaluation.results import share_overrides

    first, second = pair.first, pair.second
    (one, other), told = share_overrides([first.runs[0], second.runs[0]])
    protocol = first.runs[0].meta["protocol"]
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    table = Table(
        title=f"{protocol['name']}, {SPEAKERS[protocol['speaker_overlap']]}", box=SIMPLE_HEAD, pad_edge=False
    )
    for column in ("", *pair.comparisons):
        table.add_column(column, overflow="fold")
    for name, which in ((one.setting, first), (other.setting, second)):
        table.add_row(name, *(percent(getattr(which, m.lower())) for m in pair.comparisons))
    found = pair.comparisons.values()
    ends = (f"[{percent(c.interval.low)}, {percent(c.interval.high)}]" for c in found)
    table.add_row("difference, points", *(f"{100 * c.difference:+.1f}" for c in found))
    table.add_row("95% interval", *map(escape, ends))
    table.add_row("p", *("n/a" if c.p is None else f"{c.p:.4f}" for c in found))
    console.print(table)
    ua = pair.comparisons["UA"]
    how = "exact" if ua.exact else "sampled"
    if told:
        console.print(f"all runs: {', '.join(told)}", markup=False, soft_wrap=True)
    console.print(f"{len(first.runs)} pairs of runs; {ua.interval.clusters} {ua.interval.unit}.")
    console.print(
        ua.reason or f"p: sign-flip permutation by {ua.interval.unit}, {how}, {ua.permutations} ways."
    )


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
    console.print(f"[bold]{found.corpus}[/bold]: {found.summary}", highlight=False)
    table = Table("emotion", "found", "expected")
    for emotion, (n, expected) in found.classes.items():
        table.add_row(emotion, str(n), "any" if expected is None else str(expected))
    console.print(table)
    for difference in found.differences:
        console.print(f"differs: {difference}", highlight=False)
    console.print("The copy is complete." if found.complete else "The copy is not the whole corpus.")


def print_scores(scores: dict[str, Any]) -> None:
    """UA, WA and recall by class of one set of predictions."""
    table = Table("UA %", "WA %", "utterances", *scores["classes"])
    recalls = (percent(value) for value in scores["recall"].values())
    table.add_row(percent(scores["UA"]), percent(scores["WA"]), str(scores["utterances"]), *recalls)
    console = Console(highlight=False)
    console.print(table)
    if scores["left_out"]:
        console.print(f"left out: {scores['left_out']} utterances that the model was trained or selected on")
