"""`osteon ingress`: the DIMSE door."""

from osteon import runtime
from osteon_ingress.build import build
from osteon_ingress.settings import IngressServiceSettings


def main() -> None:
    """Run the service until it is asked to stop."""
    runtime.run("ingress", IngressServiceSettings, build)


if __name__ == "__main__":
    main()
