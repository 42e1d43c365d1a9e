"""Property tests of pure functions: no deadline, because a busy machine is not a wrong result."""

from hypothesis import settings

settings.register_profile("rating", deadline=None)
settings.load_profile("rating")
