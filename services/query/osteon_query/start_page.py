"""`/`: a page for the person who types the archive's address into a browser. It leads on to what is there."""

from html import escape
from importlib.metadata import version
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import HTMLResponse

from osteon_query.app_state import AppStateDep, base_url

router = APIRouter()

_LINKS: Final = (
    ("/dicom-web/studies?limit=10", "Studies", "the first ten, as QIDO-RS sends them"),
    ("/studies?expand&limit=10", "Studies", "the first ten, as Orthanc's REST API lists them"),
    ("/docs", "API", "every URL, to read and to try out"),
    ("/openapi.json", "OpenAPI", "the same for programs"),
    ("/system", "System", "version, AE title and ports"),
    ("/statistics", "Statistics", "how much is stored"),
    ("/conflicts", "Conflicts", "different data under one SOP Instance UID"),
    ("/jobs?expand", "Jobs", "what is sent and retrieved"),
    ("/metrics", "Metrics", "for Prometheus"),
    ("/readyz", "Readiness", "the state of every part"),
)
_PAGE: Final = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Osteon</title>
<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">
<style>
 body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 44rem; margin: 3rem auto; padding: 0 1rem }}
 td {{ padding: .15rem 1.5rem .15rem 0; vertical-align: top }} code {{ font-size: .9em }}
 @media (prefers-color-scheme: dark) {{ body {{ background: #16191d; color: #dde }} a {{ color: #8bf }} }}
</style></head><body>
<h1>Osteon</h1>
<p>A DICOM archive, version {version}. AE title <code>{aet}</code>, DICOM port {port}, DICOMweb at
<code>{web}</code>.</p>
<p>{patients} patients, {studies} studies, {series} series, {instances} instances.</p>
<table>{links}</table>
</body></html>
"""


@router.get("/", include_in_schema=False)
async def start_page(request: Request, state: AppStateDep) -> HTMLResponse:
    """Send what the archive is, how much it holds, and links to what it answers."""
    totals, base = await state.totals.statistics(), base_url(request, state)
    page = _PAGE.format(
        version=version("osteon"),
        aet=escape(state.settings.aet),
        port=state.settings.dicom_port,
        web=escape(f"{base}/dicom-web"),
        patients=totals.patients,
        studies=totals.studies,
        series=totals.series,
        instances=totals.instances,
        links="".join(
            f'<tr><td><a href="{escape(base + path)}">{name}</a></td><td>{what}</td></tr>'
            for path, name, what in _LINKS
        ),
    )
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    return HTMLResponse(page, headers={"Content-Security-Policy": policy})
