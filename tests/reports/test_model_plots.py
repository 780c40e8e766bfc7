"""The pictures of trainings and evaluations show what they were given."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from recsys_vae.reports import evaluation_plots, training_plots
from recsys_vae.reports.evaluation_plots import plot_activity, plot_long_tail, plot_models
from recsys_vae.reports.training_plots import plot_latent_kl, plot_learning_curves
from recsys_vae.training.records import EpochRecord


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Figure]]:
    """What was drawn, beside the file, which is still written."""
    drawn: list[Figure] = []
    for module in (training_plots, evaluation_plots):
        write = module.save

        def save(figure: Figure, path: Path, write=write) -> None:  # type: ignore[no-untyped-def] # noqa: ANN001 # bound in the loop
            drawn.append(figure)
            write(figure, path)

        monkeypatch.setattr(module, "save", save)
    yield drawn
    assert drawn


def _record(epoch: int, kl_weight: float, validation: float | None) -> EpochRecord:
    terms = {"loss": 200.0 - epoch, "kl": 2.0 * epoch}
    return EpochRecord(epoch, epoch, terms, kl_weight, validation, False, 1.0, 1.0)


def test_a_curve_for_each_term_the_weight_and_the_validation(
    figures: list[Figure], tmp_path: Path
) -> None:
    history = [_record(1, 0.1, 0.30), _record(2, 0.2, None), _record(3, 0.3, 0.25)]
    plot_learning_curves(history, "NDCG@100", tmp_path / "curves.png")
    shown = [axes for axes in figures[0].axes if axes.axison]
    titles = [axes.get_title(loc="left") for axes in shown]
    assert titles == [
        "loss, training", "KL, training", "KL weight",
        "NDCG@100, validation: best 0.3000 in epoch 1",
    ]  # fmt: skip
    assert np.array_equal(shown[1].lines[0].get_ydata(), [2.0, 4.0, 6.0])
    # Epochs without validation are passed over.
    assert np.array_equal(shown[3].lines[0].get_xdata(), [1, 3])
    assert (tmp_path / "curves.png").read_bytes()[:4] == b"\x89PNG"


def test_latent_dimensions_fall_from_left_to_right_and_are_counted(
    figures: list[Figure], tmp_path: Path
) -> None:
    plot_latent_kl(np.array([0.0, 0.5, 0.009, 1.5]), tmp_path / "kl.png")
    (axes,) = figures[0].axes
    assert [bar.get_height() for bar in axes.patches] == [1.5, 0.5, 0.009, 0.0]  # type: ignore[attr-defined] # bars are rectangles
    assert axes.get_title(loc="left").startswith("2 of 4 latent dimensions")


def test_the_long_tail_adds_up_from_the_most_popular_item(
    figures: list[Figure], tmp_path: Path
) -> None:
    # Item 2 was taken by 6 users, item 0 by 3, item 1 by 1; the list-maker shows 0 and 2 alike.
    plot_long_tail(np.array([3, 1, 6]), {"a": np.array([5, 0, 5])}, 20, tmp_path / "tail.png")
    (axes,) = figures[0].axes
    taken, shown = (line.get_ydata() for line in axes.lines[1:])
    assert np.allclose(taken, [0, 0.6, 0.9, 1.0])  # tenths are not exact in binary
    assert np.array_equal(shown, [0, 0.5, 1.0, 1.0])
    labels = axes.get_legend_handles_labels()[1]
    assert labels == ["what users took", "a (shows 67% of the items)"]


def test_segments_and_models_keep_their_order(figures: list[Figure], tmp_path: Path) -> None:
    rows = [
        (model, part, "recall@20", mean, mean - 0.1, mean + 0.1, users)
        for model, shift in (("vae", 0.0), ("ease", 0.1))
        for part, mean, users in (("5-9 given items", 0.2, 1_200), ("10-50 given items", 0.4, 80))
        for mean in (mean + shift,)
    ]
    columns = ["model", "segment", "metric", "mean", "low", "high", "users"]
    frame = pd.DataFrame(rows, columns=columns)
    plot_activity(frame, "Recall@20", tmp_path / "activity.png")
    (axes,) = figures[0].axes
    names = [one.get_text() for one in axes.get_xticklabels()]
    assert names == ["5-9 given items\n1,200 users", "10-50 given items\n80 users"]
    assert axes.get_legend_handles_labels()[1] == ["vae", "ease"]
    assert np.allclose(axes.lines[0].get_ydata(), [0.2, 0.4])


def test_an_overall_measure_without_interval_is_drawn_as_a_point(
    figures: list[Figure], tmp_path: Path
) -> None:
    nan = float("nan")
    rows = [("a", "coverage@20", 0.3, nan, nan), ("b", "coverage@20", 0.6, nan, nan)]
    table = pd.DataFrame(rows, columns=["model", "metric", "mean", "low", "high"])
    plot_models(table, {"coverage@20": "Coverage@20"}, tmp_path / "models.png")
    (axes,) = figures[0].axes
    # From the bottom up: the first model is at the top.
    assert [one.get_text() for one in axes.get_yticklabels()] == ["b", "a"]
    drawn = np.concatenate([np.asarray(line.get_xydata()) for line in axes.lines])
    points = {(float(x), float(y)) for x, y in drawn}
    assert {(0.3, 1.0), (0.6, 0.0)} <= points
