"""The plain dense Mult-VAE, written straight from Liang et al., 2018, arXiv 1802.05814.

Dense input rows, float32 layers, a whole log-softmax, Adam as torch builds it by default: what a
reader of the paper would write first.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812 # the customary name
from torch import Tensor, nn

from benchmarks.shapes import Rows, Shape


class DenseMultVAE(nn.Module):
    """I - hidden - latent - hidden - I with tanh."""

    def __init__(self, shape: Shape) -> None:
        """Make the four layers."""
        super().__init__()
        self.latent = shape.latent
        self.encoder_1 = nn.Linear(shape.items, shape.hidden)
        self.encoder_2 = nn.Linear(shape.hidden, 2 * shape.latent)
        self.decoder_1 = nn.Linear(shape.latent, shape.hidden)
        self.decoder_2 = nn.Linear(shape.hidden, shape.items)

    def forward(self, rows_BI: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, mean and log-variance of a dense batch."""
        hidden = F.dropout(F.normalize(rows_BI), 0.5, self.training)
        hidden = torch.tanh(self.encoder_1(hidden))
        mean, log_variance = self.encoder_2(hidden).split(self.latent, dim=1)
        latent = mean
        if self.training:
            latent = mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance)
        return self.decoder_2(torch.tanh(self.decoder_1(latent))), mean, log_variance


def dense_step(
    shape: Shape, rows: Rows, device: torch.device, learning_rate: float = 1e-3
) -> tuple[DenseMultVAE, Callable[[Tensor], Tensor]]:
    """Make a model, and a function that trains it on the given users once.

    Args:
        shape: Sizes of the model.
        rows: The interactions.
        device: Where to train.
        learning_rate: Of Adam.
    """
    model = DenseMultVAE(shape).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)

    def step(users_B: Tensor) -> Tensor:
        batch = rows.take(users_B)
        rows_BI = torch.zeros(batch.n_users, batch.n_items, device=device)
        rows_BI[batch.user_numbers(), batch.items] = batch.values
        logits, mean, log_variance = model(rows_BI)
        nll = -(F.log_softmax(logits, dim=1) * rows_BI).sum(dim=1).mean()
        kl = -0.5 * (1 + log_variance - mean.pow(2) - log_variance.exp()).sum(dim=1).mean()
        loss: Tensor = nll + 0.2 * kl
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    return model, step
