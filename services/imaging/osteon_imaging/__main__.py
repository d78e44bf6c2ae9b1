"""`osteon imaging`."""

from osteon import runtime
from osteon_imaging.settings import ImagingServiceSettings


def main() -> None:
    """Run the service until it is stopped."""
    settings = runtime.settings_or_exit(ImagingServiceSettings)
    from osteon_imaging.build import build

    runtime.run("imaging", settings, build)


if __name__ == "__main__":
    main()
