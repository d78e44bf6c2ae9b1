"""`osteon imaging`."""

from osteon import runtime
from osteon_imaging.build import build
from osteon_imaging.settings import ImagingServiceSettings


def main() -> None:
    """Run the service until it is stopped."""
    runtime.run("imaging", ImagingServiceSettings, build)


if __name__ == "__main__":
    main()
