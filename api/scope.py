"""What a key may do: the scope that each request needs, in one place.

    usage:write    send, correct and cancel events, seats and backfills
    read           everything that changes nothing
    write          everything else

A key without scopes of its own has all of them. A usage token has none: it is for the lookups that are confined to its
customer, and for nothing else.
"""

from aiohttp import web

from api import error
from store.account import Principal, Scope

# What changes something here is about usage that is reported.
_USAGE = ("/api/usage-events", "/api/v1/events", "/api/seat-events", "/api/usage-backfills")
_BELOW_USAGE = tuple(f"{one}/" for one in _USAGE)
# What is sent in a body because it is too long for a query, and changes nothing.
_QUESTIONS = frozenset({"/api/usage/query", "/api/usage-tokens"})
# Whoever serves these confines the answer to `principal.customer` where that is set.
_LOOKUPS = frozenset({("GET", "/api/usage/stream"), ("POST", "/api/usage/query")})


def check(request: web.Request, principal: Principal) -> None:
    """Refuse what this caller may not do."""
    if principal.customer is not None:
        if (request.method, request.path) not in _LOOKUPS:
            raise error.ForbiddenScope("This usage token reads the usage of one customer and nothing else.")
        return
    scope = needed(request.method, request.path)
    if scope not in principal.scopes:
        raise error.ForbiddenScope(f"This needs a key with the scope `{scope}`.")


def needed(method: str, path: str) -> Scope:
    """The scope that a request needs."""
    if method in {"GET", "HEAD", "OPTIONS"} or path in _QUESTIONS:
        return Scope.READ
    return Scope.USAGE_WRITE if is_usage(path) else Scope.WRITE


def is_usage(path: str) -> bool:
    """Whether a path is one at which usage is reported."""
    return path in _USAGE or path.startswith(_BELOW_USAGE)
