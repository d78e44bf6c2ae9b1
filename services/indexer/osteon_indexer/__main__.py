"""`osteon indexer`."""

from osteon import runtime
from osteon_indexer.build import build
from osteon_indexer.settings import IndexerServiceSettings


def main() -> None:
    """Run the service until it receives SIGTERM or SIGINT."""
    runtime.run("indexer", IndexerServiceSettings, build)


if __name__ == "__main__":
    main()
