"""A name as the address to listen on: all three services are there."""

from __future__ import annotations

import urllib.request
from pathlib import Path

from server.supervisor.installation import Installation
from tests.server.triton.conftest import supervised


def test_all_services_listen_at_the_address_of_a_name(installation: Installation, repository: Path) -> None:
    """Triton's own HTTP library would take a name for 255.255.255.255."""
    with supervised(installation, repository, drain_seconds=600, host="localhost") as running:
        for address in (f"{running.http}/v2/health/ready", f"{running.metrics}/metrics"):
            with urllib.request.urlopen(f"http://{address}") as answer:
                assert answer.status == 200
    # it was seen to be idle: `supervised` does not wait for as long as it has for its last requests
