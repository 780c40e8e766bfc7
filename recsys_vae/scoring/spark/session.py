"""The Spark session that scores: one that is there, or one of our own."""

import importlib.util
import os
import re
import shutil
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from recsys_vae.errors import InputError, reason
from recsys_vae.scoring.spark.defaults import new_settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_TASKS_PER_CORE: Final = 4
_PARTITIONS: Final = "spark.sql.shuffle.partitions"
_BYTES_PER_TASK: Final = 32 << 20
"""Of Parquet: some hundred thousand users."""
_SENTENCE: Final = re.compile(r"recsys_vae\.[\w.]*Error: ([^\n]+)|\[recsys_vae: ([^\]\n]+)\]")

_OTHER_HEADER: Final = re.compile(r"CSV header[^\n]*\n(?:[^\n]+\n){1,4}?CSV file: ([^\n]+)")
_UNREADABLE: Final = re.compile(
    r"\[(?:FAILED_READ_FILE|MALFORMED|UNABLE_TO_INFER|PATH_NOT_FOUND)[\w.]*\] ([^\n]+)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SparkOptions:
    """Which Spark.

    Attributes:
        master: such as "local[2]", "spark://host:7077" or "yarn"; None: what `spark-submit` says,
            or all cores of this machine.
        conf: settings of Spark, by name.
        users_per_block: users that go through the model at once; it does not change the lists.
    """

    master: str | None = None
    conf: Mapping[str, str] = field(default_factory=dict)
    users_per_block: int = 1_024


def parse_conf(settings: tuple[str, ...]) -> dict[str, str]:
    """Read settings written as key=value.

    Raises:
        InputError: one is not written so.

    >>> parse_conf(("spark.executor.memory=8g",))
    {'spark.executor.memory': '8g'}
    """
    for one in settings:
        if not one.partition("=")[0].strip() or "=" not in one:
            raise InputError(
                f"--spark-conf {one} is no setting: write it as key=value, such as "
                "spark.executor.memory=8g"
            )
    pairs = (one.partition("=") for one in settings)
    return {key.strip(): value.strip() for key, _, value in pairs}


@contextmanager
def spark_session(options: SparkOptions) -> Iterator["SparkSession"]:
    """Give the active session, or a new one that ends with the block.

    Raises:
        InputError: pyspark or Java is not there, the session does not start, or the active one is
            asked to be another.
    """
    _check_installed()
    from pyspark.sql import SparkSession

    active = SparkSession.getActiveSession()
    if active is not None:
        _refuse_other(active, options)
        yield active
        return
    _check_java()
    session = _started(options)
    try:
        yield session
    finally:
        session.stop()


@contextmanager
def told_by_spark(path: str) -> Iterator[None]:
    """Tell in one sentence what Spark says of the data; other failures go on as they are.

    Args:
        path: of the data.

    Raises:
        InputError: a worker refused a row or the model, or a file cannot be read.
    """
    from py4j.protocol import Py4JJavaError
    from pyspark.errors import PySparkException

    try:
        yield
    except (PySparkException, Py4JJavaError) as error:
        sentence = explained(error, path)
        if sentence is None:
            raise
        raise sentence from error


def explained(error: BaseException, path: str) -> InputError | None:
    """Find the sentence within an error of Spark's; None where it is not about the data.

    >>> print(explained(RuntimeError("Aborted: recsys_vae.errors.InputError: do this"), "h.csv"))
    do this
    >>> print(explained(RuntimeError("[FAILED_READ_FILE] Not Parquet. SQLSTATE: 1"), "h.parquet"))
    h.parquet cannot be read by Spark (Not Parquet): correct the row or export it again
    >>> explained(RuntimeError("Aborted"), "h.csv")
    """
    found = _SENTENCE.search(str(error))
    if found is not None:
        return InputError((found[1] or found[2]).strip())
    other = _OTHER_HEADER.search(str(error))
    if other is not None:
        return InputError(
            f"{other[1].strip()}: its first line is not that of the other files: give all files "
            "the same columns in the same order, with their names or without"
        )
    # The last cause is the first in time, and says most.
    causes = _UNREADABLE.findall(str(error))
    if not causes:
        return None
    why = reason(Exception(causes[-1].partition(" SQLSTATE")[0].strip()))
    return InputError(f"{path} cannot be read by Spark ({why}): correct the row or export it again")


def _check_installed() -> None:
    if importlib.util.find_spec("pyspark") is None:
        raise InputError(
            "--engine spark needs pyspark, which is not installed: pip install 'recsys-vae[spark]'"
        )


def _check_java() -> None:
    if "PYSPARK_GATEWAY_PORT" in os.environ:
        return  # Java started us
    home = os.environ.get("JAVA_HOME")
    if not ((Path(home) / "bin" / "java").exists() if home else shutil.which("java")):
        raise InputError(
            "--engine spark needs Java 17 or newer, which was not found: install it, or name its "
            "folder in JAVA_HOME"
        )


def _refuse_other(active: "SparkSession", options: SparkOptions) -> None:
    running = active.conf.get("spark.master", None)
    if options.master not in (None, running):
        raise InputError(
            f"--spark-master {options.master}: a session on {running} is active already: leave the "
            "option out to use it, or stop the session"
        )
    fixed = [key for key in options.conf if not active.conf.isModifiable(key)]
    fixed = [key for key in fixed if active.conf.get(key, None) != options.conf[key]]
    if fixed:
        raise InputError(
            f"--spark-conf {fixed[0]} cannot be set in the session that is active already: set it "
            "where that is started, or stop the session"
        )


def _started(options: SparkOptions) -> "SparkSession":
    from pyspark.errors import PySparkException
    from pyspark.sql import SparkSession

    submitted = "PYSPARK_GATEWAY_PORT" in os.environ
    asked = dict(options.conf)
    if options.master is not None:
        asked["spark.master"] = options.master
    if not submitted and "spark.pyspark.python" not in asked:
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    settings = new_settings(asked, submitted=submitted)
    builder = SparkSession.Builder().appName("recsys-vae score")
    for key, value in settings.items():
        builder = builder.config(key, value)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of pandas versions that we test
            session = builder.getOrCreate()
        session.sparkContext.setLogLevel("ERROR")
    except (PySparkException, RuntimeError, OSError, ValueError) as error:
        raise InputError(
            f"Spark does not start ({reason(error)}): check --spark-master, --spark-conf and that "
            "Java is 17 or newer"
        ) from error
    except Exception as error:  # what Java throws has no Python class of its own
        raise InputError(
            f"Spark does not start ({reason(error)}): check --spark-master and --spark-conf"
        ) from error
    return session


@contextmanager
def scoring_settings(
    session: "SparkSession", options: SparkOptions, input_bytes: int
) -> Iterator[None]:
    """Set what scoring needs, for the length of the block.

    Args:
        session: running.
        options: whose settings go before ours.
        input_bytes: of the histories; they decide about the number of tasks.
    """
    cores = int(session.sparkContext.defaultParallelism)
    tasks = max(_TASKS_PER_CORE * cores, input_bytes // _BYTES_PER_TASK)
    wanted = {
        # As many users go through the model at once as it ranks at once.
        "spark.sql.execution.arrow.maxRecordsPerBatch": str(options.users_per_block),
        # Bytes say little of how long users take to score: no task is joined with another.
        "spark.sql.adaptive.coalescePartitions.enabled": "false",
        # A folder user=007 is not user 7.
        "spark.sql.sources.partitionColumnTypeInference.enabled": "false",
    }
    if _PARTITIONS not in session.conf.getAll:
        wanted[_PARTITIONS] = str(tasks)
    wanted |= {key: value for key, value in options.conf.items() if session.conf.isModifiable(key)}
    before = {key: session.conf.get(key, None) for key in wanted}
    try:
        for key, value in wanted.items():
            try:
                session.conf.set(key, value)
            except Exception as error:  # what Java throws has no Python class of its own
                raise InputError(
                    f"--spark-conf {key}={value} is refused ({reason(error)}): correct it"
                ) from error
        yield
    finally:
        for key, old in before.items():
            if old is None:
                session.conf.unset(key)
            else:
                session.conf.set(key, old)
