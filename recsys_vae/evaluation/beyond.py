"""What lists are like beyond their accuracy: novelty, popularity, diversity, serendipity.

Legend: B users, K longest list, N list lengths asked for, D width of an item's vector.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import csr_array
from scipy.spatial.distance import jensenshannon
from torch.nn import functional

from recsys_vae.evaluation.catalogue import GROUPS, Catalogue
from recsys_vae.evaluation.metrics import Lengths, PerUser, within
from recsys_vae.ranking.topn import PAD, TopN


@dataclass(frozen=True, slots=True)
class Shown:
    """Lists of some users and what they are judged by.

    Attributes:
        lists: what is shown.
        hits_BK: which places hold a held-out item.
        held_B: how many items are held out of each user.
        given: (B, I) what the users had taken before.
        catalogue: what is known of the items from training.
    """

    lists: TopN
    hits_BK: npt.NDArray[np.bool_]
    held_B: npt.NDArray[np.int64]
    given: csr_array
    catalogue: Catalogue

    def lengths(self, ks: Lengths) -> npt.NDArray[np.float64]:
        """Count the items in the first k places: (B, N); NaN where nothing is shown or judged."""
        counts = (self.lists.items_BK != PAD).astype(np.float64) @ within(ks, self.longest)
        counts[self.held_B == 0] = np.nan
        result: npt.NDArray[np.float64] = np.where(counts > 0, counts, np.nan)
        return result

    @property
    def longest(self) -> int:
        """K."""
        return int(self.lists.items_BK.shape[1])

    def mean_of(self, values_I: npt.NDArray[np.float64], ks: Lengths) -> PerUser:
        """Average a value of the items over the lists; `values_I` ends with 0, for padding."""
        values_BK = values_I[self.lists.items_BK]
        result: PerUser = (values_BK @ within(ks, self.longest)) / self.lengths(ks)
        return result


def novelty(shown: Shown, ks: Lengths) -> PerUser:
    r"""Novelty@k: mean over the list of -log2(share of the training users who took the item), bits.

    Source: T. Zhou et al., Solving the Apparent Diversity-Accuracy Dilemma of Recommender Systems,
    PNAS 107(10), 2010 (self-information).

    Returns:
        (B, N); NaN for users without held-out items; so for every measure here.
    """
    return shown.mean_of(shown.catalogue.surprise_I, ks)


def popularity(shown: Shown, ks: Lengths) -> PerUser:
    """Popularity@k: mean over the list of the share of the training users who took the item.

    Source: H. Abdollahpouri et al., Managing Popularity Bias in Recommender Systems with
    Personalized Re-Ranking, FLAIRS 2019 (average recommendation popularity).
    """
    return shown.mean_of(shown.catalogue.share_I, ks)


def miscalibration(shown: Shown, ks: Lengths) -> PerUser:
    """Miscalibration@k: how far the list's mix of head, middle and tail is from the history's.

    The Jensen-Shannon divergence of the two, in bits: 0 for the same mix, 1 for mixes that share
    nothing. NaN for users without history.

    Source: H. Abdollahpouri et al., User-centered Evaluation of Popularity Bias in Recommender
    Systems, UMAP 2021, equation 4 (user popularity deviation).
    """
    group_I = shown.catalogue.group_I
    rows = np.repeat(np.arange(shown.given.shape[0]), np.diff(shown.given.indptr))
    mix = np.bincount(
        rows * len(GROUPS) + group_I[shown.given.indices],
        minlength=shown.given.shape[0] * len(GROUPS),
    )
    taken_B1G = mix.reshape(-1, 1, len(GROUPS)).astype(np.float64)
    padded = np.append(group_I, np.int8(-1))
    group_BK = padded[shown.lists.items_BK]
    inside = within(ks, shown.longest)
    listed_BNG = np.stack(
        [(group_BK == group).astype(np.float64) @ inside for group in range(len(GROUPS))], axis=2
    )
    result = np.full(listed_BNG.shape[:2], np.nan)
    usable = (taken_B1G.sum(axis=2) > 0) & (shown.lengths(ks) > 0)
    taken_BNG = np.broadcast_to(taken_B1G, listed_BNG.shape)
    # The library gives the square root of the divergence.
    result[usable] = jensenshannon(taken_BNG[usable], listed_BNG[usable], base=2, axis=1) ** 2
    return result


def diversity(shown: Shown, ks: Lengths) -> PerUser:
    r"""Diversity@k = 1 - mean cosine of all pairs in the list (intra-list diversity).

    With unit vectors v and S the sum over the n items of the list, the mean is
    (|S|^2 - sum |v|^2) / (n (n - 1)): no pair is looked at. NaN for lists of one item.

    Source: B. Smyth, P. McClave, Similarity vs. Diversity, ICCBR 2001; the vectors are those of
    `Catalogue`.
    """
    vectors = torch.from_numpy(shown.catalogue.vectors_ID)
    order = np.argsort(ks, kind="stable")
    bounds = np.asarray(ks)[order]
    n_users, longest = shown.lists.items_BK.shape
    used = int(bounds[-1])
    items = torch.from_numpy(shown.lists.items_BK[:, :used].astype(np.int64))
    kept = items != PAD
    # Each item is added up once, in the stretch between two lengths that it stands in.
    starts = np.concatenate([[0], bounds[:-1]])
    offsets = (np.arange(n_users)[:, None] * used + starts).ravel()
    sums = functional.embedding_bag(
        items.clamp(min=0).ravel(),
        vectors,
        torch.from_numpy(offsets),
        mode="sum",
        per_sample_weights=kept.ravel().to(vectors.dtype),
    )
    sums_BND = sums.reshape(n_users, len(ks), -1).cumsum(dim=1)
    squares = sums_BND.double().square().sum(dim=2).numpy()
    known_I = np.append(np.square(shown.catalogue.vectors_ID, dtype=np.float64).sum(axis=1), 0.0)
    lengths = shown.lengths(ks)[:, order]
    own = known_I[shown.lists.items_BK] @ within(bounds.tolist(), longest)
    pairs = np.where(lengths > 1, lengths * (lengths - 1), np.nan)
    result = np.empty_like(squares)
    result[:, order] = 1 - (squares - own) / pairs
    return result


def serendipity(shown: Shown, ks: Lengths) -> PerUser:
    """Serendipity@k = hits among the first k that popularity would not show / min(k, held-out).

    Popularity's list for a user holds the k most popular items that the user has not taken.

    Source: M. Ge et al., Beyond Accuracy: Evaluating Recommender Systems by Coverage and
    Serendipity, RecSys 2010 (useful and unexpected), with popularity as what is expected.
    """
    rank_I, n_items = shown.catalogue.rank_I, len(shown.catalogue.rank_I)
    rows, places = np.nonzero(shown.hits_BK)
    ranks = rank_I[shown.lists.items_BK[rows, places]]
    given = shown.given
    owners = np.repeat(np.arange(given.shape[0], dtype=np.int64), np.diff(given.indptr))
    taken = np.sort(owners * n_items + rank_I[given.indices])
    before = np.searchsorted(taken, rows * n_items + ranks) - given.indptr[rows]
    # Among what the user has not taken.
    expected_place = ranks - before
    found = np.stack(
        [
            np.bincount(
                rows[(places < k) & (expected_place >= k)], minlength=len(shown.held_B)
            ).astype(np.float64)
            for k in ks
        ],
        axis=1,
    )
    held = np.where(shown.held_B > 0, shown.held_B, np.nan)[:, None]
    result: PerUser = found / np.minimum(held, np.asarray(ks))
    return result
