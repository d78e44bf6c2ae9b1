"""`osteon query`."""

from osteon import runtime
from osteon_query.build import build
from osteon_query.settings import QueryServiceSettings


def main() -> None:
    """Run the service until it is stopped."""
    runtime.run("query", QueryServiceSettings, build)


if __name__ == "__main__":
    main()
