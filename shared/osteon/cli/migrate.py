"""`osteon migrate`: creates or upgrades the tables of the index, for services that leave this to one job."""

from osteon import runtime
from osteon.index.sql import SqlIndex
from osteon.logging import get_logger
from osteon.settings import IndexSettings, ProcessSettings

log = get_logger(__name__)


class MigrateSettings(ProcessSettings, IndexSettings):
    """Where the database is."""


def main() -> None:
    """Create or upgrade the tables of the index; waits until the database answers."""
    settings = runtime.settings_or_exit(MigrateSettings)

    async def migrate() -> None:
        index = SqlIndex(settings.database_url.get_secret_value(), pool=1)
        try:
            await runtime.until_available("database", index.start)
        finally:
            await index.close()
        log.info("tables are up to date")

    runtime.main("migrate", settings, migrate)
