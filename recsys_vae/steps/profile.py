"""profile: stored interactions become a profile, a picture and, against earlier ones, a drift."""

from dataclasses import dataclass
from pathlib import Path

from recsys_vae.errors import InputError
from recsys_vae.files import atomic_folder, check_replaceable, refuse_loss, write_json
from recsys_vae.ingest.data_warnings import DataWarning, warnings_of
from recsys_vae.ingest.drift import Drift, drift
from recsys_vae.ingest.profile import Profile, profile
from recsys_vae.interactions import Interactions, load_interactions
from recsys_vae.interactions.store import INTERACTIONS
from recsys_vae.reports.profile_plots import plot_profile
from recsys_vae.tracking.runs import step_run

PROFILE = "profile.json"
PICTURE = "profile.png"
DRIFT = "drift.json"
CONTENTS = (PROFILE, PICTURE, DRIFT)


@dataclass(frozen=True, slots=True)
class Profiled:
    """What came out.

    Attributes:
        profile: of the data.
        drift: against the earlier profile; None without one.
        warnings: what in the data is probably not meant.
    """

    profile: Profile
    drift: Drift | None
    warnings: tuple[DataWarning, ...]


def profile_data(*, data: Path, against: Path | None = None, out: Path) -> Profiled:
    """Profile stored interactions.

    Args:
        data: a folder that `ingest` wrote.
        against: an earlier profile.json, or a folder that `profile` or `ingest` wrote; None: there
            is nothing to compare with.
        out: the folder to write `profile.json`, `profile.png` and, with `against`, `drift.json` to.

    Returns:
        The profile, the drift and the warnings.

    Raises:
        InputError: the data or the earlier profile are unusable; nothing is written then.
    """
    check_replaceable(out, CONTENTS)
    refuse_loss(out, [against])
    with step_run("profile") as run:
        interactions = load_interactions(data / INTERACTIONS)
        made = _profile(interactions)
        earlier = None if against is None else _earlier(against)
        drifted = None if earlier is None else drift(earlier, made)
        warnings = warnings_of(interactions)
        with atomic_folder(out, CONTENTS) as temporary:
            made.save(temporary / PROFILE)
            plot_profile(made, temporary / PICTURE, earlier=earlier)
            if drifted is not None:
                write_json(temporary / DRIFT, drifted.to_json())
        run.params("profile", {"against": None if earlier is None else earlier.fingerprint})
        run.dataset(interactions, "interactions", "profile")
        run.metrics(
            {
                "users": made.users,
                "items": made.items,
                "interactions": made.interactions,
                "density": made.density,
                "gini_users": made.activity.gini,
                "gini_items": made.popularity.gini,
            }
        )
        run.metrics({f"warning_{one.name}": one.count for one in warnings})
        if drifted is not None:
            run.metrics(
                {
                    f"drift_{_plain(one.name)}": one.value
                    for one in drifted.measures
                    if one.value is not None
                }
            )
            run.tags({"recsys_vae.drift": drifted.verdict})
        run.artifact(out, "profile")
        return Profiled(made, drifted, warnings)


def _profile(interactions: Interactions) -> Profile:
    # Interactions stored without times have no such attribute, or None there.
    return profile(interactions, getattr(interactions, "times", None))


def _earlier(against: Path) -> Profile:
    if against.is_file():
        return Profile.load(against)
    if (against / PROFILE).is_file():
        return Profile.load(against / PROFILE)
    if (against / INTERACTIONS).is_dir():
        return _profile(load_interactions(against / INTERACTIONS))
    raise InputError(
        f"--against {against} is neither a {PROFILE} nor a folder that 'profile' or 'ingest' "
        "wrote: make one with 'recsys-vae profile'"
    )


def _plain(name: str) -> str:
    """Make a measure's name one that MLflow takes."""
    return name.replace("(", "").replace(")", "").replace(" ", "_")
