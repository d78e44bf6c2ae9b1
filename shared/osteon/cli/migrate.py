"""`osteon migrate`: brings the tables of the index up to date, for services that leave it to one job."""

from osteon import runtime
from osteon.index.sql import SqlIndex
from osteon.logging import get_logger
from osteon.settings import IndexSettings, ProcessSettings

log = get_logger(__name__)


class MigrateSettings(ProcessSettings, IndexSettings):
    """Where the database is."""


def main() -> None:
    """Make the tables of the index, or bring them up to date; waits until the database answers."""
    settings = runtime.settings_or_exit(MigrateSettings)

    async def migrate() -> None:
        index = SqlIndex(settings.database_url.get_secret_value(), pool=1)
        try:
            await runtime.until_available("database", index.start)
        finally:
            await index.close()
        log.info("the tables are those of this release")

    runtime.main("migrate", settings, migrate)
