"""Class-weighted softmax cross-entropy and centre loss: L = L_s + lambda L_c.

Dai et al. 2019, in the form of the authors' poster; centre loss itself is from Wen et al. 2016, A Discriminative
Feature Learning Approach for Deep Face Recognition. Takes z, logits and targets; knows no network.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional


def class_weights(counts: Tensor) -> Tensor:
    """Return Eq. 1, w_j = max_k N_k / (N_j + 0.5), of the training utterances of each class (classes,).

    >>> class_weights(torch.tensor([10, 4])).tolist()
    [0.9523809552192688, 2.222222328186035]
    """
    return counts.max() / (counts + 0.5)


def utterance_weights(targets: Tensor, groups: Tensor, classes: int) -> Tensor:
    """Return the weight w_i of each training utterance: that of its class, by `class_weights` within its group.

    `targets` and `groups` are (utterances,); groups are all 0 as in the paper, or the corpora.
    """
    weights = torch.zeros(len(targets))
    for group in set(groups.tolist()):
        mask = groups == group
        counts = torch.bincount(targets[mask], minlength=classes)
        weights[mask] = class_weights(counts)[targets[mask]]
    return weights


def weighted_cross_entropy(
    logits: Tensor, targets: Tensor, weights: Tensor, smoothing: float = 0.0, total: Tensor | None = None
) -> Tensor:
    """Return Eq. 2, L_s = sum_i w_i CE_i / sum_i w_i over the mini-batch, w_i = w_{y_i} (Dai et al. 2019).

    Args:
        logits: (batch, classes).
        targets: (batch,) class indices.
        weights: (batch,) w_i, see `utterance_weights`.
        smoothing: share of each target that is spread over all classes (Szegedy et al. 2016, section 7).
        total: sum of the weights of the whole mini-batch if processes share it; None: of these utterances.
    """
    losses = functional.cross_entropy(logits, targets, reduction="none", label_smoothing=smoothing)
    return (weights * losses).sum() / (weights.sum() if total is None else total)


class CenterLoss(nn.Module):
    """Eq. 3, centre loss: L_c = sum_i w_i ||z_i - c_{y_i}||^2 / sum_i w_i, w_i = w_{y_i} (Dai et al. 2019).

    Wen et al. 2016, eq. 2, as a weighted mean and without its 1/2; z is not normalised. The centres (classes,
    features), 0 at first, are state, not parameters: no gradient reaches them, and `update` moves them.
    """

    centers: Tensor

    def __init__(self, classes: int, features: int) -> None:
        super().__init__()
        self.register_buffer("centers", torch.zeros(classes, features))

    def forward(self, z: Tensor, targets: Tensor, weights: Tensor, total: Tensor | None = None) -> Tensor:
        """Return the scalar loss of z (batch, features); arguments and parts as in `weighted_cross_entropy`."""
        squared = (z - self.centers[targets]).square().sum(dim=1)
        return (weights * squared).sum() / (weights.sum() if total is None else total)

    @torch.no_grad()
    def update(
        self, z: Tensor, targets: Tensor, rate: float, joint: Callable[[Tensor], Tensor] = lambda sums: sums
    ) -> None:
        """Move the centres, Eq. 5: c_j <- (1 - alpha) c_j + alpha * mean of z_i over the batch's class j.

        Args:
            z: (batch, features), as in the loss.
            targets: (batch,) class indices.
            rate: alpha in [0, 1].
            joint: sums a tensor over the processes that share the batch.
        """
        # The poster's rule; Wen et al. 2016, eq. 4, divides by one more than the class's count instead.
        z = z.detach().to(self.centers.dtype)
        # A last column of ones counts the utterances of each class.
        sums = torch.zeros_like(functional.pad(self.centers, (0, 1)))
        sums.index_add_(0, targets, functional.pad(z, (0, 1), value=1.0))
        sums, counts = joint(sums).tensor_split([self.centers.shape[1]], dim=1)
        # Classes that the batch lacks stay.
        moved = (1 - rate) * self.centers + rate * sums / counts.clamp(min=1)
        self.centers.copy_(torch.where(counts > 0, moved, self.centers))
