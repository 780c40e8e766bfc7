"""How the KL weight and the learning rate change over the steps of a training."""

from dataclasses import dataclass


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

    def __call__(self, step: int) -> float:
        """Give the weight at a step, counted from 0."""
        return min(self.cap, step / self.steps_to_one) if self.steps_to_one > 0 else self.cap
