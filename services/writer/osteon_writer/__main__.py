"""`osteon writer`."""

from osteon import runtime
from osteon_writer.settings import WriterServiceSettings


def main() -> None:
    """Run the service until it receives SIGTERM or SIGINT."""
    settings = runtime.settings_or_exit(WriterServiceSettings)
    from osteon_writer.build import build

    runtime.run("writer", settings, build)


if __name__ == "__main__":
    main()
