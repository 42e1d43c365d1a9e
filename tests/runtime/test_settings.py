"""Settings: cast from the environment, overridden by options, refused with the key and what is allowed."""

from pathlib import Path

import pytest

from runtime.errors import SettingsError
from runtime.settings import Settings, key_of


def test_an_empty_environment_gives_the_defaults() -> None:
    assert Settings() == Settings.read({})


def test_values_are_cast() -> None:
    settings = Settings.read({"USANCE_PORT": "0", "USANCE_DATA_DIR": "/data", "USANCE_STOP_SECONDS": "2.5"})

    assert (0, Path("/data"), 2.5) == (settings.port, settings.data_dir, settings.stop_seconds)


def test_an_empty_value_is_as_good_as_none() -> None:
    assert Settings.read({"USANCE_PORT": "", "USANCE_DATABASE_URL": ""}) == Settings()


def test_an_option_wins_over_the_environment_and_none_does_not() -> None:
    settings = Settings.read({"USANCE_PORT": "1", "USANCE_HOST": "::1"}, port="2", host=None)

    assert (settings.port, settings.host) == (2, "::1")


def test_keys_of_others_are_left_alone() -> None:
    assert Settings.read({"USANCE_SERVICE_HOST": "10.0.0.1", "PATH": "/bin"}) == Settings()


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("USANCE_PORT", "tcp://10.0.0.1:80", "a port number"),
        ("USANCE_PORT", "65536", "a port number"),
        ("USANCE_PORT", "80.5", "a port number"),
        ("USANCE_STREAMS", "0", "a whole number from 1 to 1024"),
        ("USANCE_DATABASE_URL", "mysql://localhost", "postgresql://"),
        ("USANCE_REDIS_URL", "http://localhost", "redis://"),
        ("USANCE_LOG_LEVEL", "loud", "debug, info, warning, error"),
        ("USANCE_STOP_SECONDS", "-1", "seconds, above 0"),
        ("USANCE_STOP_SECONDS", "nan", "seconds, above 0"),
        ("USANCE_CLIENT_ID", "a:b", "A-Z a-z"),
        ("USANCE_CLIENT_SECRET", "short", "16 to 255"),
    ],
)
def test_a_wrong_value_is_refused_by_key_with_what_is_allowed(key: str, value: str, allowed: str) -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.read({key: value})

    assert str(refused.value).startswith(f"{key}: ")
    assert allowed in str(refused.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [("USANCE_CLIENT_SECRET", "hush-hush"), ("USANCE_DATABASE_URL", "mysql://me:hush-hush@localhost")],
)
def test_a_refused_secret_is_not_repeated(key: str, value: str) -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.read({key: value})

    assert "hush-hush" not in str(refused.value)


@pytest.mark.parametrize("key", ["USANCE_CLIENT_ID", "USANCE_CLIENT_SECRET"])
def test_half_a_key_is_refused(key: str) -> None:
    with pytest.raises(SettingsError, match="come together"):
        Settings.read({key: "0123456789abcdef"})


def test_a_setting_that_does_not_exist_is_our_mistake() -> None:
    with pytest.raises(TypeError, match="prot"):
        Settings.read({}, prot=80)


def test_a_child_reads_the_same_settings_from_its_environment() -> None:
    settings = Settings(port=0, data_dir=Path("/data"), redis_url="unix:///s", metrics_dir=Path("/data/run/metrics"))

    assert settings == Settings.read(settings.environment(process="serve-1"))


def test_a_child_does_not_see_settings_that_its_parent_overrode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USANCE_DATABASE_URL", "postgresql://from/outside")

    assert key_of("database_url") not in Settings().environment()


def test_a_child_with_shared_metrics_is_told_where() -> None:
    environment = Settings(metrics_dir=Path("/m")).environment(process="serve-1")

    assert (environment["USANCE_PROCESS"], environment["PROMETHEUS_MULTIPROC_DIR"]) == ("serve-1", "/m")
