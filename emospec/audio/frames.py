"""How a recording is cut into frames: what training, export and use must agree on."""

from typing import Any

from emospec.audio.waveform import SAMPLE_RATE

HOP_SAMPLES = 160  # 10 ms at 16 kHz: 100 frames per second
HOP_SECONDS = HOP_SAMPLES / SAMPLE_RATE
MIN_FRAMES = 49  # 0.48 s: the shortest input that gives the network one step


def frame_count(samples: Any) -> Any:
    """T = 1 + floor(n / 160) centred frames for n samples: of an integer, or of each in an array or tensor.

    Example:
        >>> frame_count(159), frame_count(160)
        (1, 2)
    """
    return 1 + samples // HOP_SAMPLES


def central_frames(count: Any, max_frames: int) -> slice:
    """Return which of `count` frames are kept: the central `max_frames`, from floor((count - max_frames) / 2); 0 keeps all.

    Of an integer, or of each in an array or tensor: then start and stop are arrays or tensors too.

    Example:
        >>> central_frames(1403, 1400), central_frames(7, 1400), central_frames(7, 0)
        (slice(1, 1401, None), slice(0, 7, None), slice(0, 7, None))
    """
    # Not `max` or `clip`: an integer, an array and a tensor in a traced graph share no such function.
    dropped = (count - max_frames) * (count > max_frames) if max_frames else count * 0
    start = dropped // 2
    return slice(start, start + count - dropped)
