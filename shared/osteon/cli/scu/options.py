"""Options that all DICOM clients share: the peer, the connection and the output."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Annotated, Any

import typer

from osteon.dimse.config import Remote
from osteon.dimse.tls import TlsFiles, client_context
from osteon.errors import Invalid

EXIT_CODES = "Exit code: 0 success, 1 failure, 2 usage, no connection or rejected, 130 interrupted."
_HELP = "HOST:PORT, or HOST PORT."
_Called = Annotated[str, typer.Option("--called", "-aec", metavar="AET", help="AE title of the peer.")]
_Calling = Annotated[str, typer.Option("--calling", "-aet", metavar="AET", help="Own AE title.")]
_Timeout = Annotated[
    float, typer.Option("--timeout", min=0, help="Seconds to connect and for each answer; 0: 10 and 120 s.")
]
_Tls = Annotated[bool, typer.Option("--tls", help="Connect with TLS 1.2 or 1.3 (PS3.15 B.9).")]
_Cert = Annotated[str, typer.Option("--cert", metavar="FILE", help="Own certificate, PEM.")]
_Key = Annotated[str, typer.Option("--key", metavar="FILE", help="Its private key, PEM.")]
_Ca = Annotated[str, typer.Option("--ca", metavar="FILE", help="CA certificates for the peer, PEM.")]
_Check = Annotated[bool, typer.Option("--check-host/--no-check-host", help="The certificate must be for HOST.")]
_Json = Annotated[bool, typer.Option("--json", help="Print only JSON on standard output, for scripts.")]
_Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
_Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Print details.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """What the common options say; `make_remote` turns an address into a `Remote`."""

    make_remote: Callable[[str, int], Remote]
    as_json: bool
    quiet: bool
    verbose: bool


def _common(
    *,
    called: _Called = "ANY-SCP",
    calling: _Calling = "OSTEON",
    timeout: _Timeout = 0.0,
    tls: _Tls = False,
    cert: _Cert = "",
    key: _Key = "",
    ca: _Ca = "",
    check_host: _Check = True,
    as_json: _Json = False,
    quiet: _Quiet = False,
    verbose: _Verbose = False,
) -> Common:
    def make_remote(host: str, port: int) -> Remote:
        files = TlsFiles(certificate=cert, key=key, ca=ca)
        if files.names and not tls:
            raise Invalid("--cert, --key and --ca are for --tls")
        context = client_context(files, check_host=check_host) if tls else None
        return Remote(aet=called, host=host, port=port, calling_aet=calling, tls=context, timeout=timeout)

    return Common(make_remote=make_remote, as_json=as_json, quiet=quiet, verbose=verbose)


def with_common(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command, whose first parameter takes a `Common`, the options that make one."""
    own = list(inspect.signature(command).parameters.values())[1:]
    common = list(inspect.signature(_common).parameters.values())

    @wraps(command)
    def with_options(**given: Any) -> None:
        chosen = _common(**{parameter.name: given.pop(parameter.name) for parameter in common})
        command(chosen, **given)

    parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in (*own, *common)]
    # Typer makes a command line out of these two.
    vars(with_options)["__signature__"] = inspect.Signature(parameters)
    with_options.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return with_options


Words = Annotated[list[str], typer.Argument(metavar="HOST:PORT", help=_HELP, show_default=False)]


def address(words: list[str]) -> tuple[str, int, list[str]]:
    """Take `HOST:PORT`, `[::1]:PORT` or `HOST`, `PORT` off the beginning; return host, port and the rest."""
    first, *rest = words
    host, colon, port = first.rpartition(":")
    if not (colon and port.isdecimal() and host):
        if not rest or not rest[0].isdecimal():
            raise Invalid(f"{first!r}: expected HOST:PORT, or HOST PORT")
        host, port, *rest = words
    if not 0 < int(port) < 65536:
        raise Invalid(f"{port} is not a port: expected 1 to 65535")
    return host.removeprefix("[").removesuffix("]"), int(port), rest


def only_address(words: list[str]) -> tuple[str, int]:
    """Return host and port, when nothing may follow."""
    host, port, rest = address(words)
    if rest:
        raise Invalid(f"{rest[0]!r} is not expected behind the address")
    return host, port
