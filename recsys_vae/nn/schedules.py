"""How the KL weight and the learning rate change over the steps of a training."""

from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class LinearAnnealing:
    """Rise linearly from 0 to `cap`, then stay.

    beta(t) = min(cap, t / steps_to_one), as in Liang et al. 2018, section 2.2.2: the slope is
    that of a rise to 1, stopped at the cap.

    >>> annealing = LinearAnnealing(cap=0.2, steps_to_one=10)
    >>> [annealing(step) for step in (0, 1, 2, 9)]
    [0.0, 0.1, 0.2, 0.2]
    """

    cap: float
    steps_to_one: int

    @classmethod
    def planned(cls, cap: float, steps_to_one: int | None, total_steps: int) -> Self:
        """Without steps of its own, reach the cap after half of the planned steps.

        >>> LinearAnnealing.planned(0.2, None, 100)
        LinearAnnealing(cap=0.2, steps_to_one=250)
        """
        if steps_to_one is None:
            steps_to_one = round(0.5 * total_steps / max(cap, 1e-9)) if cap else 0
        return cls(cap, steps_to_one)

    def __call__(self, step: int) -> float:
        """Give the weight at a step, counted from 0."""
        return min(self.cap, step / self.steps_to_one) if self.steps_to_one > 0 else self.cap
