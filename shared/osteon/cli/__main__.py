"""`python -m osteon.cli`."""

from osteon.cli.main import main

main()
