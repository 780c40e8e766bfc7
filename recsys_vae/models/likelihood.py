"""Which likelihood an autoencoder is trained with: what the models that offer a choice share."""

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from recsys_vae.models.autoencoder import NeuralConfig
from recsys_vae.nn.pointwise import Bernoulli, Gaussian, Pointwise


class LikelihoodConfig(NeuralConfig):
    """The config of an autoencoder that offers a choice of likelihood (Liang et al. 2018)."""

    likelihood: Literal["multinomial", "bernoulli", "gaussian"] = Field(
        default="multinomial",
        description="of a history: items compete for it (multinomial), are taken or not each by "
        "itself (bernoulli), or are as far as they are from a number (gaussian); nats per user, "
        "summed over all items",
    )
    taken_confidence: float = Field(
        default=1.0, gt=0, le=10**6, description="c1 of what was taken; gaussian only"
    )
    untaken_confidence: float = Field(
        default=0.1, ge=0, le=10**6, description="c0 of all other items; gaussian only"
    )

    @field_validator("likelihood")
    @classmethod
    def _refuse_sampled(cls, value: str, info: ValidationInfo) -> str:
        if value != "multinomial" and info.data.get("softmax") == "sampled":
            raise ValueError("softmax 'sampled' goes with likelihood 'multinomial' only")
        return value

    def negatives_for(self, n_items: int) -> int | None:
        """Give the draws a step of a sampled softmax; other likelihoods have no softmax."""
        return super().negatives_for(n_items) if self.likelihood == "multinomial" else None

    def pointwise(self) -> Pointwise | None:
        """Give the likelihood of one item, or None for the multinomial, which has none."""
        if self.likelihood == "bernoulli":
            return Bernoulli()
        if self.likelihood == "gaussian":
            return Gaussian(self.taken_confidence, self.untaken_confidence)
        return None
