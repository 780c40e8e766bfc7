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
    def planned(
        cls, cap: float, steps_to_one: int | None, total_steps: int, *, share: float = 0.5
    ) -> Self:
        """Without steps of its own, reach the cap after a share of the planned steps.

        >>> LinearAnnealing.planned(0.2, None, 100)
        LinearAnnealing(cap=0.2, steps_to_one=250)
        """
        if steps_to_one is None:
            steps_to_one = round(share * total_steps / max(cap, 1e-9)) if cap else 0
        return cls(cap, steps_to_one)

    def __call__(self, step: int) -> float:
        """Give the weight at a step, counted from 0."""
        return min(self.cap, step / self.steps_to_one) if self.steps_to_one > 0 else self.cap


@dataclass(frozen=True, slots=True)
class Constant:
    """The same weight at every step.

    >>> Constant(4.0)(0), Constant(4.0)(10**6)
    (4.0, 4.0)
    """

    weight: float

    def __call__(self, step: int) -> float:
        """Give the weight at a step, counted from 0."""
        return self.weight


@dataclass(frozen=True, slots=True)
class LinearRise:
    """Rise linearly from 0 to `top` within `steps`, then stay.

    beta(t) = top min(1, t / steps). Unlike `LinearAnnealing` it takes the same time whatever the
    top is.

    >>> rise = LinearRise(top=4.0, steps=4)
    >>> [rise(step) for step in (0, 1, 4, 9)]
    [0.0, 1.0, 4.0, 4.0]
    """

    top: float
    steps: int

    def __call__(self, step: int) -> float:
        """Give the weight at a step, counted from 0."""
        return self.top * min(1.0, step / self.steps) if self.steps > 0 else self.top


@dataclass(frozen=True, slots=True)
class Cyclic:
    """Rise linearly from 0 to `top` in the first share of every cycle, stay, and start again.

    beta(t) = top min(1, tau / share) with tau = (t mod period) / period.

    Source: H. Fu et al., Cyclical Annealing Schedule: A Simple Approach to Mitigating KL
    Vanishing, NAACL 2019, with steps counted from 0 and a top that may differ from 1; theirs are
    four cycles with a share of 0.5.

    >>> cyclic = Cyclic(top=1.0, period=4, share=0.5)
    >>> [cyclic(step) for step in range(6)]
    [0.0, 0.5, 1.0, 1.0, 0.0, 0.5]
    """

    top: float
    period: int
    share: float

    def __call__(self, step: int) -> float:
        """Give the weight at a step, counted from 0."""
        if self.share <= 0 or self.period <= 1:
            return self.top
        return self.top * min(1.0, (step % self.period) / (self.period * self.share))
