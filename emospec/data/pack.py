"""The decoded corpus on disk: made once, memory-mapped ever after.

A pack is a folder: `int16-00000.bin` and so on and `float32-00000.bin` and so on hold the waveforms end to
end, in shards; `fingerprints.bin` holds an acoustic fingerprint of each, and `index.json` says which is where.
16-bit integers are used only where the source is 16-bit mono at 16 kHz, so that training hears exactly what
prediction hears.
"""

import hashlib
import os
import re
import shutil
from collections import Counter, deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emospec.audio.reader import decode
from emospec.audio.waveform import SAMPLE_RATE, Waveform
from emospec.cores import cores
from emospec.data.corpora.user import (
    USER_CORPORA_FILE,
    UserCorpus,
    merge_user_corpora,
    read_user_corpora,
    write_user_corpora,
)
from emospec.data.fingerprint import RECORD, Fingerprints, fingerprint
from emospec.data.index import read_members, write_members
from emospec.data.pack_index import (
    ENTRY,
    INDEX_FILE,
    PACK_FORMAT,
    Skipped,
    read_index,
    request_digest,
    row_of,
    source_stamps,
    utterance_from,
)
from emospec.data.shards import Shards, ShardWriter
from emospec.data.utterances import Utterance
from emospec.errors import AudioError, PackError
from emospec.files import alone_in, told_as_output
from emospec.progress import Progress

INT16_SCALE = 32768.0  # libsndfile's: float = integer / 2^15
SILENT_PEAK = 1e-3  # -60 dB re full scale, from which on a recording in use is called nearly silent too
# What a pack's folder may hold, with the frames that training keeps there.
_WAVEFORMS = re.compile(r"(int16|float32)(-\d{5})?\.bin")  # earlier formats had one file for all
_OWN_FILES = re.compile(
    rf"index\.json|{re.escape(USER_CORPORA_FILE)}|fingerprints\.bin|{_WAVEFORMS.pattern}|frames-.*"
)
_STORES: dict[str, np.dtype[Any]] = {"int16": np.dtype("<i2"), "float32": np.dtype("<f4")}


_Decoded = tuple[str, NDArray[Any], str, Fingerprints, bool]


class Pack:
    """A decoded corpus: utterances and their waveforms.

    Attributes:
        folder: where it lies.
        entries: (n,) of `ENTRY`, where each waveform lies.
        skipped: recordings left out, and why.
        silent: ids of utterances whose peak is below `SILENT_PEAK`; empty in packs of earlier versions.
        user_corpora: its corpora of the user's own, by name.
        sources: (asked for, 2) size in bytes and time of change in ns of each file asked for.
        requested: hash of the utterances asked for.
        digest: hash of all waveforms and their order; changes when any sample does.
    """

    def __init__(self, folder: Path | str) -> None:
        """Open a pack.

        Raises:
            PackError: there is none, it is damaged, or another version of emospec made it.
        """
        self.folder = Path(folder)
        index = read_index(self.folder)
        self.entries: np.recarray[Any, Any] = index["entries"]
        self.skipped: list[Skipped] = index.get("skipped", [])
        self.silent: list[str] = index.get("silent", [])
        self.user_corpora: dict[str, UserCorpus] = read_user_corpora(self.folder)
        self.sources: NDArray[np.int64] = index["sources"]
        self.requested: str = index["requested"]
        self.digest: str = index["digest"]
        self._stores = {
            name: Shards(self.folder, name, "bin", dtype, self.entries.samples[self.entries.store == name])
            for name, dtype in _STORES.items()
        }
        expected = {
            shards.path(k): shards.size(k) for shards in self._stores.values() for k in range(len(shards))
        }
        expected[self.folder / "fingerprints.bin"] = len(self) * RECORD.itemsize
        for path, size in expected.items():
            found = path.stat().st_size if path.is_file() else 0
            if found != size:
                raise PackError(
                    f"{path} is damaged: {found} of {size} bytes. Delete the pack and prepare again"
                )

    def __len__(self) -> int:
        return len(self.entries)

    @cached_property
    def utterances(self) -> list[Utterance]:
        """(n,) in the order of the waveforms; read when first asked for."""
        members = read_members(self.folder / "index.json")
        return [utterance_from(row) for name, row in members if name == "utterances"]

    def waveform(self, index: int) -> Waveform:
        """(samples,) float32 waveform of utterance `index`, 16 kHz."""
        store = self.entries[index].store
        waveform = np.array(self._stores[store][self._place_in_store[index]], np.float32)
        if store == "int16":
            waveform /= INT16_SCALE
        return waveform

    @cached_property
    def _place_in_store(self) -> NDArray[np.int64]:
        """(n,) how many of its store lie before each."""
        places = np.zeros(len(self), np.int64)
        for store in _STORES:
            inside = self.entries.store == store
            places[inside] = np.arange(inside.sum())
        return places

    def places(self, utterances: Sequence[Utterance]) -> list[int]:
        """The index of each utterance, by its id; KeyError where it is not here."""
        return [self._places[u.id] for u in utterances]

    def samples_of(self, utterances: Sequence[Utterance]) -> list[str]:
        """What tells an utterance's waveform from any other: 16 digits of its hash. KeyError as in `places`."""
        return [sha256[:16] for sha256 in self.entries.sha256[self.places(utterances)].astype(str)]

    @cached_property
    def _places(self) -> dict[str, int]:
        return {u.id: i for i, u in enumerate(self.utterances)}

    @cached_property
    def fingerprints(self) -> Fingerprints:
        """(n,) acoustic fingerprint of each waveform."""
        return np.memmap(self.folder / "fingerprints.bin", RECORD, mode="r")

    @property
    def seconds(self) -> float:
        """How much speech it holds, in seconds."""
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
    """Decode a corpus once into a pack; do nothing where the pack is valid already.

    A pack is valid when it was made of the same utterances from files of the same size and time. Where their
    files have changed, or it is damaged, it is made anew; one of other utterances only stays or is replaced.
    It is written beside its place and renamed when whole: an interrupted call leaves no half pack.

    Args:
        utterances: what to decode, from one corpus or several.
        folder: the pack's folder.
        skip_bad: leave out recordings that cannot be used, and record why; else they are an error.
        replace: take the place of a pack of other utterances; else it is an error.
        user_corpora: those of the corpora that are the user's own, and their terms of use; terms of an earlier call stay
            where none are stated.
        progress: called with (done, all).

    Returns:
        The pack, and whether it was made now.

    Raises:
        PackError: there is nothing to decode, two utterances have one id, a recording cannot be
            used, or `folder` holds a pack of other utterances, or something that is not a pack.
        OutputError: there is no room for it, or no right to write it.
    """
    folder = Path(folder)
    _refuse_same_ids(utterances)
    sources = source_stamps(_source_stamp(u.file) for u in utterances)
    if folder.exists():
        _refuse_other_folder(folder)
        if (pack := _still_valid(folder, utterances, sources, skip_bad)) is not None:
            if (named := merge_user_corpora(pack.user_corpora, user_corpora)) != pack.user_corpora:
                write_user_corpora(folder, named.values())
            return Pack(folder), False
        if not replace:
            _refuse_other_utterances(folder, utterances)
            user_corpora = tuple(merge_user_corpora(_own_of(folder), user_corpora).values())
    place = folder.resolve()  # a link to a pack stays a link
    work = place.with_name(place.name + ".part")
    new, old = work / "new", work / "old"
    with told_as_output(folder):
        work.mkdir(parents=True, exist_ok=True)
    with alone_in(
        work, PackError(f"{folder}: another call makes it still. Wait for it, or name another folder")
    ):
        try:
            with told_as_output(folder):
                _put_back(old, place)
                for left in work.iterdir():  # by a killed call
                    shutil.rmtree(left) if left.is_dir() else left.unlink()
                new.mkdir()
                _decode_into(new, utterances, sources, skip_bad, progress)
                if user_corpora:
                    write_user_corpora(new, user_corpora)
                if place.exists():
                    os.replace(place, old)
                os.replace(new, place)
        finally:
            _put_back(old, place)
            shutil.rmtree(work, ignore_errors=True)
    return Pack(folder), True


def _put_back(old: Path, place: Path) -> None:
    """The pack that was moved away for a new one, where that did not come to its place."""
    if old.exists() and not place.exists():
        os.replace(old, place)


def _refuse_same_ids(utterances: Sequence[Utterance]) -> None:
    if not utterances:
        raise PackError("there are no utterances to prepare")
    if len({u.id for u in utterances}) < len(utterances):
        identity, times = Counter(u.id for u in utterances).most_common(1)[0]
        raise PackError(f"{times} utterances are called {identity}. Name each corpus once")


def _refuse_other_folder(folder: Path) -> None:
    """A pack that is out of date is deleted, so nothing else may be taken for one."""
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    if "index.json" not in names or not any(map(_WAVEFORMS.fullmatch, names)):
        raise PackError(f"{folder} exists and is not a pack (no index.json and .bin). Name another folder")
    if foreign := [name for name in names if not _OWN_FILES.fullmatch(name)]:
        raise PackError(f"{folder} is not a pack alone: it holds {foreign[0]}. Name another folder")


def _refuse_other_utterances(folder: Path, utterances: Sequence[Utterance]) -> None:
    """Refuse to replace a pack of other utterances; one that cannot be read is of no use."""
    there: list[str] = []
    requested = ""
    try:
        for name, value in read_members(folder / INDEX_FILE):
            if name in ("utterances", "skipped"):
                there.append(value["id"])
            elif name == "requested":
                requested = value
    except (OSError, ValueError, KeyError, TypeError):
        return
    if requested in ("", request_digest(utterances)):
        return
    asked = {u.id for u in utterances}
    gone, new = len(set(there) - asked), len(asked - set(there))
    differ = (
        f"{gone} of its {len(there)} are not among those asked for, {new} of the {len(asked)} asked for are not in it"
        if gone or new
        else "their files, labels, speakers, stretches or order differ from those asked for"
    )
    raise PackError(
        f"{folder} is a pack of other utterances: {differ}. Name another folder, or replace the pack: "
        "`emospec prepare` with --replace"
    )


def _own_of(folder: Path) -> dict[str, UserCorpus]:
    """Return the terms that are known of a pack that is made anew, whatever else of it is damaged."""
    try:
        return read_user_corpora(folder)
    except PackError:
        return {}


def _decode_into(
    part: Path,
    utterances: Sequence[Utterance],
    sources: NDArray[np.int64],
    skip_bad: bool,
    progress: Progress | None,
) -> None:
    skipped: list[Skipped] = []
    silent: list[str] = []
    digest = hashlib.sha256()

    def members() -> Iterator[tuple[str, Any]]:
        yield "format", PACK_FORMAT
        yield "sample_rate", SAMPLE_RATE
        yield "entries", entries()
        left_out = {s.id for s in skipped}
        yield "utterances", (row_of(u) for u in utterances if u.id not in left_out)
        yield "skipped", (asdict(s) for s in skipped)
        yield "silent", iter(silent)
        yield "sources", (stamp.tolist() for stamp in sources)
        yield "requested", request_digest(utterances)
        yield "digest", digest.hexdigest()

    def entries() -> Iterator[dict[str, Any]]:
        for done, (utterance, result) in enumerate(zip(utterances, decoded, strict=True), start=1):
            if isinstance(result, str):
                skipped.append(Skipped(utterance.id, result))
            else:
                store, samples, sha256, record, is_silent = result
                silent.extend([utterance.id] * is_silent)
                writers[store].write(samples)
                fingerprints.write(record.data)
                digest.update(sha256.encode())
                row = (store, len(samples), sha256)
                yield dict(zip(ENTRY.names or (), row, strict=True))
            if progress:
                progress(done, len(utterances))

    with ExitStack() as stack:
        writers = {name: stack.enter_context(closing(ShardWriter(part, name, "bin"))) for name in _STORES}
        fingerprints = stack.enter_context(open(part / "fingerprints.bin", "wb"))
        decoded = stack.enter_context(closing(_decode_all(utterances)))
        write_members(part / "index.json", members())
    none_left = len(skipped) == len(utterances)
    if skipped and (none_left or not skip_bad):
        raise PackError(
            f"{len(skipped)} of {len(utterances)} recordings cannot be used, the first: {skipped[0].reason}. "
            + ("Mend them" if none_left else "Mend them, or leave them out with --skip-bad")
        )


def _decode_all(utterances: Sequence[Utterance]) -> Generator[_Decoded | str, None, None]:
    """`_decode_one` of each, in order, by threads that run a bounded number of recordings ahead."""
    threads = cores()
    ahead: deque[Future[_Decoded | str]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for utterance in utterances:
            ahead.append(pool.submit(_decode_one, utterance))
            if len(ahead) > 4 * threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _decode_one(utterance: Utterance) -> _Decoded | str:
    """Return store, samples, hash and fingerprint of a waveform, and whether it is silent; or why it is of no use."""
    try:
        waveform, source = decode(utterance.file, utterance.start, utterance.end)
    except AudioError as error:
        return str(error)
    sha256 = hashlib.sha256(waveform.data).hexdigest()
    facts = sha256, fingerprint(waveform), bool(np.abs(waveform).max(initial=0.0) < SILENT_PEAK)
    if source.is_int16_mono_16k:
        return "int16", np.rint(waveform * INT16_SCALE).astype(_STORES["int16"]), *facts
    return "float32", waveform.astype(_STORES["float32"]), *facts


def _still_valid(
    folder: Path, utterances: Sequence[Utterance], sources: NDArray[np.int64], skip_bad: bool
) -> Pack | None:
    """The pack, where it was made of just these utterances and files; else None."""
    try:
        pack = Pack(folder)
    except PackError:
        return None
    same = pack.requested == request_digest(utterances) and np.array_equal(pack.sources, sources)
    return pack if same and (skip_bad or not pack.skipped) else None


def _source_stamp(file: Path) -> tuple[int, int]:
    try:
        stat = file.stat()
    except OSError:
        return -1, -1  # the decoder names the missing file
    return stat.st_size, stat.st_mtime_ns
