"""`osteon query`."""

from osteon import runtime
from osteon_query.settings import QueryServiceSettings


def main() -> None:
    """Run the service until it is stopped."""
    settings = runtime.settings_or_exit(QueryServiceSettings)
    from osteon_query.build import build

    runtime.run("query", settings, build)


if __name__ == "__main__":
    main()
