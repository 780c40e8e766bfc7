"""A training that is broken off after every epoch in turn, and goes on."""

from collections.abc import Callable
from pathlib import Path

import torch

from recsys_vae.models.autoencoder import NeuralRecommender
from recsys_vae.models.base import FitOptions
from recsys_vae.training.records import EpochRecord
from tests.models.made_up import made_up


class _Stopped(Exception):  # noqa: N818 # no error: the test pulls the plug
    pass


def prove_resume(make: Callable[[], NeuralRecommender], folder: Path) -> None:
    """Fit once without a break, and once broken off at the end of each epoch; compare all bits.

    The whole state of the network is compared, also what is not saved with the model.
    """
    data = made_up(60, 30, 0.2, seed=4)
    unbroken = make().fit(data, FitOptions(device="cpu", seed=3))
    epochs = unbroken.config.training.epochs

    for last in range(1, epochs):

        def stop(record: EpochRecord, last: int = last) -> None:
            if record.epoch == last:
                raise _Stopped

        checkpoint = folder / f"after-{last}"
        options = FitOptions(device="cpu", seed=3, on_epoch=stop, checkpoint=checkpoint)
        try:
            make().fit(data, options)
        except _Stopped:
            pass
        else:
            raise AssertionError("the training was not broken off")
        resumed = make().fit(data, FitOptions(device="cpu", seed=3, checkpoint=checkpoint))
        assert [record.terms for record in resumed.history] == [
            record.terms for record in unbroken.history
        ]
        found = resumed.network.state_dict()
        for name, value in unbroken.network.state_dict().items():
            assert torch.equal(found[name], value), (last, name)
