"""The cut of a recording into frames, on which training, export and use must agree."""

from typing import Any

from emospec.audio.waveform import SAMPLE_RATE

# 10 ms at 16 kHz: 100 frames per second.
HOP_SAMPLES = 160
HOP_SECONDS = HOP_SAMPLES / SAMPLE_RATE
# 0.48 s: the shortest input that gives the network one step.
MIN_FRAMES = 49


def frame_count(samples: Any) -> Any:
    """Return T = 1 + floor(n / 160), the centred frames of n samples; of an integer, an array or a tensor.

    >>> frame_count(159), frame_count(160)
    (1, 2)
    """
    return 1 + samples // HOP_SAMPLES


def central_frames(count: Any, max_frames: int) -> slice:
    """Return which of `count` frames are kept: the central `max_frames`, from floor((count - max_frames) / 2); 0 keeps all.

    Of an integer, or of each in an array or tensor: then start and stop are arrays or tensors too.

    >>> central_frames(1403, 1400), central_frames(7, 1400), central_frames(7, 0)
    (slice(1, 1401, None), slice(0, 7, None), slice(0, 7, None))
    """
    # Not `max` or `clip`: an integer, an array and a tensor in a traced graph share no such function.
    dropped = (count - max_frames) * (count > max_frames) if max_frames else count * 0
    start = dropped // 2
    return slice(start, start + count - dropped)
