"""Flaws of the files of a corpus, by their size and first bytes: counts those that hold no sound."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from emospec.audio.chunks import check_samples
from emospec.audio.discovery import printable
from emospec.audio.kinds import HEAD_BYTES, LFS_POINTER, is_read_here, kind_of
from emospec.errors import AudioError

_LFS = "are Git LFS pointers, not recordings: install git-lfs and call `git lfs pull` in their folder"
_EMPTY = "are empty (0 bytes): copy them again"
_CUT = "are cut or hold more than their header says: copy them again"
_UNREADABLE = "cannot be read"
_UNKNOWN = "do not begin as WAV, FLAC, AIFF, MP3, Ogg Vorbis or Opus do"


def flaws_of(files: Sequence[Path]) -> Iterator[str]:
    """Say in words how many files hold no sound that can be read, and why; decodes nothing."""
    found: dict[str, list[Path]] = {}
    for file in files:
        if flaw := _flaw(file):
            found.setdefault(flaw, []).append(file)
    for flaw, those in found.items():
        yield f"{len(those)} of {len(files)} recordings {flaw} (the first: {printable(those[0].name)})"


def _flaw(file: Path) -> str:
    """Return what is wrong with one file, in words that follow "recordings"; empty where nothing is."""
    try:
        with open(file, "rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(0)
            head = stream.read(HEAD_BYTES)
            if not size:
                return _EMPTY
            kind = kind_of(head)
            if kind is LFS_POINTER:
                return _LFS
            if kind is not None:
                return f"are of another kind, each {kind.name}" + (": convert them" if kind.has_sound else "")
            if not is_read_here(head):
                # Some MP3 begin with silence of other makes.
                return "" if file.suffix.lower() == ".mp3" and any(head) else _UNKNOWN
            check_samples(stream, "")
    except AudioError:
        return _CUT
    except OSError:
        return _UNREADABLE
    return ""
