"""The decoded corpus on disk: made once, memory-mapped ever after.

A pack is a folder: `int16-00000.bin` and so on and `float32-00000.bin` and so on hold the waveforms end to
end, in shards; `fingerprints.bin` holds an acoustic fingerprint of each, and `index.json` says which is where.
16-bit integers are used only where the source is 16-bit mono at 16 kHz: training gets exactly the samples that
prediction gets.
"""

import hashlib
import json
import os
import re
import shutil
from collections import Counter, deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emospec.audio.reader import decode
from emospec.audio.waveform import SAMPLE_RATE, Waveform
from emospec.cores import cores
from emospec.data.corpora import user
from emospec.data.corpora.user import UserCorpus
from emospec.data.fingerprint import RECORD, Fingerprints, fingerprint
from emospec.data.pack_index import (
    INDEX_FILE,
    PackIndex,
    Skipped,
    entries_from,
    read_index,
    request_digest,
    write_index,
)
from emospec.data.shards import Shards, ShardWriter
from emospec.data.utterances import Utterance
from emospec.errors import AudioError, PackError
from emospec.files import folder_lock, output_errors
from emospec.progress import Progress

_INT16_SCALE = 32768.0  # libsndfile's: float = integer / 2^15
_SILENT_PEAK = 1e-3  # -60 dB re full scale, as for the quality warnings of recordings in use
_STORES: dict[str, np.dtype[Any]] = {"int16": np.dtype("<i2"), "float32": np.dtype("<f4")}
_FINGERPRINTS_FILE = "fingerprints.bin"
# What a pack's folder may hold, beside the frames that training keeps there.
_WAVEFORMS = re.compile(r"(int16|float32)(-\d{5})?\.bin")  # earlier formats had one file for all
_PACK_FILES = {INDEX_FILE, user.USER_CORPORA_FILE, _FINGERPRINTS_FILE}


class Pack:
    """A decoded corpus: utterances and their waveforms; PackError where the folder holds none that can be read.

    Attributes:
        user_corpora: its corpora of the user's own, by name.
        entries, utterances, skipped, silent, sources, requested, digest: as in `PackIndex`.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        index = read_index(self.folder)
        self.entries, self.utterances = index.entries, index.utterances
        self.skipped, self.silent = index.skipped, index.silent
        self.sources, self.requested, self.digest = index.sources, index.requested, index.digest
        self.user_corpora = user.read_user_corpora(self.folder)
        lengths = {name: self.entries.samples[self.entries.store == name] for name in _STORES}
        self._stores = {
            name: Shards(self.folder, name, "bin", dtype=dtype, lengths=lengths[name])
            for name, dtype in _STORES.items()
        }
        # A file of another size was cut or belongs to another index.
        sizes = {s.path(k): s.size(k) for s in self._stores.values() for k in range(len(s))}
        sizes[self.folder / _FINGERPRINTS_FILE] = len(self) * RECORD.itemsize
        for path, expected in sizes.items():
            size = path.stat().st_size if path.is_file() else 0
            if size != expected:
                sizes_found = f"{size} of {expected} bytes"
                raise PackError(f"{path} is damaged: {sizes_found}. Delete the pack and prepare again")

    def __len__(self) -> int:
        return len(self.entries)

    def waveform(self, index: int) -> Waveform:
        """Return the (samples,) float32 waveform of utterance `index`, 16 kHz."""
        store = self.entries[index].store
        waveform = np.array(self._stores[store][self._places_in_store[index]], np.float32)
        if store == "int16":
            waveform /= _INT16_SCALE
        return waveform

    @cached_property
    def _places_in_store(self) -> NDArray[np.int64]:
        # Of each waveform, the number of those of the same store that lie before it.
        places = np.zeros(len(self), np.int64)
        for store in _STORES:
            inside = self.entries.store == store
            places[inside] = np.arange(inside.sum())
        return places

    def places(self, utterances: Sequence[Utterance]) -> list[int]:
        """Return the index of each utterance, found by its id; KeyError where it is not here."""
        return [self._places[u.id] for u in utterances]

    def samples_of(self, utterances: Sequence[Utterance]) -> list[str]:
        """Return 16 digits of the hash of each utterance's waveform; KeyError as in `places`."""
        return [sha256[:16] for sha256 in self.entries.sha256[self.places(utterances)].astype(str)]

    @cached_property
    def _places(self) -> dict[str, int]:
        return {u.id: i for i, u in enumerate(self.utterances)}

    @cached_property
    def fingerprints(self) -> Fingerprints:
        """(n,) acoustic fingerprint of each waveform."""
        return np.memmap(self.folder / _FINGERPRINTS_FILE, RECORD, mode="r")

    @property
    def seconds(self) -> float:
        """Duration of all waveforms together."""
        return int(self.entries.samples.sum()) / SAMPLE_RATE


def prepare(
    utterances: Sequence[Utterance],
    folder: Path | str,
    *,
    skip_bad: bool = False,
    replace: bool = False,
    user_corpora: Sequence[UserCorpus] = (),
    progress: Progress | None = None,
) -> tuple[Pack, bool]:
    """Decode a corpus once into a pack; return the pack, and whether it was made now.

    A pack of the same utterances and unchanged files is kept. A new one is written beside its place and renamed when
    whole: an interrupted call leaves no half pack.

    Args:
        utterances: what to decode, from one corpus or several.
        folder: the pack's.
        skip_bad: leave out recordings that cannot be used, and record why; else they are an error.
        replace: take the place of a pack of other utterances; else it is an error.
        user_corpora: those of the corpora that are the user's own, and their terms of use; terms of an earlier
            call stay where none are stated.
        progress: called with (done, all).
    """
    folder = Path(folder)
    if not utterances:
        raise PackError("there are no utterances to prepare")
    identity, times = Counter(u.id for u in utterances).most_common(1)[0]
    if times > 1:
        raise PackError(f"{times} utterances are called {identity}. Name each corpus once")
    # Size and time of every file tell whether a pack that is there is up to date.
    sources = np.array([_source_stamp(u.file) for u in utterances], np.int64)
    if folder.exists():
        _refuse_other_folder(folder)
        if (pack := _still_valid(folder, request_digest(utterances), sources, skip_bad)) is not None:
            merged = user.merge_user_corpora(pack.user_corpora, user_corpora)
            if merged != pack.user_corpora:
                user.write_user_corpora(folder, merged.values())
            return Pack(folder), False
        if not replace:
            _refuse_other_utterances(folder, utterances)
            with suppress(PackError):  # terms that are damaged are stated anew
                stated = user.merge_user_corpora(user.read_user_corpora(folder), user_corpora)
                user_corpora = tuple(stated.values())

    with _in_place(folder) as new:
        _decode_into(new, utterances, sources, skip_bad=skip_bad, progress=progress)
        if user_corpora:
            user.write_user_corpora(new, user_corpora)
    return Pack(folder), True


@contextmanager
def _in_place(folder: Path) -> Iterator[Path]:
    """Yield a folder to fill beside its place, and rename it when whole; put the old one back where that fails."""
    place = folder.resolve()  # a link to a pack stays a link
    # The lock lies on the working folder, so that two calls at once do not harm each other.
    work = place.with_name(place.name + ".part")
    new, old = work / "new", work / "old"
    with output_errors(folder):
        work.mkdir(parents=True, exist_ok=True)
    busy = PackError(f"{folder}: another call makes it still. Wait for it, or name another folder")
    with folder_lock(work, busy):
        try:
            with output_errors(folder):
                _put_back(old, place)
                for left in work.iterdir():  # by a killed call
                    shutil.rmtree(left) if left.is_dir() else left.unlink()
                new.mkdir()
                yield new
                # Two renames: between them a kill leaves the old pack in `old`, and the next call puts it back.
                if place.exists():
                    os.replace(place, old)
                os.replace(new, place)
        finally:
            _put_back(old, place)
            shutil.rmtree(work, ignore_errors=True)


def _put_back(old: Path, place: Path) -> None:
    # The old pack was moved away, and the new one did not come to its place.
    if old.exists() and not place.exists():
        os.replace(old, place)


def _refuse_other_folder(folder: Path) -> None:
    # A pack that is out of date is deleted: nothing else may lie in its folder.
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    if INDEX_FILE not in names or not any(map(_WAVEFORMS.fullmatch, names)):
        raise PackError(f"{folder} exists and is not a pack (no index.json and .bin). Name another folder")
    for name in names:
        if not (name in _PACK_FILES or name.startswith("frames-") or _WAVEFORMS.fullmatch(name)):
            raise PackError(f"{folder} is not a pack alone: it holds {name}. Name another folder")


def _refuse_other_utterances(folder: Path, utterances: Sequence[Utterance]) -> None:
    # A pack that cannot be read is of no use, and may be replaced.
    try:
        index = json.loads((folder / INDEX_FILE).read_bytes())
        present = {row["id"] for name in ("utterances", "skipped") for row in index.get(name, ())}
        requested = index["requested"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return
    if requested == request_digest(utterances):
        return
    asked = {u.id for u in utterances}
    gone, new = len(present - asked), len(asked - present)
    differ = "their files, labels, speakers, times or order differ from those asked for"
    if gone or new:
        differ = f"{gone} of its {len(present)} are not among those asked for, {new} of the {len(asked)} asked for are not in it"
    advice = "Name another folder, or replace the pack: `emospec prepare` with --replace"
    raise PackError(f"{folder} is a pack of other utterances: {differ}. {advice}")


class _Decoded(NamedTuple):
    store: str
    samples: NDArray[Any]
    sha256: str
    fingerprint: Fingerprints
    is_silent: bool


def _decode_into(
    folder: Path,
    utterances: Sequence[Utterance],
    sources: NDArray[np.int64],
    *,
    skip_bad: bool,
    progress: Progress | None,
) -> None:
    entries: list[tuple[str, int, str]] = []
    kept: list[Utterance] = []
    skipped: list[Skipped] = []
    silent: list[str] = []
    digest = hashlib.sha256()
    with ExitStack() as stack:
        writers = {name: stack.enter_context(closing(ShardWriter(folder, name, "bin"))) for name in _STORES}
        fingerprints = stack.enter_context(open(folder / _FINGERPRINTS_FILE, "wb"))
        decoded = stack.enter_context(closing(_decode_all(utterances)))
        for done, (utterance, result) in enumerate(zip(utterances, decoded, strict=True), start=1):
            if isinstance(result, str):
                skipped.append(Skipped(utterance.id, result))
            else:
                kept.append(utterance)
                entries.append((result.store, len(result.samples), result.sha256))
                if result.is_silent:
                    silent.append(utterance.id)
                writers[result.store].write(result.samples)
                fingerprints.write(result.fingerprint.data)
                digest.update(result.sha256.encode())
            if progress:
                progress(done, len(utterances))
    if skipped and not (skip_bad and kept):
        bad = f"{len(skipped)} of {len(utterances)} recordings cannot be used, the first: {skipped[0].reason}"
        raise PackError(f"{bad}. Mend them" + (", or leave them out with --skip-bad" if kept else ""))
    requested, hashed = request_digest(utterances), digest.hexdigest()
    index = PackIndex(
        entries_from(entries), kept, skipped, silent, sources=sources, requested=requested, digest=hashed
    )
    write_index(folder, index)


def _decode_all(utterances: Sequence[Utterance]) -> Generator[_Decoded | str, None, None]:
    # A bounded queue: decoding never runs far ahead of writing, so memory does not grow with the corpus.
    threads = cores()
    ahead: deque[Future[_Decoded | str]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for utterance in utterances:
            ahead.append(pool.submit(_decode, utterance))
            if len(ahead) > 4 * threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _decode(utterance: Utterance) -> _Decoded | str:
    """Return the decoded waveform of an utterance, or why it cannot be used."""
    try:
        waveform, source = decode(utterance.file, utterance.start, utterance.end)
    except AudioError as error:
        return str(error)
    # Integers only where they hold exactly the samples that the decoder gives.
    store = "int16" if source.is_int16_mono_16k else "float32"
    samples = np.rint(waveform * _INT16_SCALE) if store == "int16" else waveform
    sha256 = hashlib.sha256(waveform.data).hexdigest()
    is_silent = bool(np.abs(waveform).max(initial=0.0) < _SILENT_PEAK)
    samples = samples.astype(_STORES[store])
    return _Decoded(store, samples, sha256, fingerprint=fingerprint(waveform), is_silent=is_silent)


def _still_valid(folder: Path, requested: str, sources: NDArray[np.int64], skip_bad: bool) -> Pack | None:
    """Return the pack where it was made of just these utterances and files; else None."""
    try:
        pack = Pack(folder)
    except PackError:
        return None
    same = pack.requested == requested and np.array_equal(pack.sources, sources)
    return pack if same and (skip_bad or not pack.skipped) else None


def _source_stamp(file: Path) -> tuple[int, int]:
    # -1 where there is no file: the decoder will name it.
    try:
        stat = file.stat()
    except OSError:
        return -1, -1
    return stat.st_size, stat.st_mtime_ns
