"""`osteon dispatcher`."""

from osteon import runtime
from osteon_dispatcher.settings import DispatcherServiceSettings


def main() -> None:
    """Run the service until it is to stop."""
    settings = runtime.settings_or_exit(DispatcherServiceSettings)
    from osteon_dispatcher.build import build

    runtime.run("dispatcher", settings, build)


if __name__ == "__main__":
    main()
