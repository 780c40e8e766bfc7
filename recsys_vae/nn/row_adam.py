r"""Adam for tables of which each step touches a few rows.

Shape suffixes: I rows of a table, H columns, R touched rows.
"""

from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import Tensor

_SLAB_ROWS = 4096


class RowAdam(torch.optim.Optimizer):
    r"""Adam in which every row keeps its own clock, which ticks when the row is touched.

    .. math::
        m \leftarrow \beta_1 m + (1 - \beta_1) g, \quad
        v \leftarrow \beta_2 v + (1 - \beta_2) g^2, \quad
        w \leftarrow w - \eta \frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t)} + \epsilon}

    with t the number of steps that touched the row. Kingma & Ba, 2015, arXiv 1412.6980,
    algorithm 1, on the steps of each row in which it took part. If every row is touched in every
    step this *is* Adam. Otherwise it differs from dense Adam in that an untouched row neither
    moves on by its momentum nor forgets its moments; ``torch.optim.SparseAdam`` does the same
    but corrects the bias by the steps of the whole table, so that a row first seen late starts
    with steps about three times too long. Cost: R H per step, whatever I is.

    Args:
        params: Parameters that receive row-sparse gradients
            (``recsys_vae.nn.sparse_linear.row_sparse``).
        lr: Learning rate, above 0.
        betas: Decay of the two moments, each in [0, 1).
        eps: Added to the root, above 0.

    Raises:
        ValueError: If a setting is out of range, or, in ``step``, if a gradient is dense.

    Example:
        >>> from recsys_vae.nn.sparse_linear import row_sparse
        >>> table = torch.nn.Parameter(torch.zeros(3, 2))
        >>> optimizer = RowAdam([table], lr=0.5)
        >>> table.grad = row_sparse(torch.tensor([1]), torch.ones(1, 2), 3)
        >>> optimizer.step()
        >>> table.detach().sum(1).round().tolist()
        [0.0, -1.0, 0.0]
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        """Check the settings."""
        if lr <= 0.0 or eps <= 0.0 or not all(0.0 <= beta < 1.0 for beta in betas):
            raise ValueError(f"lr {lr}, betas {betas} or eps {eps} out of range")
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Move the touched rows once.

        Args:
            closure: Evaluates the loss again, if given.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for table in group["params"]:
                if table.grad is None:
                    continue
                if not table.grad.is_sparse:
                    raise ValueError("RowAdam needs row-sparse gradients; use Adam for dense ones")
                state = self.state[table]
                if not state:
                    state["exp_avg"] = torch.zeros_like(table)
                    state["exp_avg_sq"] = torch.zeros_like(table)
                    state["row_steps"] = torch.zeros(
                        len(table), dtype=torch.int32, device=table.device
                    )
                rows_R, values = _distinct_rows(table.grad)
                for start in range(0, rows_R.numel(), _SLAB_ROWS):
                    slab = slice(start, start + _SLAB_ROWS)
                    _move_rows(table, rows_R[slab], values[slab], state, group)
        return loss


def _distinct_rows(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Row numbers, each once, and the rows of a sparse gradient.

    Autograd forgets that a gradient is coalesced; looking is cheaper than sorting it again.
    """
    rows = gradient._indices()[0]
    if not bool((rows.diff() > 0).all()):
        gradient = gradient.coalesce()
        rows = gradient._indices()[0]
    return rows, gradient._values()


def _move_rows(
    table: Tensor, rows_R: Tensor, gradient: Tensor, state: dict[str, Tensor], group: dict[str, Any]
) -> None:
    """One step of Adam on some rows."""
    beta1, beta2 = group["betas"]
    steps_R = state["row_steps"][rows_R] + 1
    state["row_steps"][rows_R] = steps_R
    column = (-1, *[1] * (gradient.ndim - 1))
    clock_R = steps_R.to(torch.float64)
    rate = (group["lr"] / (1.0 - beta1**clock_R)).to(gradient.dtype).view(column)
    spread = (1.0 - beta2**clock_R).sqrt_().to(gradient.dtype).view(column)
    mean = state["exp_avg"].index_select(0, rows_R).lerp_(gradient, 1.0 - beta1)
    square = state["exp_avg_sq"].index_select(0, rows_R).mul_(beta2)
    square.addcmul_(gradient, gradient, value=1.0 - beta2)
    state["exp_avg"].index_copy_(0, rows_R, mean)
    state["exp_avg_sq"].index_copy_(0, rows_R, square)
    change = mean.mul_(rate).div_(square.sqrt_().div_(spread).add_(group["eps"]))
    table.index_copy_(0, rows_R, table.index_select(0, rows_R).sub_(change))
