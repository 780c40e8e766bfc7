"""Hyper-parameters of training, apart from the context of one run."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from recsys_vae.nn.precision import Precision


class TrainingConfig(BaseModel):
    """How a network is trained.

    Unknown keys are refused. `batch_size=None` means 500 as in Liang et al. 2018, or fewer on
    small data, so that an epoch has about twenty steps, but at least 50.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    epochs: int = Field(default=100, ge=1, le=10**9, description="passes over the training users")
    batch_size: int | None = Field(default=None, ge=1, le=10**9, description="users a step")
    learning_rate: float = Field(default=1e-3, gt=0, description="of Adam, at its highest")
    warmup_steps: int = Field(default=0, ge=0, le=10**15, description="steps of linear rise to it")
    lr_schedule: Literal["constant", "cosine"] = Field(
        default="constant", description="after the warm-up: stay, or fall to 0 by the last step"
    )
    lr_epochs: int | None = Field(
        default=None,
        ge=1,
        le=10**9,
        description="epochs by whose end a cosine has fallen to 0; None: all of them",
    )
    weight_decay: float = Field(
        default=0.0, ge=0, description="lambda of the loss term lambda |W|^2 (biases left out)"
    )
    clip_norm: float | None = Field(default=None, gt=0, description="largest gradient norm")
    patience: int = Field(
        default=10, ge=0, description="validations without a better one before stopping; 0: never"
    )
    precision: Precision = Field(
        default="auto",
        description="of the large products: bfloat16 where the device multiplies it (auto), or "
        "always one of float32 and bfloat16; sums, weights and scores are float32",
    )
    buffer_mb: float = Field(
        default=256.0,
        gt=0,
        description="MiB that may be held per user and item of a batch; does not change results "
        "beyond rounding",
    )
    validate_every: int = Field(
        default=1, ge=1, description="epochs between validations; the last is always validated"
    )

    def until(self, epoch: int) -> Self:
        """Give what trains to an epoch as before, and stops there."""
        changed = {"epochs": epoch, "patience": 0}
        if self.lr_schedule == "cosine":
            changed["lr_epochs"] = self.lr_epochs or self.epochs
        return self.model_copy(update=changed)

    def users_per_step(self, n_users: int) -> int:
        """Give the batch size for a number of training users.

        >>> TrainingConfig().users_per_step(100_000), TrainingConfig().users_per_step(4_000)
        (500, 200)
        """
        if self.batch_size is not None:
            return min(self.batch_size, n_users)
        return min(n_users, max(50, min(500, n_users // 20)))
