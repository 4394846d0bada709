"""Decoders: they decode as the recogniser does, in little room, and may die without harm to others."""

import asyncio
import multiprocessing
import re
from pathlib import Path

import numpy as np
import pytest

from conftest import tone
from emospec.errors import AudioError
from emospec.inference.recognizer import Recognizer
from emospec.inference.recordings import RecordingReader
from emospec.serving.decoding import Decoder, DecoderLimits, DecoderLostError, Decoders
from hostile import Hostile
from served import CLIP, until, wav

LIMITS = DecoderLimits(10**7, 10.0)


def test_a_decoder_decodes_as_the_recogniser(recognizer: Recognizer) -> None:
    decoder = Decoder(recognizer.reader, LIMITS)
    try:
        late = np.concatenate([np.zeros(20 * 16_000), tone(300, 2.0)])  # silent in the middle
        for content in (CLIP, wav(late), wav(np.random.default_rng(0).normal(0, 0.1, (70 * 8000, 2)), 8000)):
            ours, theirs = recognizer.reader.read(content), decoder.decode(content)
            assert vars(ours) | {"waveform": 0} == vars(theirs) | {"waveform": 0}
            np.testing.assert_array_equal(ours.waveform, theirs.waveform)
            whole = [np.concatenate(list(reader.blocks(content))) for reader in (recognizer.reader, decoder)]
            np.testing.assert_array_equal(*whole)
    finally:
        decoder.stop()


def test_a_decoder_opens_no_file_and_has_little_time_and_memory() -> None:
    decoder = Decoder(Hostile(1400, 5.0), DecoderLimits(10**6, 0.2))
    try:
        for _ in range(2):
            assert decoder.decode(b"sound").seconds == 1.0
            with pytest.raises(AudioError, match="too much memory"):
                decoder.decode(b"hoard")
        limits = Path(f"/proc/{decoder._process.pid}/limits").read_text()
        assert re.search(r"Max open files +0 +0", limits)
        assert re.search(r"Max core file size +0 +0", limits)
        for harm in (b"crash", b"read", b"compute"):
            with pytest.raises(DecoderLostError):
                decoder.decode(harm)
            until(lambda: not decoder._process.is_alive())
            assert decoder.decode(b"sound").seconds == 1.0
    finally:
        decoder.stop()
    with pytest.raises(DecoderLostError):
        decoder.decode(b"sound")


@pytest.mark.parametrize(
    "sent",
    [[b"f{}"], [b"sabcd", b"f{}"], [b"sabc"], [b"f[1]"], [b"fno"], [b""], [b"sabcd", b"sabcd", b"f{}"]],
)
def test_a_decoder_that_sends_anything_but_one_waveform_is_lost(sent: list[bytes]) -> None:
    decoder = Decoder(RecordingReader(1400, 5.0, 3600.0), LIMITS)
    try:
        decoder.start()
        decoder._pipe, theirs = multiprocessing.Pipe()
        for message in sent:
            theirs.send_bytes(message)
        with pytest.raises(DecoderLostError):
            decoder.decode(CLIP)
        theirs.close()
    finally:
        decoder.stop()


def test_a_recording_that_kills_every_decoder_is_refused() -> None:
    async def decode() -> None:
        decoders = Decoders(1, lambda: Decoder(Hostile(1400, 5.0), LIMITS))
        await decoders.start()
        try:
            with pytest.raises(AudioError, match="the decoder failed on it"):
                await decoders.decode(b"crash")
            assert (await decoders.decode(b"sound")).seconds == 1.0
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await decoders.decode(b"compute")
            assert (await decoders.decode(b"sound")).seconds == 1.0
        finally:
            decoders.stop()

    asyncio.run(decode())
