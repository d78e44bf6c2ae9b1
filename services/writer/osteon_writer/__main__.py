"""`osteon writer`."""

from osteon import runtime
from osteon_writer.build import build
from osteon_writer.settings import WriterServiceSettings


def main() -> None:
    """Run the service until it receives SIGTERM or SIGINT."""
    runtime.run("writer", WriterServiceSettings, build)


if __name__ == "__main__":
    main()
