"""On MovieLens latest-small, Mult-VAE beats popularity beyond doubt."""

import os
from pathlib import Path

import pytest

from recsys_vae.evaluation.evaluate import evaluate, mean_metric
from recsys_vae.evaluation.intervals import Estimate
from recsys_vae.evaluation.measures import DEFAULT_METRICS
from recsys_vae.ingest.cleaning import CleaningOptions
from recsys_vae.ingest.readers import read_interactions
from recsys_vae.interactions import Interactions
from recsys_vae.models.base import FitOptions, Recommender
from recsys_vae.models.mult_vae import MultVAE
from recsys_vae.models.popularity import Popularity
from recsys_vae.splitting import Split, StrongOptions, split_strong
from tests.ingest.cleaned import clean

_SHARED = Path(__file__).parents[2] / "shared" / "data"
_RATINGS = Path(os.environ.get("RECSYS_VAE_DATA", _SHARED)) / "ml-latest-small" / "ratings.csv"

pytestmark = pytest.mark.skipif(
    not _RATINGS.is_file(),
    reason=f"{_RATINGS} is not there: set RECSYS_VAE_DATA to the folder that holds "
    "ml-latest-small (https://files.grouplens.org/datasets/movielens/ml-latest-small.zip)",
)


@pytest.fixture(scope="module")
def split() -> Split:
    frame = read_interactions(_RATINGS)
    cleaned = clean(frame, CleaningOptions(), _RATINGS)
    return split_strong(Interactions.from_frame(cleaned.frame), StrongOptions())


def _judged(model: Recommender, split: Split) -> dict[str, Estimate]:
    options = FitOptions(
        validate=lambda fitted: mean_metric(fitted, split.validation, "ndcg@100"), device="cpu"
    )
    return evaluate(model.fit(split.train, options), split.test).estimates()


def test_mult_vae_beats_popularity_on_every_metric_with_disjoint_intervals(split: Split) -> None:
    ours, popular = _judged(MultVAE(), split), _judged(Popularity(), split)
    for name in DEFAULT_METRICS:
        assert ours[name].low > popular[name].high, f"{name}: {ours[name]} and {popular[name]}"


def test_the_split_is_that_of_the_paper_on_this_file(split: Split) -> None:
    # 610 users, of whom 609 like something and some like fewer than five films.
    assert split.train.items.kind == "integer"
    assert len(split.validation.given.users) == len(split.test.given.users)
    held_out, given = split.test.held_out.matrix.nnz, split.test.given.matrix.nnz
    # A fifth, rounded down for each user: at most one item a user is lost to rounding.
    total, users = held_out + given, len(split.test.given.users)
    assert 0.2 * total - users <= held_out <= 0.2 * total
