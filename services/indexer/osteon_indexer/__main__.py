"""`osteon indexer`."""

from osteon import runtime
from osteon_indexer.settings import IndexerServiceSettings


def main() -> None:
    """Run the service until it receives SIGTERM or SIGINT."""
    settings = runtime.settings_or_exit(IndexerServiceSettings)
    from osteon_indexer.build import build

    runtime.run("indexer", settings, build)


if __name__ == "__main__":
    main()
