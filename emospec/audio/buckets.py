"""Things of unlike length in batches of like length, so that little of a batch is padding."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray


def buckets(lengths: Sequence[int] | NDArray[np.int64], most: int) -> Iterator[list[int]]:
    """Places in batches, shortest first; of equal lengths, the earlier first.

    Args:
        lengths: of each thing.
        most: the largest batch: its number of things times the longest of them. One that is longer alone
            is a batch of its own.

    Example:
        >>> list(buckets([5, 2, 9, 2], 10))
        [[1, 3], [0], [2]]
    """
    bucket: list[int] = []
    for place in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if bucket and lengths[place] * (len(bucket) + 1) > most:
            yield bucket
            bucket = []
        bucket.append(place)
    if bucket:
        yield bucket
