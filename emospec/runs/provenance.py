"""The origin of a result: commit, versions, machine, corpora, and the call that asked for it."""

import os
import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from importlib import metadata
from pathlib import Path
from typing import ParamSpec, TypeVar

import emospec
from emospec.data.corpora import CORPORA
from emospec.data.corpora.user import USER_READERS, UserCorpus
from emospec.data.utterances import Utterance
from emospec.runs.stored import CorpusFacts, Hardware

P = ParamSpec("P")
R = TypeVar("R")


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that can move a number."""
    packages = ("torch", "numpy", "soundfile", "soxr")
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in packages}


def corpus_facts(name: str, utterances: Sequence[Utterance], own: UserCorpus | None = None) -> CorpusFacts:
    """Return the facts about the corpus of a name and about how much of it was used; `own` where it is the user's."""
    used = [u for u in utterances if u.corpus == name]
    # A corpus of the user's own has its own terms, whatever corpus has that name.
    corpus = CORPORA.get(name) if own is None or name in USER_READERS else None
    reader = {"reader": own.reader} if own else {}
    return CorpusFacts(
        **reader,
        name=name,
        title=corpus.title if corpus else name,
        licence=own.licence if own else corpus.licence if corpus else "",
        speech=corpus.speech if corpus else "",
        citation=corpus.citation if corpus else "",
        utterances=len(used),
        speakers=len({u.speaker for u in used if u.speaker}),
        languages=tuple(sorted({u.language for u in used if u.language})),
    )


def hardware(threads: int, device: str, processes: int) -> Hardware:
    """The processor, its cores, and what of the machine is used."""
    name = platform.processor() or platform.machine()
    if sys.platform == "linux":
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
        name = next(names, name)
    return Hardware(processor=name, cores=os.cpu_count(), threads=threads, device=device, processes=processes)


def commit() -> str | None:
    """The commit of a source checkout, with a `+` where files differ from it; None outside one."""
    here = Path(__file__)
    git = ["git", "-C", str(here.parent)]
    try:
        # An environment may lie inside the checkout of another project.
        subprocess.run([*git, "ls-files", "--error-unmatch", here.name], capture_output=True, check=True)
        head, changes = (
            subprocess.run([*git, *words], capture_output=True, text=True, check=True).stdout.strip()
            for words in (("rev-parse", "HEAD"), ("status", "--porcelain"))
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{head}+" if changes else head


def records_call(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function's option `command` default to the Python call as it was made.

    The command line passes its own words as `command`.
    """
    # A progress changes no result.
    unnamed = ("command", "progress")

    @wraps(function)
    def wrapper(*args: P.args, **options: P.kwargs) -> R:
        if options.get("command") is None:
            home = "emospec" if function.__name__ in emospec.__all__ else function.__module__
            words = [_literal(value) for value in args]
            words += [f"{key}={_literal(value)}" for key, value in options.items() if key not in unnamed]
            options["command"] = f"{home}.{function.__name__}({', '.join(words)})"
        return function(*args, **options)

    return wrapper


def _literal(value: object) -> str:
    return repr(str(value) if isinstance(value, Path) else value)
