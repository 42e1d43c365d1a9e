"""Errors as application/problem+json (RFC 9457), for the paths whose clients read nothing else."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import msgspec
from aiohttp import web

PREFIX = "/api/v1/"


def is_wanted(path: str) -> bool:
    """Whether the clients of a path read problems instead of our own shape."""
    return path.startswith(PREFIX)


def reply(status: int, *, code: str, message: str, errors: Sequence[Any]) -> web.Response:
    """A problem; `code` and `errors` are as everywhere else."""
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": message,
        "code": code,
        "errors": errors,
    }
    return web.Response(body=_ENCODER.encode(body), status=status, content_type="application/problem+json")


_ENCODER = msgspec.json.Encoder()
