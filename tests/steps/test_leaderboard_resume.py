"""Leaderboards that go on in a folder with older results: nothing stale, nothing half-written."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import pytest
from filelock import FileLock

from recsys_vae.cli import main
from recsys_vae.errors import InputError
from recsys_vae.splitting import load_split
from recsys_vae.splitting.split import FoldIn, Split
from recsys_vae.steps import leaderboard_fits
from recsys_vae.steps.cost import Spent
from recsys_vae.steps.leaderboard import LeaderboardOptions, leaderboard
from recsys_vae.training.records import EpochRecord
from tests.conftest import made_up_ratings, tracking_store

TWO = 'model = "ease"\n[[candidates]]\nridge = 1.0\n[[candidates]]\nridge = 1000.0\n'
VAE = 'model = "mult-vae"\nhidden = [8]\nlatent = 2\n[training]\nepochs = 1\n'


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("resume")
    with tracking_store(folder, empty_database):
        made_up_ratings(60, 20).to_csv("ratings.csv", index=False)
        main(["ingest", "--data", "ratings.csv", "--out", "data"])
        weak = ["--kind", "random", "--validation-share", "0.2", "--out", "weak"]
        main(["split", "--data", "data", *weak])
        yield folder


def run(out: str, recipe: str, **others: Any) -> list[str]:
    """Make a leaderboard of one recipe, called "it"; give what was said."""
    Path(f"{out}-recipes").mkdir(exist_ok=True)
    Path(f"{out}-recipes/it.toml").write_text(recipe)
    options = LeaderboardOptions(
        split=Path("weak"), recipes=(f"{out}-recipes",), metrics=("ndcg@10",), choose_by="ndcg@10",
        out=Path(out),
    )  # fmt: skip
    said: list[str] = []
    leaderboard(replace(options, **others), said.append)
    return [line for line in said if "fit with" in line or ": candidate" in line]


def known(path: str) -> Any:
    return json.loads(Path(path).read_text())


def test_a_fit_of_other_settings_is_made_anew() -> None:
    run("plain", 'model = "ease"\nridge = 1.0')
    assert run("plain", 'model = "ease"\nridge = 1.0') == []
    assert len(run("plain", 'model = "ease"\nridge = 1000.0')) == 1
    assert known("plain/fits/it/seed-0.json")["settings"]["ridge"] == 1000.0
    assert len(run("plain", 'model = "popularity"')) == 1


def test_a_candidate_that_comes_later_may_be_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaderboard_fits.Work, "_validate", lambda _self, model: model.config.ridge)
    first = 'model = "ease"\n[[candidates]]\nridge = 1.0\n'
    run("later", first)
    assert len(run("later", TWO)) == 2  # the candidate and the fit
    assert known("later/fits/it/seed-0.json")["settings"]["ridge"] == 1000.0


@pytest.mark.parametrize("later", ['model = "mult-dae"', 'model = "mult-vae"\nseeds = [1, 0]'])
def test_candidates_of_another_model_or_seed_are_refused(later: str) -> None:
    run("other", VAE)
    with pytest.raises(InputError, match="made with other settings than recipe it"):
        run("other", VAE.replace('model = "mult-vae"', later))
    with pytest.raises(InputError, match="made with other settings than recipe it"):
        run("other", VAE, seed=1)


def test_seeds_that_come_later_are_added() -> None:
    run("seeds", VAE)
    assert len(run("seeds", VAE.replace("hidden", "seeds = [0, 3]\nhidden"))) == 1


def test_what_is_not_finite_is_never_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        leaderboard_fits.Work, "_validate",
        lambda _self, model: math.nan if model.config.ridge == 1.0 else 0.1,
    )  # fmt: skip
    run("finite", TWO)
    assert known("finite/fits/it/seed-0.json")["settings"]["ridge"] == 1000.0


@pytest.mark.parametrize("step", ["rank", "write"])
def test_killed_while_a_fit_is_replaced_no_lists_are_taken_for_others(
    monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    one, other = 'model = "ease"\nridge = 1.0', 'model = "ease"\nridge = 1000.0'
    out = f"killed-{step}"
    run(out, one)
    rank = leaderboard_fits.Work._rank

    def killed(*arguments: Any) -> None:
        if step == "write":
            rank(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(leaderboard_fits.Work, "_rank", killed)
        with pytest.raises(KeyboardInterrupt):
            run(out, other)
    assert len(run(out, one)) == 1


def test_a_training_is_kept_until_its_result_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(leaderboard_fits, "write_json", full)
        with pytest.raises(OSError, match="No space"):
            run("full", VAE)
    assert list(Path("full/fits/it").glob("unfinished-candidate-0/*"))
    run("full", VAE)
    assert list(Path("full").rglob("unfinished*")) == []


@pytest.mark.parametrize("name", ["candidate-0", "seed-0"])
@pytest.mark.parametrize("text", ["{}", "", '{"settings": 3}', "[]"])
def test_damaged_results_are_named(name: str, text: str) -> None:
    run("damaged", TWO)
    path = Path(f"damaged/fits/it/{name}.json")
    before = path.read_text()
    path.write_text(text)
    with pytest.raises(InputError, match=f"{path} is damaged .*: delete it to make it again"):
        run("damaged", TWO)
    path.write_text(before)


def test_only_one_process_works_in_a_folder() -> None:
    run("alone", 'model = "popularity"')
    with (
        FileLock("alone/.lock"),
        pytest.raises(InputError, match="another process is working in alone"),
    ):
        run("alone", 'model = "popularity"')
    assert run("alone", 'model = "popularity"') == []


@pytest.mark.parametrize("choose_by", ["coverage@10", "novelty@10", "popularity@10", "gini@10"])
def test_settings_follow_accuracy(choose_by: str) -> None:
    with pytest.raises(InputError, match=f"--choose-by {choose_by} does not say"):
        run("follow", 'model = "popularity"', choose_by=choose_by)
    assert not Path("follow").exists()


def test_a_table_of_any_metrics() -> None:
    table = Path("table.md")
    run("table", TWO, metrics=("map@5", "coverage@5"), sort_by="coverage@5", table=table)
    assert "| model | seeds | coverage@5 |" in table.read_text("utf-8")
    run("table", TWO, metrics=("map@5",), sort_by="map@5", table=table)
    assert "| model | seeds | map@5 |" in table.read_text("utf-8")
    run("table", TWO, metrics=("gini@5",), sort_by="gini@5", table=table)
    with pytest.raises(InputError, match="--table weak is a folder"):
        run("table", TWO, table=Path("weak"))


def test_a_seed_that_is_too_large_is_refused() -> None:
    with pytest.raises(InputError, match="'seeds' must be"):
        run("large", f'model = "popularity"\nseeds = [{2**63}]')


def test_a_run_of_a_leaderboard_can_be_compared(capsys: pytest.CaptureFixture[str]) -> None:
    run("compared", 'model = "popularity"')
    found = mlflow.search_runs(
        filter_string="tags.`recsys_vae.step` = 'leaderboard'", order_by=["start_time desc"]
    )
    main(["compare", found["run_id"].iloc[0]])
    assert "NDCG@10" in capsys.readouterr().out


def test_what_the_test_asks_for_is_never_learned_from() -> None:
    parts = load_split(Path("weak"))
    wrong = FoldIn(parts.validation.given, parts.test.held_out)
    assert set(wrong.given.users.ids(range(3))) <= set(parts.test.given.users.ids(range(60)))
    leaking = Split(parts.train, wrong, parts.test, parts.description)
    with pytest.raises(InputError, match="validation holds what the test asks for"):
        leaking.with_validation()
    assert len(parts.with_validation()) == len(parts.train) + len(parts.validation.held_out)


SEARCHED = 'model = "ease"\nridge = 5.0\n[search]\n'


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ("ridge = {low = -50.0, high = 60.0}", "greater than 0"),
        ("rige = {low = 1.0, high = 60.0}", "no such setting"),
    ],
)
def test_a_space_that_cannot_be_searched_is_refused_before_the_first_fit(
    space: str, said: str
) -> None:
    with pytest.raises(InputError, match=f"recipe it: .*{said}"):
        run("space", SEARCHED + space, trials=4)
    assert not Path("space").exists()


def test_a_candidate_that_diverges_is_one_without_a_metric() -> None:
    steep = VAE + "learning_rate = 0.001\n[search.training]\nlearning_rate = [0.001, 1e30]\n"
    assert len(run("steep", steep, trials=4)) == 5
    found = [known(f"steep/fits/it/candidate-{number}.json") for number in range(4)]
    rates = [one["asked"]["training"]["learning_rate"] for one in found]
    assert ["why" in one for one in found] == [rate > 1 for rate in rates]
    assert any("learning_rate" in one.get("why", "") for one in found)
    assert known("steep/fits/it/seed-0.json")["settings"]["training"]["learning_rate"] == 0.001
    assert run("steep", steep, trials=4) == []


def test_candidates_that_all_diverge_are_told_with_the_reason() -> None:
    one = "[[candidates]]\ntraining = {learning_rate = 1e30}\n"
    recipe = VAE.replace("[training]", f"{one}{one.replace('30', '31')}[training]")
    with pytest.raises(InputError, match="recipe it: none of 2 candidates could be learned"):
        run("hopeless", recipe)


def test_the_seconds_of_an_interrupted_fit_are_those_of_all_attempts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = VAE.replace("epochs = 1", "epochs = 4\npatience = 0\nvalidate_every = 4")
    epoch = Spent.epoch

    def interrupted(self: Spent, record: EpochRecord) -> None:
        epoch(self, record)
        if record.epoch == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(Spent, "epoch", interrupted)
    monkeypatch.setattr(Spent, "seconds", lambda self: self._before + 100.0)
    with pytest.raises(KeyboardInterrupt):
        run("broken", recipe)
    monkeypatch.setattr(Spent, "epoch", epoch)
    run("broken", recipe)
    # Two attempts of a hundred seconds each.
    assert known("broken/fits/it/seed-0.json")["seconds"] == 200.0
    assert not list(Path("broken/fits/it").glob("unfinished*"))
