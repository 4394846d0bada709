"""The recordings of a folder, by their suffixes; file names in messages. Opens no recording."""

import os
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path

from emospec.audio.kinds import OTHER_SUFFIXES, SUFFIXES
from emospec.errors import AudioError
from emospec.files import escape_undecodable


def printable(name: str) -> str:
    """Return a file's name as one line for any terminal: line breaks and bytes that are no UTF-8 are escaped."""
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in escape_undecodable(name))


def find_files(root: Path, suffixes: Collection[str] = SUFFIXES) -> list[Path]:
    """Return all files under `root` with one of the suffixes (in any case), in a fixed order.

    Links are followed, to each folder once. Names that start with a dot are skipped: macOS gives
    some of them a `.wav`, but they are no recordings.

    Raises:
        AudioError: a folder cannot be read.
    """

    def fail(error: OSError) -> None:
        raise AudioError(
            f"{printable(str(error.filename))}: the folder cannot be read ({error.strerror}). Name a folder without it, or get the right"
        )

    matches: list[Path] = []
    seen: set[tuple[int, int]] = set()
    for folder, folders, files in os.walk(root, onerror=fail, followlinks=True):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        visible = (Path(folder, name) for name in sorted(files) if not name.startswith("."))
        # Pipes are left out. A dead link is kept: reading it raises the error.
        matches += [
            file
            for file in visible
            if file.suffix.lower() in suffixes and (file.is_file() or file.is_symlink())
        ]
    return matches


def find_recordings(place: Path, ffmpeg: bool = False) -> list[Path]:
    """Return a file as it is named, or all recordings below a folder, by suffix, in order of their paths.

    Args:
        place: a file or a folder.
        ffmpeg: include the kinds that ffmpeg decodes.

    Raises:
        AudioError: the folder holds none, or it or one below it cannot be read.
    """
    if not _is_folder(place):
        return [place]
    recordings = sorted(find_files(place, (*SUFFIXES, *OTHER_SUFFIXES) if ffmpeg else SUFFIXES))
    if not recordings:
        if others := count_unsupported(place):
            raise AudioError(f"{describe_unsupported(others, printable(str(place)))}. It holds no others")
        raise AudioError(f"{place}: holds no recordings ({', '.join(SUFFIXES)})")
    return recordings


def count_unsupported(place: Path) -> dict[str, int]:
    """Count the recordings of a folder that only ffmpeg reads, by suffix, most first; a file has none.

    Raises:
        AudioError: a folder cannot be read.
    """
    if not _is_folder(place):
        return {}
    return dict(Counter(file.suffix.lower() for file in find_files(place, OTHER_SUFFIXES)).most_common())


def describe_unsupported(counts: Mapping[str, int], place: str, with_option: bool = True) -> str:
    """Return one line on the recordings of a folder that are left out, and how to take them.

    Args:
        counts: files by suffix, at least one.
        place: the folder's name.
        with_option: whether the command has --ffmpeg.
    """
    suffixes = ", ".join(f"{count} {suffix}" for suffix, count in counts.items())
    total, first = sum(counts.values()), next(iter(counts))
    verb = "recording is" if total == 1 else "recordings are"
    advice = "Take them by --ffmpeg, or convert" if with_option else "Convert"
    return (
        f"{place}: {total} {verb} left out, of kinds that are not read here: {suffixes}. "
        f"{advice} each: ffmpeg -i NAME{first} NAME.wav"
    )


def _is_folder(place: Path) -> bool:
    """Whether a name is a folder's. One that is too long, or lies in a closed folder, is left to the reader's error."""
    try:
        return place.is_dir()
    except OSError:
        return False
