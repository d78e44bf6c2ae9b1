"""`osteon standalone`: the whole archive in one process, for a laptop."""

import asyncio
from contextlib import AbstractAsyncContextManager

from rich.console import Console

from osteon import runtime
from osteon_standalone.settings import StandaloneServiceSettings

LISTENERS = {"dicom": "DICOM     ", "dicom_tls": "DICOM TLS "}


def main() -> None:
    """Run until Ctrl-C or SIGTERM."""
    settings = runtime.settings_or_exit(StandaloneServiceSettings)
    from osteon_standalone.build import build

    runtime.main("standalone", settings, lambda: serve(settings, build(settings), Console()))


async def serve(
    settings: StandaloneServiceSettings, archive: AbstractAsyncContextManager[runtime.Running], console: Console
) -> None:
    """Start, load the demo study into an empty archive, print the addresses, and run until cancelled."""
    started = False
    try:
        async with archive as running:
            started = True
            if settings.demo and settings.dicom_plaintext_enabled:
                from osteon_standalone import demo

                await demo.load(settings.aet, running.ports["dicom"], settings.data / "demo-loaded", console)
            console.print(banner(settings, running), highlight=False, soft_wrap=True)
            await asyncio.Event().wait()
    finally:
        if started:
            console.print("Stopped. Everything that was received is in the data folder.", highlight=False)


def banner(settings: StandaloneServiceSettings, running: runtime.Running) -> str:
    """Return the addresses of the archive, for the console."""
    host = "127.0.0.1" if settings.bind in ("0.0.0.0", "::") else settings.bind  # noqa: S104 (compared, not bound)
    web = f"http://{host}:{running.ports['http']}"
    secure = "dicom" not in running.ports
    dicom = running.ports["dicom_tls" if secure else "dicom"]
    return "\n".join(
        (
            "",
            "[bold green]Osteon is running.[/bold green]",
            f"  AE title    {settings.aet}",
            *(f"  {name}  {host}:{running.ports[port]}" for port, name in LISTENERS.items() if port in running.ports),
            f"  Start page  {web}/",
            f"  DICOMweb    {web}/dicom-web",
            f"  REST        {web}/system",
            f"  API pages   {web}/docs",
            f"  Metrics     {web}/metrics",
            f"  Data        {settings.data.resolve()}",
            "",
            f"  Try:  echoscu -aec {settings.aet} {'+tls KEY CERTIFICATE +cf CA ' if secure else ''}{host} {dicom}",
            f"        curl {web}/dicom-web/studies",
            "  Ctrl-C stops it.",
            "",
        )
    )


if __name__ == "__main__":
    main()
