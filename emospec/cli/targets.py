"""The files that a verb is to write: which for which recordings, and their refusal before there is work to lose."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from emospec.cli.options import needs
from emospec.errors import EmospecError

if TYPE_CHECKING:
    from emospec.inference.recordings import Recording

_PICTURES = ("png", "jpg", "jpeg", "svg", "pdf")
# The name of a recording from standard input.
STDIN = "stdin"


@dataclass(frozen=True)
class Output:
    """A file to be written: where, and in which format; `path` is None for standard output."""

    path: Path | None
    form: str


def plan_outputs(
    recordings: "Sequence[Recording]", forms: Sequence[str], out: Path | None, several: bool
) -> list[list[Output]]:
    """Return for each recording the files that its timeline goes to.

    Args:
        recordings: paths, or bytes from standard input.
        forms: formats that were asked for; none leaves it to the suffix, or is CSV.
        out: the file or folder.
        several: whether a folder was named, or more than one recording.
    """
    from emospec.inference.formats import FORMATS, format_for, format_named

    forms = list(dict.fromkeys(forms))
    suffixes = {form: format_named(form).suffix for form in forms or ["csv"]}
    # One recording and one format make a file or text; all else is files of a folder.
    into_folder = several or len(forms) > 1 or (out is not None and out.is_dir())
    if not into_folder:
        if out is None or not (forms or out.suffix):
            return [[Output(out, forms[0] if forms else "csv")]]
        return [[Output(out, format_for(out, forms[0] if forms else None))]]
    rule = "timelines of a folder, of several recordings or in several formats go into a folder"
    if out is None:
        raise EmospecError(f"{rule}. Name it with --out")
    file_suffixes = {format_.suffix.lower() for format_ in FORMATS.values()}
    if not out.is_dir() and (out.exists() or out.suffix.lower() in file_suffixes):
        raise EmospecError(f"{out} is a file's name; {rule}. Name one with --out")
    return [
        [Output(out / f"{name}{suffix}", form) for form, suffix in suffixes.items()]
        for name in unique_names(recordings)
    ]


def unique_names(recordings: "Sequence[Recording]") -> list[str]:
    """Return a file's name for each recording, without suffix, no two alike in any case of letters.

    A name that several have gets that of its folder, and where that does not help, a number.

    >>> unique_names([Path("a/one.wav"), Path("b/one.wav"), Path("b/two.mp3"), Path("b/two.wav")])
    ['a-one', 'b-one', 'two.mp3', 'two.wav']
    """
    names: dict[int, str] = {}
    used: set[str] = set()
    # From short to long: the name alone, with its suffix, then both with the folder's name.
    choices: list[Callable[[Recording], str]] = [
        _stem,
        label,
        lambda recording: f"{_folder(recording)}-{_stem(recording)}",
        lambda recording: f"{_folder(recording)}-{label(recording)}",
    ]
    # A recording takes the first choice that is its alone.
    for choice in choices:
        wanted = {k: choice(recording) for k, recording in enumerate(recordings) if k not in names}
        counts = Counter(name.casefold() for name in wanted.values())
        for k, name in wanted.items():
            if counts[name.casefold()] == 1 and name.casefold() not in used:
                names[k] = name
                used.add(name.casefold())
    # Recordings of one name and one folder's name, such as a/x/call.wav and b/x/call.wav, are numbered.
    for k, recording in enumerate(recordings):
        if k not in names:
            numbered = (f"{_stem(recording)}-{number}" for number in count(1))
            names[k] = next(name for name in numbered if name.casefold() not in used)
            used.add(names[k].casefold())
    return [names[k] for k in range(len(recordings))]


def label(recording: "Recording") -> str:
    """Return the name of a recording without its folder."""
    return STDIN if isinstance(recording, bytes) else Path(str(recording)).name


def _stem(recording: "Recording") -> str:
    from emospec.audio.kinds import stem_of

    # Only an audio file's suffix goes: `call.001` keeps its number.
    return stem_of(label(recording))


def _folder(recording: "Recording") -> str:
    return "" if isinstance(recording, bytes) else Path(str(recording)).absolute().parent.name


def picture_form(path: Path) -> str:
    """Return the format of a picture, by its suffix; EmospecError where it is none that can be drawn."""
    form = path.suffix.lower().removeprefix(".") or "png"
    if form not in _PICTURES:
        raise EmospecError(
            f"{path}: a picture cannot be drawn as {path.suffix}. Choose .{', .'.join(_PICTURES)}"
        )
    return form


def check_files(*files: Path | None, apart_from: "Sequence[Recording]") -> None:
    """Raise EmospecError where a file is a folder or a recording, or its folder is missing."""
    for file in files:
        if file is None:
            continue
        if file.is_dir():
            raise EmospecError(f"{file} is a folder. Name a file")
        if not file.absolute().parent.is_dir():
            raise EmospecError(f"{file}: there is no folder {file.parent}. Make it first")
        if file.is_file() and any(_is_file(recording, file) for recording in apart_from):
            raise EmospecError(f"{file} is the recording itself. Name another file")


def _is_file(recording: "Recording", file: Path) -> bool:
    return isinstance(recording, (str, Path)) and Path(recording).is_file() and file.samefile(recording)


def check_timeline_files(
    outputs: Sequence[Sequence[Output]],
    out: Path | None,
    plot: Path | None,
    recordings: "Sequence[Recording]",
) -> None:
    """Raise EmospecError where timelines or a picture could not be written, before there is work to lose."""
    # A name that a folder has is met here, and not after an hour of predicting.
    files = [output.path for of_recording in outputs for output in of_recording]
    if out is None or out.is_dir() or files[:1] == [out]:
        check_files(*files, plot, apart_from=recordings)
    # The folder itself is made when there is something to put into it.
    else:
        check_files(out, plot, apart_from=())
    if plot is None:
        return
    picture_form(plot)
    if len(recordings) > 1:
        raise EmospecError(f"--plot draws one recording, found {len(recordings)}. Draw each by itself")
    if plot.absolute() in [file.absolute() for file in files if file is not None]:
        raise EmospecError(f"{plot} is named by --out and by --plot. Name two files")
    with needs("plot"):
        import matplotlib  # noqa: F401
