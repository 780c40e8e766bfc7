"""What several tests of ingestion share: a faulty web server."""

from collections.abc import Iterator

import pytest

from tests.ingest.faulty_server import FaultyServer, faulty_server
from tests.ingest.made_up import ROWS


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyServer]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with faulty_server() as running:
        running.files["/rows.csv"] = ROWS
        yield running
