"""The HTTP application, for journeys through it."""

from tests.api.conftest import api, clock

__all__ = ["api", "clock"]
