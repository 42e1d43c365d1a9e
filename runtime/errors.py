"""What can go wrong before a process does any work. All of it is for the person at the keyboard: each message says what
to do, and the command line prints it without a traceback.

    StartError
    ├── SettingsError     a setting has a value that is not allowed
    ├── FolderError       the data folder cannot be used
    │   └── AlreadyRunning    another `usance up` works in it
    └── EmbeddedError     an embedded server cannot start
        ├── StillRunning  one is still running in its folder
        └── NoIdentity    there is nobody it could run as
"""


class StartError(Exception):
    """The process cannot start."""

    code = "CANNOT_START"

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or type(self).__doc__)


class SettingsError(StartError):
    """A setting has a value that is not allowed."""

    code = "INVALID_SETTING"


class FolderError(StartError):
    """The data folder cannot be used; choose another with --data-dir."""

    code = "DATA_FOLDER"


class AlreadyRunning(FolderError):
    """Usance is running in this data folder already."""

    code = "ALREADY_RUNNING"


class EmbeddedError(StartError):
    """An embedded server did not start."""

    code = "EMBEDDED_SERVER"


class StillRunning(EmbeddedError):
    """A server is still running in its folder."""

    code = "SERVER_STILL_RUNNING"


class NoIdentity(EmbeddedError):
    """The embedded servers can run as nobody here; give --database-url and --redis-url of real ones."""

    code = "NO_SERVER_USER"
