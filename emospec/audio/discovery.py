"""The recordings of a folder, by their suffixes; names in messages. Opens no recording."""

import os
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path

from emospec.audio.kinds import OTHER_SUFFIXES, SUFFIXES
from emospec.errors import AudioError
from emospec.files import escape_undecodable


def printable(name: str) -> str:
    """A file's name as one line that any terminal takes: what is no UTF-8 or breaks a line is escaped."""
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in escape_undecodable(name))


def find_files(root: Path, suffixes: Collection[str] = SUFFIXES) -> list[Path]:
    """All files under `root` with one of the suffixes (in any case), in a fixed order.

    Links are followed, to each folder once. Names that start with a dot are skipped: they are no recordings,
    though macOS gives some a `.wav`.

    Raises:
        AudioError: a folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise AudioError(
            f"{printable(str(error.filename))}: the folder cannot be read ({error.strerror}). Name a folder without it, or get the right"
        )

    found: list[Path] = []
    seen: set[tuple[int, int]] = set()
    for folder, folders, files in os.walk(root, onerror=refuse, followlinks=True):
        place = os.stat(folder)
        if (place.st_dev, place.st_ino) in seen:
            folders.clear()
            continue
        seen.add((place.st_dev, place.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        visible = (Path(folder, name) for name in sorted(files) if not name.startswith("."))
        alike = (file for file in visible if file.suffix.lower() in suffixes)
        # No pipe; of a dead link the reader tells.
        found += [file for file in alike if file.is_file() or file.is_symlink()]
    return found


def find_recordings(place: Path, ffmpeg: bool = False) -> list[Path]:
    """A file as it is named, or all recordings below a folder, by suffix, in order of their paths.

    Args:
        place: a file or a folder.
        ffmpeg: take those that ffmpeg decodes too.

    Raises:
        AudioError: the folder holds none, or it or one below it cannot be read.
    """
    try:
        if not place.is_dir():
            return [place]
    except OSError:  # a name too long, a folder closed to us: the reader says so of this one
        return [place]
    found = sorted(find_files(place, (*SUFFIXES, *OTHER_SUFFIXES) if ffmpeg else SUFFIXES))
    if not found:
        if others := count_unsupported(place):
            raise AudioError(f"{describe_unsupported(others, printable(str(place)))}. It holds no others")
        raise AudioError(f"{place}: holds no recordings ({', '.join(SUFFIXES)})")
    return found


def count_unsupported(place: Path) -> dict[str, int]:
    """Return how many files of a folder are recordings of kinds that are not read here, by suffix, most first.

    Args:
        place: a folder; a file is taken as it is named, and nothing is left out.

    Raises:
        AudioError: a folder cannot be read.
    """
    try:
        if not place.is_dir():
            return {}
    except OSError:  # as in `find_recordings`
        return {}
    return dict(Counter(file.suffix.lower() for file in find_files(place, OTHER_SUFFIXES)).most_common())


def describe_unsupported(counts: Mapping[str, int], place: str, with_option: bool = True) -> str:
    """Return one line on the files that are left out of a folder: how many of which suffix, and what to do.

    Args:
        counts: files by suffix, at least one.
        place: where they lie.
        with_option: whether --ffmpeg is there to take them.
    """
    suffixes = ", ".join(f"{count} {suffix}" for suffix, count in counts.items())
    total, first = sum(counts.values()), next(iter(counts))
    return (
        f"{place}: {total} recording{' is' if total == 1 else 's are'} left out, of kinds that are not read here: {suffixes}. "
        f"{'Take them by --ffmpeg, or convert' if with_option else 'Convert'} each: ffmpeg -i NAME{first} NAME.wav"
    )
