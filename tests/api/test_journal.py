"""Requests are measured by route, with labels that no caller can make up."""

from runtime import telemetry
from tests.server import Server

NOWHERE = "00000000-0000-7000-8000-000000000007"


async def test_a_request_is_measured_under_its_route(api: Server) -> None:
    await api.get(f"/products/{NOWHERE}")
    await api.ask("PROPFIND", "/products")
    await api.get("//made-up")

    shown = telemetry.exposition().decode()

    assert 'method="GET",route="/api/products/{id}",status="404"' in shown
    assert 'method="OTHER",route="unknown",status="405"' in shown
    assert 'method="GET",route="unknown",status="404"' in shown
    assert NOWHERE not in shown
    assert "PROPFIND" not in shown
    assert "made-up" not in shown
