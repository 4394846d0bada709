"""Recordings decoded in processes of their own, which may crash or be killed without harm to others.

Plain multiprocessing: one job's process must die alone and at once, which executors (concurrent.futures, loky) cannot do.
Its forkserver starts one in some 20 ms. What comes back is raw samples and JSON, never pickles: a decoder that a hostile
recording has taken over cannot reach further.
"""

import asyncio
import io
import json
import logging
import math
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import soundfile

from emospec.audio.kinds import HEAD_BYTES, is_read_here
from emospec.audio.waveform import Waveform
from emospec.errors import AudioError, LongAudioError
from emospec.inference.recordings import DecodedRecording, RecordingReader
from emospec.serving.log import log_to_stderr

log = logging.getLogger(__name__)

HEAR, BLOCKS = "hear", "blocks"  # what is asked of a decoder, with options
SAMPLES, FACTS = b"s", b"f"  # how a message from a decoder begins
FFMPEG_FILES = 64  # that it may have open: its libraries, the recording, pipes
WORKING_BYTES = 512 * 2**20  # of address space, beside the recording
LOST = "the recording: the decoder failed on it. It is damaged, or takes too long to decode"
# Of one recording: with decoders that may be killed meanwhile, with such as it ends itself.
TRIES, FAILURES = 5, 2
DECODER = "emospec-decoder"  # the name of a process
STOPS = (signal.SIGINT, signal.SIGTERM)
# Of a process: by the kernel for want of memory, by `kill -9`; 255 where what forks decoders was killed.
KILLED = (-signal.SIGKILL, 255)
LEAVING_SECONDS = 1.0  # for the exit code of a process to be known
PROOF_SECONDS = 5.0  # as long a recording that was decoded proves that decoders work
PROVING_SECONDS = 10.0

# What a decoder imports, by name: Python 3.11's forkserver leaves `__main__` out (cpython gh-126631), and each
# decoder would import the command line anew, for half a second.
PRELOAD = ["emospec.cli", "numpy.fft", __name__]

Result = TypeVar("Result")


@dataclass(frozen=True)
class Room:
    """What a decoder may use for one recording: its bytes, and seconds of processor time."""

    bytes: int
    seconds: float


class DecoderLostError(Exception):
    """The process has died, or was stopped.

    Args:
        message: what is known.
        killed: whether somebody else ended it, so that the recording is not to blame.
    """

    def __init__(self, message: str = "", *, killed: bool = False) -> None:
        super().__init__(message)
        self.killed = killed


class Decoder:
    """One process that decodes, started when it is first needed.

    Its methods block; `stop` may be called from another thread meanwhile.

    Args:
        ear: what it listens for.
        room: what it may use.
        runs_ffmpeg: whether it takes what ffmpeg decodes, and nothing else. One that does not hands such
            recordings to one that does, where its ear says so.
    """

    def __init__(self, ear: RecordingReader, room: Room, runs_ffmpeg: bool = False) -> None:
        self._ear, self._room, self._runs_ffmpeg = ear, room, runs_ffmpeg
        self._other: Decoder | None = None
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None
        self._stopped = False
        self._starting = threading.Lock()

    def start(self) -> None:
        """Start the process, where there is none that lives."""
        with self._starting:
            if self._stopped or (self._process is not None and self._process.is_alive()):
                return
            context = get_context("forkserver")
            context.set_forkserver_preload(PRELOAD)
            self._pipe, theirs = context.Pipe()
            process = context.Process(
                target=_work,
                args=(theirs, replace(self._ear, ffmpeg=self._runs_ffmpeg), self._room),
                name=DECODER,
                daemon=True,
            )
            with _deaf_to_stops():
                process.start()
            theirs.close()
            self._process = process
        if self._stopped:  # meanwhile
            process.kill()

    def hear(
        self, content: bytes, check_speech: bool = False, channel: int | None = None
    ) -> DecodedRecording:
        """The bytes of a recording as the model hears it; AudioError where it cannot be used."""
        answer = self._ask(content, HEAR, check_speech=check_speech, channel=channel)
        waveform = next(answer, None)
        if waveform is None or next(answer, None) is not None:
            raise DecoderLostError("it broke the rules")
        facts = self._facts
        try:
            span, warnings = tuple(facts["span"]), tuple(facts["warnings"])
            return DecodedRecording(
                facts["name"], waveform, facts["seconds"], span, warnings, facts["speech_seconds"]
            )
        except (KeyError, TypeError) as error:
            raise DecoderLostError from error

    def blocks(self, content: bytes, channel: int | None = None) -> Iterator[Waveform]:
        """All of a recording at 16 kHz, block by block, no faster than they are taken."""
        return self._ask(content, BLOCKS, channel=channel)

    def stop(self) -> None:
        """Kill the process; who waits for it gets a DecoderLostError."""
        self._stopped = True
        if self._other is not None:
            self._other.stop()
        if self._process is not None:
            self._process.kill()

    @property
    def pid(self) -> int | None:
        """Of its process."""
        return self._process.pid if self._process else None

    def _ask(self, content: bytes, what: str, **options: Any) -> Generator[Waveform, None, None]:
        if self._ear.ffmpeg and not self._runs_ffmpeg and not is_read_here(content[:HEAD_BYTES]):
            yield from self._ask_other(content, what, **options)
            return
        try:
            self.start()
            pipe = self._pipe
            if pipe is None:
                raise DecoderLostError
            pipe.send_bytes(json.dumps([what, options]).encode())
            pipe.send_bytes(content)
            while (message := pipe.recv_bytes())[:1] == SAMPLES:
                yield np.frombuffer(message, np.float32, offset=1)
            self._facts: dict[str, Any] = dict(json.loads(message[1:]))
        except (EOFError, OSError, TypeError, ValueError) as error:
            raise DecoderLostError(killed=self._was_killed()) from error
        if "error" in self._facts:
            raise (LongAudioError if self._facts.get("long") else AudioError)(self._facts["error"])

    def _ask_other(self, content: bytes, what: str, **options: Any) -> Generator[Waveform, None, None]:
        """Ask a process that runs ffmpeg, and no other decoder, on this recording alone."""
        self._other = other = Decoder(self._ear, self._room, runs_ffmpeg=True)
        try:
            if self._stopped:  # meanwhile
                raise DecoderLostError
            yield from other._ask(content, what, **options)
            self._facts = other._facts
        finally:
            other.stop()

    def _was_killed(self) -> bool:
        """Whether the process was ended by somebody else, or could not be started at all."""
        if self._process is None:
            return True
        self._process.join(LEAVING_SECONDS)
        return self._process.exitcode in KILLED


@contextmanager
def _deaf_to_stops() -> Iterator[None]:
    """Start processes that a SIGTERM or Ctrl-C to the whole process tree does not end.

    The server ends its decoders itself, once every request is answered. A blocked signal stays blocked in
    a child, and in its children.
    """
    resource_tracker.ensure_running()  # it lets the signals through again, so it comes first
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Decoders:
    """Some decoders for short jobs, each replaced when it dies, or when the one who asked has gone.

    Args:
        count: how many.
        ear, room: of each.
        told: is called when one is lost.
    """

    def __init__(
        self, count: int, ear: RecordingReader, room: Room, told: Callable[[], None] = lambda: None
    ) -> None:
        self._ear, self._room, self._told = ear, room, told
        self._all = {Decoder(ear, room) for _ in range(count)}
        self._idle: asyncio.Queue[Decoder] = asyncio.Queue()
        self._threads = ThreadPoolExecutor(count, "decoder")
        self._proving = asyncio.Lock()
        self._proved = -math.inf  # when a decoder answered last

    async def start(self) -> None:
        """Start all, before the first request."""
        await asyncio.gather(*(self._in_thread(one.start) for one in self._all))
        for one in self._all:
            self._idle.put_nowait(one)

    def stop(self) -> None:
        """Kill all."""
        for one in self._all:
            one.stop()
        self._threads.shutdown()

    @property
    def pids(self) -> set[int | None]:
        """Of the processes."""
        return {one.pid for one in self._all}

    async def hear(
        self, content: bytes, check_speech: bool = False, channel: int | None = None
    ) -> DecodedRecording:
        """As `Decoder.hear`, on a fresh decoder where one is lost.

        Raises:
            AudioError: the recording cannot be used, or its decoder failed on it twice.
            DecoderLostError: decoders are being killed.
        """
        decoder = await self._idle.get()
        try:
            failures = 0
            for left in reversed(range(TRIES)):
                try:
                    heard = await self._in_thread(decoder.hear, content, check_speech, channel)
                except DecoderLostError as lost:
                    decoder = self._replaced(decoder)
                    failures += not lost.killed  # once, it need not be the recording
                    if failures == FAILURES:
                        raise AudioError(LOST) from lost
                    if not left:
                        raise
                else:
                    self._proved = time.monotonic()
                    return heard
            raise AssertionError("the last try returns or raises")
        except asyncio.CancelledError:
            decoder = self._replaced(decoder)
            raise
        finally:
            self._idle.put_nowait(decoder)

    async def prove(self) -> None:
        """Decode a moment of sound, where no recording was decoded just now.

        Raises:
            DecoderLostError: it cannot be decoded, or not in time.
        """
        async with self._proving:
            if time.monotonic() - self._proved < PROOF_SECONDS:
                return
            try:
                async with asyncio.timeout(PROVING_SECONDS):
                    await self.hear(_moment())
            except (TimeoutError, AudioError) as error:
                raise DecoderLostError("the decoders decode nothing") from error

    def _replaced(self, lost: Decoder) -> Decoder:
        lost.stop()
        fresh = Decoder(self._ear, self._room)
        self._all = self._all - {lost} | {fresh}
        self._threads.submit(fresh.start)
        self._told()
        return fresh

    async def _in_thread(self, work: Callable[..., Result], *arguments: Any) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)


def _work(pipe: Connection, ear: RecordingReader, room: Room) -> None:
    """The process: take jobs until the pipe is closed."""
    for stop in STOPS:  # of the terminal, or of the whole process tree; whoever started us says when to end
        signal.signal(stop, signal.SIG_IGN)
    sys.stderr = os.fdopen(os.dup(2), "w")  # for our own failures; libmpg123 remarks on every broken MP3
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    log_to_stderr()
    try:
        _decode(pipe, ear, room)
    except Exception:  # logged as JSON here; multiprocessing would print its trace
        log.exception("a decoder failed")
        sys.exit(1)


def _decode(pipe: Connection, ear: RecordingReader, room: Room) -> None:
    """Take a job, send samples and then facts."""
    _confine(ear, room)
    while True:
        try:
            (what, options), content = json.loads(pipe.recv_bytes()), pipe.recv_bytes()
        except EOFError:
            return
        seconds = math.ceil(time.process_time() + room.seconds)
        resource.setrlimit(
            resource.RLIMIT_CPU, (seconds, seconds + 1 if ear.ffmpeg else resource.RLIM_INFINITY)
        )
        try:
            facts: dict[str, Any] = {}
            if what == HEAR:
                heard = ear.read(content, **options)
                pipe.send_bytes(SAMPLES + heard.waveform.tobytes())
                facts = {name: value for name, value in vars(heard).items() if name != "waveform"}
            else:
                for block in ear.blocks(content, **options):
                    pipe.send_bytes(SAMPLES + block.tobytes())
        except MemoryError:
            facts = {"error": "the recording: takes too much memory to decode. Cut it", "long": False}
        except AudioError as error:
            facts = {"error": str(error), "long": isinstance(error, LongAudioError)}
        pipe.send_bytes(FACTS + json.dumps(facts).encode())


def _confine(ear: RecordingReader, room: Room) -> None:
    """No more memory than needed, no file opened but by ffmpeg, and none written; no core dump."""
    ear.read(_moment(), check_speech=True)  # so that all that is imported late is imported now
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(
        resource.RLIMIT_AS, (pages * resource.getpagesize() + WORKING_BYTES + 2 * room.bytes,) * 2
    )
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # ffmpeg inherits these limits. What is hostile is read by it alone: this process copies bytes to it.
    resource.setrlimit(resource.RLIMIT_NOFILE, (FFMPEG_FILES,) * 2 if ear.ffmpeg else (0, 0))
    if ear.ffmpeg:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room.bytes + 2**20,) * 2)


def _moment() -> bytes:
    """A tenth of a second of sound as the bytes of a WAV file."""
    file = io.BytesIO()
    soundfile.write(file, np.full(800, 0.5), 8000, format="WAV")
    return file.getvalue()
