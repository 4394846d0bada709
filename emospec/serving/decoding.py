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
from collections.abc import Awaitable, Callable, Generator, Iterator
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

from emospec.audio.kinds import HEAD_BYTES, is_supported
from emospec.audio.waveform import Waveform
from emospec.errors import AudioError, LongAudioError
from emospec.inference.recordings import DecodedRecording, RecordingReader
from emospec.serving.log import log_to_stderr

_log = logging.getLogger(__name__)

# For one recording: in all, and with decoders that end by themselves.
ATTEMPTS, FAILURES = 5, 2
# By this name the server finds the decoders among its children.
DECODER_NAME = "emospec-decoder"

# A decoder imports these: Python 3.11's forkserver leaves `__main__` out (cpython gh-126631), and each decoder would
# import the command line anew, for half a second.
PRELOAD = ["emospec.cli", "numpy.fft", __name__]

# A decoder's jobs: a recording as the model takes it, or all of it in blocks.
_WHOLE, _BLOCKS = "whole", "blocks"
# A message from a decoder begins with one of these bytes.
_SAMPLES, _FACTS = b"s", b"f"
# ffmpeg opens its libraries, the recording and pipes.
_FFMPEG_FILES = 64
# The address space that a decoder may take beside the recording.
_WORKING_BYTES = 512 * 2**20
_FAILED = "the recording: the decoder failed on it. It is damaged, or takes too long to decode"
_STOPS = (signal.SIGINT, signal.SIGTERM)
# Exit codes: killed by the kernel for want of memory, or by `kill -9`; 255 where the forkserver was killed.
_KILLED = (-signal.SIGKILL, 255)
# An exit code is known a little after its pipe has closed.
_EXIT_SECONDS = 1.0
# For so long, a decoded recording shows that decoders work.
_CHECK_VALID_SECONDS = 5.0
_CHECK_SECONDS = 10.0

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class DecoderLimits:
    """The most that one recording may have and take: its bytes, and seconds of processor time."""

    bytes: int
    seconds: float


class DecoderLostError(Exception):
    """The process has died, or was stopped; `killed` by somebody else, the recording is not to blame."""

    def __init__(self, message: str = "", *, killed: bool = False) -> None:
        super().__init__(message)
        self.killed = killed


class Decoder:
    """One process that decodes, started when it is first needed.

    Its methods block; `stop` may be called from another thread meanwhile.

    Args:
        reader: decodes in the process.
        limits: of a recording.
        runs_ffmpeg: whether it takes what ffmpeg decodes, and nothing else. One that does not hands such
            recordings to one that does, if its reader allows ffmpeg.
    """

    def __init__(self, reader: RecordingReader, limits: DecoderLimits, runs_ffmpeg: bool = False) -> None:
        self._reader, self._limits, self._runs_ffmpeg = reader, limits, runs_ffmpeg
        self._ffmpeg_decoder: Decoder | None = None
        self._facts: dict[str, Any] = {}
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None
        self._stopped = False
        self._starting = threading.Lock()

    def start(self) -> None:
        """Start the process, unless it is alive."""
        with self._starting:
            if self._stopped or (self._process is not None and self._process.is_alive()):
                return
            context = get_context("forkserver")
            context.set_forkserver_preload(PRELOAD)
            self._pipe, pipe = context.Pipe()
            arguments = pipe, replace(self._reader, ffmpeg=self._runs_ffmpeg), self._limits
            process = context.Process(target=_run, args=arguments, name=DECODER_NAME, daemon=True)
            with _stop_signals_blocked():
                process.start()
            pipe.close()
            self._process = process
        # Another thread may have called `stop` meanwhile.
        if self._stopped:
            process.kill()

    def decode(
        self, content: bytes, check_speech: bool = False, channel: int | None = None
    ) -> DecodedRecording:
        """Decode a recording for the model, from its bytes; AudioError if it cannot be used."""
        waveforms = self._ask(content, _WHOLE, check_speech=check_speech, channel=channel)
        waveform = next(waveforms, None)
        if waveform is None or next(waveforms, None) is not None:
            raise DecoderLostError("it did not send one waveform")
        facts = self._facts
        try:
            return DecodedRecording(
                name=facts["name"],
                waveform=waveform,
                seconds=facts["seconds"],
                span=tuple(facts["span"]),
                warnings=tuple(facts["warnings"]),
                speech_seconds=facts["speech_seconds"],
            )
        except (KeyError, TypeError) as error:
            raise DecoderLostError from error

    def blocks(self, content: bytes, channel: int | None = None) -> Iterator[Waveform]:
        """Yield all of a recording at 16 kHz, block by block, no faster than they are taken."""
        return self._ask(content, _BLOCKS, channel=channel)

    def stop(self) -> None:
        """Kill the process; a call that waits for it raises DecoderLostError."""
        self._stopped = True
        if self._ffmpeg_decoder is not None:
            self._ffmpeg_decoder.stop()
        if self._process is not None:
            self._process.kill()

    def _ask(self, content: bytes, job: str, **options: Any) -> Generator[Waveform, None, None]:
        if self._reader.ffmpeg and not self._runs_ffmpeg and not is_supported(content[:HEAD_BYTES]):
            yield from self._ask_ffmpeg(content, job, **options)
            return
        try:
            self.start()
            pipe = self._pipe
            if pipe is None:
                raise DecoderLostError
            pipe.send_bytes(json.dumps([job, options]).encode())
            pipe.send_bytes(content)
            while (message := pipe.recv_bytes())[:1] == _SAMPLES:
                yield np.frombuffer(message, np.float32, offset=1)
            self._facts = dict(json.loads(message[1:]))
        except (EOFError, OSError, TypeError, ValueError) as error:
            raise DecoderLostError(killed=self._was_killed()) from error
        if "error" in self._facts:
            raise (LongAudioError if self._facts.get("long") else AudioError)(self._facts["error"])

    def _ask_ffmpeg(self, content: bytes, job: str, **options: Any) -> Generator[Waveform, None, None]:
        # ffmpeg runs in a process of its own, for this recording alone.
        self._ffmpeg_decoder = decoder = Decoder(self._reader, self._limits, runs_ffmpeg=True)
        try:
            # Another thread may have called `stop` meanwhile.
            if self._stopped:
                raise DecoderLostError
            yield from decoder._ask(content, job, **options)
            self._facts = decoder._facts
        finally:
            decoder.stop()

    def _was_killed(self) -> bool:
        # It could not be started at all.
        if self._process is None:
            return True
        self._process.join(_EXIT_SECONDS)
        return self._process.exitcode in _KILLED


@contextmanager
def _stop_signals_blocked() -> Iterator[None]:
    # The server ends its decoders itself, once every request is answered: a SIGTERM or Ctrl-C to the whole process
    # tree must not. A blocked signal stays blocked in a child, and in its children. The tracker, which lets the
    # signals through again, comes first.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


async def decode_again_if_lost(
    attempt: Callable[[], Awaitable[_Result]], on_loss: Callable[[], None]
) -> _Result:
    """Return the result of an attempt to decode a recording, which is repeated when its decoder is lost.

    Raises:
        AudioError: as the attempt does, or two decoders ended by themselves.
        DecoderLostError: decoders are being killed.
    """
    failures = 0
    for attempts_left in reversed(range(ATTEMPTS)):
        try:
            return await attempt()
        except DecoderLostError as error:
            on_loss()
            # The first one need not be the recording's fault.
            failures += not error.killed
            if failures == FAILURES:
                raise AudioError(_FAILED) from error
            if not attempts_left:
                raise
    raise AssertionError("the last attempt returns or raises")


class Decoders:
    """Some decoders for short jobs, each replaced when it dies, or when its client has gone."""

    def __init__(
        self, count: int, create: Callable[[], Decoder], on_loss: Callable[[], None] = lambda: None
    ) -> None:
        self._create, self._on_loss = create, on_loss
        self._all = {create() for _ in range(count)}
        self._idle: asyncio.Queue[Decoder] = asyncio.Queue()
        self._threads = ThreadPoolExecutor(count, "decoder")
        self._checking = asyncio.Lock()
        self._decoded_at = -math.inf

    async def start(self) -> None:
        """Start all, before the first request."""
        await asyncio.gather(*(self._in_thread(decoder.start) for decoder in self._all))
        for decoder in self._all:
            self._idle.put_nowait(decoder)

    def stop(self) -> None:
        """Kill all."""
        for decoder in self._all:
            decoder.stop()
        self._threads.shutdown()

    async def decode(
        self, content: bytes, check_speech: bool = False, channel: int | None = None
    ) -> DecodedRecording:
        """Decode a recording as `Decoder.decode` does, and again when its decoder is lost."""
        decoder = await self._idle.get()

        def replace_decoder() -> None:
            nonlocal decoder
            decoder = self._replacement(decoder)

        try:
            recording = await decode_again_if_lost(
                lambda: self._in_thread(decoder.decode, content, check_speech, channel), replace_decoder
            )
            self._decoded_at = time.monotonic()
            return recording
        except asyncio.CancelledError:
            replace_decoder()
            raise
        finally:
            self._idle.put_nowait(decoder)

    async def check(self) -> None:
        """Decode a short sound, unless a recording was decoded just now; DecoderLostError if it cannot, or not in time."""
        async with self._checking:
            if time.monotonic() - self._decoded_at < _CHECK_VALID_SECONDS:
                return
            try:
                async with asyncio.timeout(_CHECK_SECONDS):
                    await self.decode(_short_sound())
            except (TimeoutError, AudioError) as error:
                raise DecoderLostError("the decoders decode nothing") from error

    def _replacement(self, lost: Decoder) -> Decoder:
        lost.stop()
        fresh = self._create()
        self._all = self._all - {lost} | {fresh}
        self._threads.submit(fresh.start)
        self._on_loss()
        return fresh

    async def _in_thread(self, work: Callable[..., _Result], *arguments: Any) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)


def _run(pipe: Connection, reader: RecordingReader, limits: DecoderLimits) -> None:
    # Signals of the terminal, or of the whole process tree: the server says when to end.
    for stop in _STOPS:
        signal.signal(stop, signal.SIG_IGN)
    # Our own log keeps standard error. The rest of it is dropped: libmpg123 remarks on every broken MP3.
    sys.stderr = os.fdopen(os.dup(2), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    log_to_stderr()
    try:
        _take_jobs(pipe, reader, limits)
    except Exception:  # logged as JSON here; multiprocessing would print its trace
        _log.exception("a decoder failed")
        sys.exit(1)


def _take_jobs(pipe: Connection, reader: RecordingReader, limits: DecoderLimits) -> None:
    # Confine the process: no more memory than needed, no open file except ffmpeg's, none written, no core dump.
    # Imports now what is imported late.
    reader.read(_short_sound(), check_speech=True)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    address_space = pages * resource.getpagesize() + _WORKING_BYTES + 2 * limits.bytes
    resource.setrlimit(resource.RLIMIT_AS, (address_space, address_space))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # ffmpeg inherits these limits. It alone reads what is hostile: this process copies bytes to it.
    resource.setrlimit(resource.RLIMIT_NOFILE, (_FFMPEG_FILES,) * 2 if reader.ffmpeg else (0, 0))
    if reader.ffmpeg:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limits.bytes + 2**20,) * 2)
    # For each job, samples go out, and then facts. The limit of processor time counts from the job's start.
    while True:
        try:
            (job, options), content = json.loads(pipe.recv_bytes()), pipe.recv_bytes()
        except EOFError:
            return
        seconds = math.ceil(time.process_time() + limits.seconds)
        hard_seconds = seconds + 1 if reader.ffmpeg else resource.RLIM_INFINITY
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, hard_seconds))
        try:
            facts: dict[str, Any] = {}
            if job == _WHOLE:
                recording = reader.read(content, **options)
                pipe.send_bytes(_SAMPLES + recording.waveform.tobytes())
                facts = {name: value for name, value in vars(recording).items() if name != "waveform"}
            else:
                for block in reader.blocks(content, **options):
                    pipe.send_bytes(_SAMPLES + block.tobytes())
        except MemoryError:
            facts = {"error": "the recording: takes too much memory to decode. Cut it", "long": False}
        except AudioError as error:
            facts = {"error": str(error), "long": isinstance(error, LongAudioError)}
        pipe.send_bytes(_FACTS + json.dumps(facts).encode())


def _short_sound() -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.full(800, 0.5), 8000, format="WAV")
    return file.getvalue()
