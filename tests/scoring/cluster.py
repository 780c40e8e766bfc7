"""A standalone Spark cluster on this machine: a master and workers, while a block lasts."""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

_HERE = "127.0.0.1"
_PATIENCE_S = 90.0


@dataclass(frozen=True)
class Cluster:
    """What is running.

    Attributes:
        master: its URL.
        folders: of the workers, where each notes down what it has run.
    """

    master: str
    folders: tuple[Path, ...]


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server((_HERE, 0)) for _ in range(count)]
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


@contextmanager
def standalone_cluster(folder: Path, workers: int = 2) -> Iterator[Cluster]:
    """Start a master and workers of one core each; stop them whatever happens."""
    import pyspark

    program = Path(pyspark.__file__).parent / "bin" / "spark-class"
    # The package must come with the model: a worker of a real cluster has no checkout.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    env |= {"SPARK_LOCAL_IP": _HERE, "SPARK_NO_DAEMONIZE": "1"}
    port, page = _free_ports(2)
    url = f"spark://{_HERE}:{port}"
    started: list[subprocess.Popen[bytes]] = []

    def start(name: str, *arguments: str) -> Path:
        place = folder / name
        place.mkdir()
        with (place / "log").open("wb") as log:
            started.append(
                subprocess.Popen(
                    [str(program), *arguments],
                    stdout=log,
                    stderr=log,
                    cwd=place,
                    env=env,
                    start_new_session=True,
                )
            )
        return place

    try:
        ports = ("--port", str(port), "--webui-port", str(page))
        start("master", "org.apache.spark.deploy.master.Master", "--host", _HERE, *ports)
        # A worker that finds no master at once waits for many seconds before it asks again.
        _wait_for(page, 0)
        folders = []
        for number in range(workers):
            size = (
                "--cores",
                "1",
                "--memory",
                "700m",
                "--work-dir",
                str(folder / f"work-{number}"),
            )
            address = ("--host", _HERE, "--port", "0", "--webui-port", "0")
            worker = "org.apache.spark.deploy.worker.Worker"
            start(f"worker-{number}", worker, *address, *size, url)
            folders.append(folder / f"work-{number}")
        _wait_for(page, workers)
        yield Cluster(url, tuple(folders))
    finally:
        for process in reversed(started):
            _stop(process)


def _wait_for(page: int, workers: int) -> None:
    end = time.monotonic() + _PATIENCE_S
    while time.monotonic() < end:
        with (
            suppress(URLError, ConnectionError, TimeoutError, ValueError),
            urlopen(f"http://{_HERE}:{page}/json/", timeout=5) as answer,
        ):
            if json.load(answer)["aliveworkers"] >= workers:
                return
        time.sleep(0.2)
    raise TimeoutError(f"no Spark master with {workers} workers after {_PATIENCE_S:.0f} s")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a process and what it has started, which is a group of its own."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)
            break
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
