"""`osteon ingress`: receives DICOM associations."""

from osteon import runtime
from osteon_ingress.build import build
from osteon_ingress.settings import IngressServiceSettings


def main() -> None:
    """Run the service until it is stopped."""
    runtime.run("ingress", IngressServiceSettings, build)


if __name__ == "__main__":
    main()
