"""Real servers of MLflow on the loopback interface."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

_PATIENCE = 300


@contextmanager
def served_model(model: str, folder: Path) -> Iterator[str]:
    """Serve a model until the block ends.

    Args:
        model: a folder or an MLflow URI.
        folder: to work in, and to write the server's log to.

    Yields:
        The server's address.
    """
    with _server(folder, "/ping", "models", "serve", "--model-uri", model,
                 "--env-manager", "local") as address:  # fmt: skip
        yield address


@contextmanager
def tracking_server(folder: Path) -> Iterator[str]:
    """Run a tracking server that keeps runs and artifacts in a folder, until the block ends.

    Yields:
        The server's address.
    """
    kept = ("--backend-store-uri", f"sqlite:///{folder / 'server.db'}",
            "--artifacts-destination", str(folder / "artifacts"), "--workers", "1")  # fmt: skip
    with _server(folder, "/health", "server", *kept) as address:
        yield address


@contextmanager
def _server(folder: Path, ping: str, *arguments: str) -> Iterator[str]:
    """Run one of MLflow's servers, in a folder, until the block ends."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # The server starts others by name, from the same environment.
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = [
        sys.executable, "-m", "mlflow", *arguments, "--host", "127.0.0.1", "--port", str(port),
    ]  # fmt: skip
    log = folder / "server.log"
    with log.open("wb") as written:
        server = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=written, stderr=written,
            start_new_session=True,
        )  # fmt: skip
    try:
        address = f"http://127.0.0.1:{port}"
        _wait(f"{address}{ping}", server, log)
        yield address
    finally:
        # The server has started another process of its own.
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(_PATIENCE)


def _wait(ping: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end and server.poll() is None:
        try:
            if requests.get(ping, timeout=5).ok:
                return
        except requests.ConnectionError:
            time.sleep(0.1)
    raise RuntimeError(f"the server does not answer: {log.read_text('utf-8', 'replace')}")
