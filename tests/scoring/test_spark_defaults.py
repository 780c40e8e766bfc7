"""What a session of our own has, and who may say otherwise."""

import importlib.util
from pathlib import Path

import pytest

from recsys_vae.scoring.spark import defaults
from recsys_vae.scoring.spark.defaults import new_settings

needs_pyspark = pytest.mark.skipif(
    importlib.util.find_spec("pyspark") is None,
    reason="needs pyspark (pip install 'recsys-vae[spark]')",
)
JAVA, DAEMON = "spark.driver.extraJavaOptions", "spark.python.daemon.module"


@needs_pyspark
class TestDefaults:
    @pytest.fixture(autouse=True)
    @staticmethod
    def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """Where a site's file would lie; nobody gives Java options."""
        monkeypatch.setenv("SPARK_CONF_DIR", str(tmp_path))
        for name in defaults._OTHERS_FOR_JAVA:
            monkeypatch.delenv(name, raising=False)
        return tmp_path / "spark-defaults.conf"

    def test_on_this_machine_workers_come_of_our_daemon(self) -> None:
        found = new_settings({}, submitted=False)
        assert found["spark.master"] == "local[*]"
        assert found[DAEMON] == "recsys_vae.scoring.spark.daemon"
        assert "UseParallelGC" in found[JAVA]

    def test_elsewhere_nobody_knows_our_daemon(self) -> None:
        found = new_settings({"spark.master": "yarn"}, submitted=False)
        assert found["spark.executorEnv.OMP_NUM_THREADS"] == "1"
        assert not {DAEMON, JAVA} & found.keys()
        assert "spark.master" not in new_settings({}, submitted=True)

    def test_what_is_asked_for_goes_before_the_sites_file_and_that_before_ours(
        self, site: Path
    ) -> None:
        site.write_text(
            "# a comment\n\nspark.python.daemon.module  their.daemon\n"
            "spark.ui.enabled=true\nspark.master: local[3]\nspark.executor.memory 2g\n"
        )
        found = new_settings({"spark.executor.memory": "3g"}, submitted=False)
        # What is left out is what Spark reads in that file.
        assert not {DAEMON, "spark.ui.enabled", "spark.master"} & found.keys()
        assert found["spark.executor.memory"] == "3g"
        assert JAVA in found
        assert new_settings({"spark.master": "yarn"}, submitted=False)["spark.master"] == "yarn"

    @pytest.mark.parametrize("name", defaults._OTHERS_FOR_JAVA)
    def test_java_has_no_options_of_ours_where_somebody_gives_some(
        self, name: str, site: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(name, "-XX:+UseG1GC")
        assert JAVA not in new_settings({}, submitted=False)
        monkeypatch.delenv(name)
        assert JAVA in new_settings({}, submitted=False)
        own = {"spark.driver.defaultJavaOptions": "-XX:+UseG1GC"}
        assert JAVA not in new_settings(own, submitted=False)
        site.write_text("spark.driver.extraJavaOptions -Done=two")
        assert JAVA not in new_settings({}, submitted=False)
