"""`osteon ingress`: receives DICOM associations."""

from osteon import runtime
from osteon_ingress.settings import IngressServiceSettings


def main() -> None:
    """Run the service until it is stopped."""
    settings = runtime.settings_or_exit(IngressServiceSettings)
    from osteon_ingress.build import build

    runtime.run("ingress", settings, build)


if __name__ == "__main__":
    main()
