"""The config of a model whose KL weight rises to a cap."""

from collections.abc import Callable
from typing import ClassVar, Self

from pydantic import Field

from recsys_vae.models.autoencoder import NeuralConfig
from recsys_vae.nn.schedules import LinearAnnealing


class AnnealedConfig(NeuralConfig):
    """Hyper-parameters of a KL weight that rises in a straight line and stays at a cap."""

    rising_share: ClassVar[float] = 0.5
    """Of the planned steps, before the cap is reached where no steps are given."""

    kl_cap: float = Field(default=0.2, ge=0, le=1_000, description="highest weight of the KL term")
    kl_annealing_steps: int | None = Field(
        default=None,
        ge=0,
        le=10**15,
        description="steps at which an uncapped KL weight would reach 1; None: so many that "
        "the cap is reached after half of the planned steps (VampVAE: a quarter)",
    )

    def kl_schedule(self, total_steps: int) -> Callable[[int], float]:
        """Rise linearly to the cap."""
        return self._annealing(total_steps)

    def settled(self, total_steps: int) -> Self:
        """Write down how long the KL weight rises."""
        steps = self._annealing(total_steps).steps_to_one
        return self.model_copy(update={"kl_annealing_steps": steps})

    def _annealing(self, total_steps: int) -> LinearAnnealing:
        return LinearAnnealing.planned(
            self.kl_cap, self.kl_annealing_steps, total_steps, share=self.rising_share
        )
