"""Where a result comes from: commit, versions, machine, corpora."""

import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from emospec.data.corpora import CORPORA
from emospec.data.corpora.user import USER_READERS, UserCorpus
from emospec.data.utterances import Utterance


def versions() -> dict[str, str]:
    """Of Python and of the packages that can move a number."""
    packages = ("torch", "numpy", "soundfile", "soxr")
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in packages}


def corpus_facts(name: str, utterances: Sequence[Utterance], own: UserCorpus | None = None) -> dict[str, Any]:
    """Return what a report must say of a corpus: title, licence, citation, and how much of it was used.

    Args:
        name: in its utterances.
        utterances: of this corpus and others.
        own: what is said of it where it is the user's own, whatever corpus has that name.
    """
    mine = [u for u in utterances if u.corpus == name]
    known = CORPORA.get(name) if own is None or name in USER_READERS else None
    reader = {"reader": own.reader} if own else {}
    return reader | {
        "name": name,
        "title": known.title if known else name,
        "licence": own.licence if own else known.licence if known else "",
        "speech": known.speech if known else "",
        "citation": known.citation if known else "",
        "utterances": len(mine),
        "speakers": len({u.speaker for u in mine if u.speaker}),
        "languages": sorted({u.language for u in mine if u.language}),
    }


def hardware(threads: int, device: str) -> dict[str, Any]:
    """Processor, cores, threads and accelerator."""
    processor = platform.processor() or platform.machine()
    if sys.platform == "linux":
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        processor = next(
            (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), processor
        )
    return {"processor": processor, "cores": os.cpu_count(), "threads": threads, "device": device}


def commit() -> str | None:
    """The commit of a source checkout, with a `+` where files differ from it; None outside one."""
    here = Path(__file__)
    git = ["git", "-C", str(here.parent)]
    try:
        # An environment may lie inside the checkout of another project.
        subprocess.run([*git, "ls-files", "--error-unmatch", here.name], capture_output=True, check=True)
        commit = subprocess.run(
            [*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            [*git, "status", "--porcelain"], capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + "+" * bool(changed.strip())
