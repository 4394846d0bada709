"""Batches of items of like length, so that little of a batch is padding."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray


def buckets(lengths: Sequence[int] | NDArray[np.int64], max_size: int) -> Iterator[list[int]]:
    """Yield the items' indices in batches, shortest first; of equal lengths, the earlier first.

    Args:
        lengths: of each item.
        max_size: the largest batch: its number of items times the longest of them. A longer item is a batch alone.

    Example:
        >>> list(buckets([5, 2, 9, 2], 10))
        [[1, 3], [0], [2]]
    """
    bucket: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if bucket and lengths[index] * (len(bucket) + 1) > max_size:
            yield bucket
            bucket = []
        bucket.append(index)
    if bucket:
        yield bucket
