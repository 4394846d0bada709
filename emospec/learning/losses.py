"""Class-weighted softmax cross-entropy and centre loss.

Dai et al. 2019, in the form of the authors' poster; centre loss itself is from Wen et al. 2016, A
Discriminative Feature Learning Approach for Deep Face Recognition. Knows no network: it takes z,
logits and targets.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


def class_weights(counts: Tensor) -> Tensor:
    """w_j = max_k N_k / (N_j + 0.5): inverse to class frequency.

    Args:
        counts: (classes,) training utterances of each class.

    Example:
        >>> class_weights(torch.tensor([10, 4])).tolist()
        [0.9523809552192688, 2.222222328186035]
    """
    return counts.max() / (counts + 0.5)


def weighted_cross_entropy(
    logits: Tensor, targets: Tensor, weights: Tensor, smoothing: float = 0.0
) -> Tensor:
    """L_s = sum_i w_{y_i} CE_i / sum_i w_{y_i} over the mini-batch (Dai et al. 2019).

    Args:
        logits: (batch, classes).
        targets: (batch,) class indices.
        weights: (classes,) see `class_weights`.
        smoothing: share of each target that is spread over all classes (Szegedy et al. 2016).

    Returns:
        The scalar loss.
    """
    return functional.cross_entropy(logits, targets, weights, label_smoothing=smoothing)


class CenterLoss(nn.Module):
    """L_c = sum_i w_{y_i} ||z_i - c_{y_i}||^2 / sum_i w_{y_i} (Dai et al. 2019).

    The squared L2 distance over the dimensions of z, z not normalised: Wen et al. 2016, eq. 2, as a
    weighted mean and without its 1/2. The centres are state, not parameters: no gradient reaches
    them, and `update` moves them.

    Args:
        classes: how many classes.
        features: the dimensions of z.

    Attributes:
        centers: (classes, features), 0 at first, in the state dict.
    """

    centers: Tensor

    def __init__(self, classes: int, features: int) -> None:
        super().__init__()
        self.register_buffer("centers", torch.zeros(classes, features))

    def forward(self, z: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """The scalar loss.

        Args:
            z: (batch, features).
            targets: (batch,) class indices.
            weights: (classes,) see `class_weights`.
        """
        w = weights[targets]
        squared = (z - self.centers[targets]).square().sum(dim=1)
        return (w * squared).sum() / w.sum()

    @torch.no_grad()
    def update(self, z: Tensor, targets: Tensor, rate: float) -> None:
        """c_j <- (1 - alpha) c_j + alpha * mean of z_i over the batch's class j.

        The poster's rule; Wen et al. 2016, eq. 4, divides by one more than the class's count
        instead. Classes that the batch lacks stay.

        Args:
            z: (batch, features), as in the loss.
            targets: (batch,) class indices.
            rate: alpha in [0, 1].
        """
        z = z.detach().to(self.centers.dtype)
        sums = torch.zeros_like(self.centers).index_add_(0, targets, z)
        counts = torch.zeros_like(self.centers[:, :1]).index_add_(0, targets, torch.ones_like(z[:, :1]))
        moved = (1 - rate) * self.centers + rate * sums / counts.clamp(min=1)
        self.centers.copy_(torch.where(counts > 0, moved, self.centers))
