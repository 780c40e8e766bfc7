"""What a Spark session of our own has, unless somebody wants it otherwise."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import recsys_vae

_LOCAL: Final = "local[*]"
_NEW: Final = {
    # A task has one core: more threads than cores only wait for each other.
    "spark.executorEnv.OMP_NUM_THREADS": "1",
    "spark.executorEnv.OMP_WAIT_POLICY": "passive",
    "spark.executorEnv.MLFLOW_DISABLE_TELEMETRY": "true",
    "spark.ui.showConsoleProgress": "false",
}
"""What a session of our own has, unless it is told otherwise."""
_LOCALLY: Final = {
    "spark.ui.enabled": "false",
    "spark.python.daemon.module": "recsys_vae.scoring.spark.daemon",
    # The daemon must find the package where the driver has it from, not where it is called.
    "spark.executorEnv.PYTHONPATH": str(Path(recsys_vae.__file__).parents[1]),
    "spark.executorEnv.PYTHONSAFEPATH": "1",
}
"""The same, where driver and workers are on this machine."""
_JAVA_OPTIONS: Final = "spark.driver.extraJavaOptions"
_FOR_JAVA: Final = (
    "-XX:+UseParallelGC -XX:Tier4InvocationThreshold=50000 -XX:Tier4MinInvocationThreshold=6000 "
    "-XX:Tier4CompileThreshold=150000 -XX:Tier4BackEdgeThreshold=400000"
)
"""Most jobs are over before the optimizing compiler has earned what it costs: it waits for ten
times as many calls. The collector that pauses costs less than the one that does not."""
_OTHERS_FOR_JAVA: Final = (
    "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS", "SPARK_SUBMIT_OPTS",
    "PYSPARK_SUBMIT_ARGS",
)  # fmt: skip
"""Variables by which Java is given options: two that choose a collector keep it from starting."""


def new_settings(asked: Mapping[str, str], *, submitted: bool) -> dict[str, str]:
    """Give the settings of a new session.

    What is asked for goes before what stands in the site's `spark-defaults.conf`, and that before
    what we would have.

    Args:
        asked: settings by name.
        submitted: whether `spark-submit` has started us, which knows the master.
    """
    site = _site_settings()
    ours = dict(_NEW)
    if not submitted:
        ours["spark.master"] = _LOCAL
    master = {**ours, **site, **asked}.get("spark.master", "")
    if master.startswith("local"):
        ours |= {**_LOCALLY, **_for_java({**site, **asked})}
    kept = {key: value for key, value in ours.items() if key not in site}
    return {**kept, **asked}


def _site_settings() -> dict[str, str]:
    """Read `spark-defaults.conf`, which Spark reads itself, but after what a program sets."""
    from pyspark.find_spark_home import _find_spark_home

    folder = os.environ.get("SPARK_CONF_DIR") or Path(_find_spark_home(), "conf")
    try:
        text = Path(folder, "spark-defaults.conf").read_text("utf-8", "replace")
    except OSError:
        return {}
    lines = [line.strip() for line in text.splitlines()]
    pairs = [
        re.split(r"[\s=:]+", line, maxsplit=1) for line in lines if line and line[0] not in "#!"
    ]
    return {one[0]: one[1] if len(one) > 1 else "" for one in pairs}


def _for_java(settings: Mapping[str, str]) -> dict[str, str]:
    """Give options of Java, unless somebody gives any."""
    given = "spark.driver.defaultJavaOptions" in settings or _JAVA_OPTIONS in settings
    if given or any(os.environ.get(name) for name in _OTHERS_FOR_JAVA):
        return {}
    return {_JAVA_OPTIONS: _FOR_JAVA}
