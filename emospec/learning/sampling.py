"""The training utterances of the batch of a step: a function of seed and step alone. Reads no frames.

Of a corpus larger than memory, utterances are shuffled among those of a few shards, which are read meanwhile.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


class ShardWindows:
    """The order of utterances and shards where `width` shards at a time are in memory.

    Every epoch the shards are shuffled and cut into windows, and the utterances of each window are shuffled.
    `shards` (utterances,) has the shard of each training utterance.
    """

    def __init__(self, shards: Indices, width: int, seed: int) -> None:
        self._shards, self._width, self._seed = shards, width, seed
        self._used = np.unique(shards)
        self._announced: set[tuple[int, int]] = set()
        # A batch lies in one epoch, or in two.
        self._epoch = lru_cache(maxsize=2)(self._shuffle_epoch)

    @property
    def more_than_one(self) -> bool:
        """Whether the shards are not all in one window."""
        return len(self._used) > self._width

    def order(self, epoch: int) -> Indices:
        """Return the utterances (utterances,) in the order in which an epoch sees them."""
        return self._epoch(epoch)[0]

    def shards_to_read(self, place: int) -> list[int]:
        """Return the shards to read at a place of the stream of utterances: its window's and the next's, once."""
        number, position = divmod(place, len(self._shards))
        _, ends, _ = self._epoch(number)
        window = int(np.searchsorted(ends, position, "right"))
        following = (number, window + 1) if window + 1 < len(ends) else (number + 1, 0)
        new = [key for key in ((number, window), following) if key not in self._announced]
        self._announced = {(number, window), following}
        return [int(shard) for number, window in new for shard in self._epoch(number)[2][window]]

    def _shuffle_epoch(self, epoch: int) -> tuple[Indices, Indices, list[Indices]]:
        """Return an epoch's order, where in it each window ends, and each window's shards."""
        rng = np.random.default_rng([self._seed, epoch])
        shards = rng.permutation(self._used)
        windows = [shards[k : k + self._width] for k in range(0, len(shards), self._width)]
        orders = [rng.permutation(np.flatnonzero(np.isin(self._shards, window))) for window in windows]
        return np.concatenate(orders), np.cumsum([len(order) for order in orders]), windows


def batch_indices(
    step: int, utterances: int, batch_size: int, seed: int, windows: ShardWindows | None = None
) -> Indices:
    """Return which training utterances (batch_size,) make the batch of one step, from 0.

    Every epoch is a seeded shuffle, of all among all where there are no windows; batches are always full, the tail of
    an epoch joins the next. No state: a resumed run sees the batches of an uninterrupted one.
    """
    places = np.arange(step * batch_size, (step + 1) * batch_size)
    orders = {
        epoch: windows.order(epoch) if windows else _shuffle(seed, epoch, utterances)
        for epoch in set((places // utterances).tolist())
    }
    return np.array([orders[place // utterances][place % utterances] for place in places.tolist()])


@lru_cache(maxsize=2)
def _shuffle(seed: int, epoch: int, utterances: int) -> Indices:
    return np.random.default_rng([seed, epoch]).permutation(utterances)
