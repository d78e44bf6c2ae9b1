"""`osteon dispatcher`."""

from osteon import runtime
from osteon_dispatcher.build import build
from osteon_dispatcher.settings import DispatcherServiceSettings


def main() -> None:
    """Run the service until it is to stop."""
    runtime.run("dispatcher", DispatcherServiceSettings, build)


if __name__ == "__main__":
    main()
