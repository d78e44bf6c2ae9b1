"""The root of the groups of settings."""

from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "OSTEON_"


class Settings(BaseSettings):
    """Root of the groups. The name of a field says its unit, when it has one."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True, env_ignore_empty=True)
