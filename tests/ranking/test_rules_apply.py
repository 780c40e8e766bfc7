"""Whole rule files, from TOML to lists, against lists made from the same rules by hand."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.sparse import csr_array

from recsys_vae.errors import InputError
from recsys_vae.interactions import IdMap
from recsys_vae.ranking import Rules, Selected, read_rules
from tests.ranking.by_hand import ByHand, list_by_hand

N_ITEMS, N_USERS = 9, 4
ITEMS = [f"i{n}" for n in range(N_ITEMS)]
USERS = [f"u{n}" for n in range(N_USERS)]
GENRES = ["Drama", "War", "Noir"]
ITEM_SETS = st.lists(st.sampled_from([*ITEMS, "gone"]), unique=True, max_size=6)
SOME_ITEMS = ITEM_SETS.filter(lambda ids: bool({*ids} & {*ITEMS}))
PAIRS = st.lists(st.tuples(st.sampled_from(USERS), st.sampled_from(ITEMS)), max_size=8, unique=True)


@st.composite
def contents(draw: Any) -> dict[str, Any]:
    """Draw what a rule file and the files that it refers to say."""
    some = draw(st.sets(st.sampled_from(["allow", "deny", "users", "require", "minimum"])))
    genres = [draw(st.lists(st.sampled_from(GENRES), unique=True)) for _ in ITEMS]
    genres[0] = GENRES  # each label occurs
    k = draw(st.integers(1, 6))
    pins = draw(st.lists(st.tuples(st.sampled_from(ITEMS), st.booleans()), max_size=2,
                         unique_by=lambda pin: pin[0]))  # fmt: skip
    places = draw(st.permutations(range(1, k + 1)))
    return {
        "k": k,
        "mask_seen": draw(st.booleans()),
        "allow": draw(SOME_ITEMS) if "allow" in some else None,
        "deny": draw(SOME_ITEMS) if "deny" in some else None,
        "user_allow": draw(PAIRS) if "users" in some else [],
        "user_deny": draw(PAIRS) if "users" in some else [],
        "not_in": draw(st.sampled_from(GENRES)) if "require" in some else None,
        "minimum": draw(st.sampled_from([0.5, 1.0])) if "minimum" in some else None,
        "genres": genres,
        "at_most": draw(st.one_of(st.none(), st.integers(1, 3))),
        "at_least": draw(st.lists(st.tuples(st.sampled_from(GENRES), st.just(1)), max_size=2)),
        "pins": [(i, p, f) for (i, f), p in zip(pins, places, strict=False)],
        "discount": draw(st.sampled_from([0.0, 0.25])),
    }


def write(folder: Path, content: dict[str, Any]) -> Path:
    lines = [f"mask_seen = {json.dumps(content['mask_seen'])}"]
    if content["minimum"] is not None:
        lines.append(f"minimum_score = {content['minimum']}")
    lines += [f"popularity = {{ discount = {content['discount']} }}", "[items]"]
    lines += [f"{key} = {json.dumps(content[key])}" for key in ("allow", "deny") if content[key]]
    lines.append("[users]")
    for key in ("allow", "deny"):
        frame = pd.DataFrame(content[f"user_{key}"], columns=["user", "item"])
        frame.to_csv(folder / f"{key}.csv", index=False)
        lines.append(f'{key}_file = "{key}.csv"')
    genres = pd.DataFrame({"item": ITEMS, "genre": ["|".join(one) for one in content["genres"]]})
    genres.to_parquet(folder / "genres.parquet")
    lines += ["[attributes]", 'file = "genres.parquet"']
    if content["not_in"]:
        lines += ["[[require]]", 'attribute = "genre"', f'not_in = ["{content["not_in"]}"]']
    if content["at_most"]:
        lines += ["[[at_most]]", 'attribute = "genre"', f"count = {content['at_most']}"]
    for label, count in content["at_least"]:
        lines += ["[[at_least]]", 'attribute = "genre"', f'value = "{label}"', f"count = {count}"]
    for item, position, force in content["pins"]:
        lines += ["[[pin]]", f'item = "{item}"', f"position = {position}"]
        lines.append(f"force = {json.dumps(force)}")
    path = folder / "rules.toml"
    path.write_text("\n".join(lines))
    return path


def by_hand(
    content: dict[str, Any], scores: npt.NDArray[np.float32], seen: Any, counts: Any
) -> list[list[str]]:
    """Apply the rules to one user and item after the other, in the order of the guide."""
    lists = []
    label_of = [{n for n, own in enumerate(content["genres"]) if label in own} for label in GENRES]
    caps = [(group, content["at_most"]) for group in label_of] if content["at_most"] else []
    quotas = [(label_of[GENRES.index(label)], n) for label, n in content["at_least"]]
    pins = {position - 1: ITEMS.index(item) for item, position, _ in content["pins"]}
    forced = {item for item, _, force in content["pins"] if force}
    allowing = {user for user, _ in content["user_allow"]}
    for row, user in enumerate(USERS):
        own = []
        for number, item in enumerate(ITEMS):
            lost = np.float32(content["discount"] * np.log1p(float(counts[number])))
            score = float(scores[row, number] - lost)
            low = content["minimum"] is not None and score < content["minimum"]
            masked = (
                (content["allow"] is not None and item not in content["allow"])
                or (content["deny"] is not None and item in content["deny"])
                or (
                    content["not_in"] is not None and content["not_in"] in content["genres"][number]
                )
                or (user in allowing and (user, item) not in content["user_allow"])
                or (user, item) in content["user_deny"]
                or (content["mask_seen"] and seen[row, number])
                or (low and number not in pins.values())
            )
            own.append(-np.inf if masked and item not in forced else score)
        made = list_by_hand(own, content["k"], ByHand(caps, quotas, pins))
        lists.append([ITEMS[n] for n in made.items])
    return lists


def ids_of(made: Selected) -> list[list[str]]:
    return [[ITEMS[n] for n in row if n >= 0] for row in made.lists.items_BK.tolist()]


@given(
    contents(),
    hnp.arrays(np.float32, (N_USERS, N_ITEMS), elements=st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0])),
    hnp.arrays(np.bool_, (N_USERS, N_ITEMS)),
)
@settings(max_examples=150)
def test_a_rule_file_gives_the_lists_made_by_hand(content: Any, scores: Any, seen: Any) -> None:
    counts = np.arange(N_ITEMS) % 3
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        # Small pools, so that some lists need a second one.
        patch.setattr("recsys_vae.ranking.rules._POOL", 1)
        patch.setattr("recsys_vae.ranking.rules._GROWTH", 2)
        patch.setattr("recsys_vae.ranking.rules._POOL_PER_PLACE", 1)
        file = read_rules(write(Path(folder), content))
        try:
            rules = Rules.compile(file, IdMap.of(ITEMS), counts)
        except InputError as error:
            assert "leave no item" in str(error)  # noqa: PT017 # the rare case of a drawn file
            return
        given_items = csr_array(seen.astype(np.float32))
        users = np.array(USERS, dtype=object)
        made = rules.apply(scores.copy(), users, given_items, content["k"])
        assert not made.exhausted_B.any()
        assert ids_of(made) == by_hand(content, scores, seen, counts)
