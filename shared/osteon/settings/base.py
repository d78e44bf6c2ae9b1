"""The root of the groups of settings."""

from typing import ClassVar

from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "OSTEON_"


class Settings(BaseSettings):
    """Root of the groups. The name of a field says its unit, when it has one."""

    others: ClassVar[str] = ""
    """Why a setting of another service is an error; empty: it is none."""
    unread: ClassVar[frozenset[str]] = frozenset()
    """Fields that belong to the groups and count as another service's."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True, env_ignore_empty=True)
