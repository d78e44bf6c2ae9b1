"""Generates pages from the code: settings, metrics, transfer syntaxes, conformance, Orthanc's routes, sizing.

`make docs` runs it. A test compares the pages with its output, so that they cannot become stale.
"""

import re
import shlex
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from prometheus_client.metrics import MetricWrapperBase
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from typer import Typer
from typer.testing import CliRunner

from osteon import metrics
from osteon.cli.sizing import command as sizing
from osteon.dicom.pixels.registry import ANYTHING, CODECS, DEPTHS, Codec, Encoder, Family
from osteon.dicom.uids import TRANSFER_SYNTAXES, TransferSyntax
from osteon.settings import GROUPS, PREFIX, Settings

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS))  # this file is run, and loaded by tests, by its path
conformance = import_module("conformance")
SERVICES = tuple(sorted(path.parent.name for path in (DOCS.parent / "services").glob("*/pyproject.toml")))

_SIZING = re.compile(r"(?<=```\n)(?P<command>\$ osteon sizing (?:.*\\\n)*.*\n)(?P<answer>(?:(?!```).*\n)*)")
"""A command at the prompt, at the beginning of a block, and what is below it in there."""
_SETTINGS = """# Settings

Environment variables, read once at the start. An unknown variable `OSTEON_…` or an invalid value stops the start with a
message that names it. An empty value counts as not set. Lists are comma-separated.

The name of a setting has its unit, and a plain number is in that unit. A size may have its own unit: `64MB` is
64,000,000 bytes, `64MiB` is 67,108,864 (KB, MB, GB, TB; KiB, MiB, GiB, TiB). So may a duration: `250ms`, `10s`, `5m`,
`2h`, `7d`.

`make docs` generates this page from `osteon.settings` and the `settings.py` of each service.

## The ten that most need

| variable | for example | meaning |
|---|---|---|
"""
_FIRST = {
    "aet": "ARCHIVE",
    "bind": "0.0.0.0",  # noqa: S104 (written, not bound)
    "dicom_port": "104",
    "http_port": "80",
    "data": "/srv/osteon",
    "allowed_aets": "CT1,MR1",
    "remotes_file": "/etc/osteon/remotes.yaml",
    "database_url": "postgresql+psycopg://osteon:secret@db.example.org/osteon",
    "s3_endpoint": "s3.example.org:9000",
    "amqp_url": "amqp://osteon:secret@mq.example.org:5672/",
}
"""The settings that come first, with an example each."""
_BY_SERVICE = """
`standalone` needs none of them: it keeps everything in `OSTEON_DATA`, and refuses the last three. The separate services
need the last three (and `OSTEON_S3_ACCESS_KEY`, `OSTEON_S3_SECRET_KEY`), and have no `OSTEON_DATA`.

```sh
OSTEON_AET=ARCHIVE OSTEON_BIND=0.0.0.0 OSTEON_DATA=/srv/osteon make run
```

Each service reads the groups below that have it in their last column.

"""
_METRICS = """# Metrics

Every service answers `GET /metrics` on `OSTEON_HEALTH_PORT` in Prometheus' text format (`standalone`: on
`OSTEON_HTTP_PORT`). A metric has values only in the services that set it. The usual metrics of a process
(`process_…`, `python_…`) exist as well. `make docs` generates this page from `osteon.metrics`.

* **Replicas**: sum counters, histograms and gauges of one process (associations, its spool, its connections):
  `sum by (job) (…)`. Every replica reports gauges of what all share: `osteon_queue_messages`, `osteon_jobs`,
  `osteon_conflicts_open`, `osteon_archive_…`, `osteon_destination_state`. Take their `max`, never their `sum`. Only the
  `ingress` that received an instance reports its time: `max by (calling_aet) (osteon_last_received_timestamp_seconds)`.
* **Processes**: each service is one process with one `/metrics`. `imaging` reports for its workers. `standalone`
  reports for all services, each metric once.
* **Names from outside** are limited. The first `OSTEON_METRICS_MAX_AETS` calling AE titles of a process have values of
  their own, and as many pairs of AE title and modality. All others share the value `other`. Names of jobs, rules,
  destinations and queues come from the configuration; paths are reported by their route.
* **Age of a queue**: `osteon_queue_wait_duration_seconds` is observed when a message is handled. A queue whose
  `osteon_queue_messages` grows while that rate is 0 is not handled at all.

| metric | type | labels | meaning |
|---|---|---|---|
"""


_SYNTAXES = """# Transfer syntaxes

Osteon stores every data set as sent, in any of these. The table lists what `imaging` can transcode for a receiver that
does not accept the stored one. `make docs` generates this page from `osteon.dicom.pixels.registry`.

* *decode*: pixel data can be rendered, or encoded in another transfer syntax. Bits are those of samples in the bit
  stream; words may have 1 to 64 bits, and the stored bits may begin at any bit.
* *lossless*, *lossy*: pixel data can be written. Bits are those of Bits Allocated, and at most of Bits Stored. Lossy
  encoding needs a request, and creates another instance (a new SOP Instance UID, Image Type `DERIVED`).
* A bit stream that is valid in the other transfer syntax (*taken from*) is not encoded again.
* Colours do not change, except where the bit stream has its own: RGB becomes YBR_RCT in JPEG 2000 and HTJ2K, YBR_ICT or
  YBR_FULL_422 when it is lossy, and what is decoded from lossy JPEG becomes RGB. The bit stream is believed before the
  attribute: a JPEG with subsampled chrominance, or one that says so in a JFIF or Adobe segment, is YCbCr even when it
  is called RGB. Subsampled colours are written at full resolution. Palettes stay palettes.
* Signed values have their sign in all bits of their word, also where the bit stream has it in the highest bit stored
  only.
* Rendered in colours: RGB, PALETTE COLOR (plain and segmented tables of 8 and 16 bits), YBR_FULL, YBR_FULL_422,
  YBR_PARTIAL_422, YBR_ICT, YBR_RCT; in greys: MONOCHROME1, MONOCHROME2. ARGB, CMYK, HSV (retired) and native
  YBR_PARTIAL_420, whose order of samples no edition defines, are refused.
* Data sets without pixel data go into the four native ones. Float and double pixel data stay native. Video and
  other pixel data that is not decoded is sent as stored, or not sent.

| transfer syntax | UID | decode | lossless | lossy | taken from |
|---|---|---|---|---|---|
"""


def pages() -> dict[Path, str]:
    """Return each page's path and content."""
    return {
        DOCS / "settings.md": settings_page(),
        DOCS / "metrics.md": metrics_page(),
        DOCS / "transfer-syntaxes.md": syntaxes_page(),
        DOCS / "conformance.md": conformance.page(),
        DOCS / "orthanc-routes.md": import_module("orthanc_routes").page(),
        DOCS / "sizing.md": sizing_page(),
    }


def settings_page() -> str:
    """Return the page of settings: a table for each group."""
    used = {name: service_settings(name) for name in SERVICES}
    fields = {name: field for group in GROUPS for name, field in group.model_fields.items()}
    first = "".join(
        f"| `{PREFIX}{name.upper()}` | `{example}` | {_cell(fields[name].description or '')} |\n"
        for name, example in _FIRST.items()
    )
    services = "".join(f"* **{name}**: {', '.join(_links(kind))}\n" for name, kind in used.items())
    return _SETTINGS + first + _BY_SERVICE + services + "".join(_group(group, used) for group in GROUPS)


def _links(kind: type[Settings]) -> Iterator[str]:
    """Yield a link to each group that a service reads."""
    for group in GROUPS:
        if group.model_fields.keys() & kind.model_fields.keys():
            title = _title(group)
            anchor = re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")
            yield f"[{title}](#{anchor})"


def metrics_page() -> str:
    """Return the page of metrics: one table, in the order of the module."""
    return _METRICS + "".join(
        _metric(found) for found in vars(metrics).values() if isinstance(found, MetricWrapperBase)
    )


def syntaxes_page() -> str:
    """Return the page of transfer syntaxes: one table, in the order of PS3.6."""
    return _SYNTAXES + "".join(map(_syntax, TRANSFER_SYNTAXES.values()))


def sizing_page() -> str:
    """Return the page of sizing, with the current answers below its commands."""
    return _SIZING.sub(lambda found: found["command"] + _answer(found["command"]), (DOCS / "sizing.md").read_text())


def _answer(command: str) -> str:
    arguments = shlex.split(command.replace("\\\n", ""))[2:]  # behind the prompt and `osteon`
    app = Typer()
    app.command()(sizing.main)
    done = CliRunner().invoke(app, arguments[1:])
    if done.exit_code:
        raise SystemExit(f"{command}{done.output}")
    return str(done.output)


def service_settings(service: str) -> type[Settings]:
    """Return the class of a service's settings."""
    module = import_module(f"osteon_{service}.settings")
    own = [value for name, value in vars(module).items() if name.endswith("ServiceSettings")]
    (kind,) = (value for value in own if value.__module__ == module.__name__)
    return kind


def _group(group: type[Settings], used: dict[str, type[Settings]]) -> str:
    rows = "".join(_row(name, field, used) for name, field in group.model_fields.items())
    return f"\n## {_title(group)}\n\n| variable | default | meaning | services |\n|---|---|---|---|\n{rows}"


def _title(group: type[Settings]) -> str:
    return (group.__doc__ or "").strip().splitlines()[0].rstrip(".")


def _row(name: str, field: FieldInfo, used: dict[str, type[Settings]]) -> str:
    services = [service for service, kind in used.items() if name in kind.model_fields]
    cells = (f"`{PREFIX}{name.upper()}`", _default(name, field), field.description or "", ", ".join(services) or "-")
    others = list(_other_defaults(name, field, used))
    return f"| {cells[0]} | {'; '.join([cells[1], *others])} | {_cell(cells[2])} | {cells[3]} |\n"


def _other_defaults(name: str, field: FieldInfo, used: dict[str, type[Settings]]) -> Iterator[str]:
    for service, kind in used.items():
        other = kind.model_fields.get(name)
        if other is not None and _default(name, other) != _default(name, field):
            yield f"{_default(name, other)} in {service}"


def _default(name: str, field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, bool):
        value = "true" if value else "false"
    if isinstance(value, tuple):
        value = ",".join(value)
    if name.endswith("_bytes") and value and value % (1 << 20) == 0:
        value = f"{value >> 30}GiB" if value % (1 << 30) == 0 else f"{value >> 20}MiB"
    return f"`{value}`" if value not in ("", None) else "empty"


def _metric(metric: MetricWrapperBase) -> str:
    (family,) = metric.describe()
    name = f"{family.name}_total" if family.type == "counter" else family.name
    labels = ", ".join(f"`{label}`" for label in metric._labelnames) or "-"
    return f"| `{name}` | {family.type} | {labels} | {_cell(family.documentation)} |\n"


def _syntax(syntax: TransferSyntax) -> str:
    codec = CODECS.get(syntax.uid)
    cells = ["-"] * 4
    if codec is not None:
        cells = [_decoder(codec), _encoder(codec.lossless), _encoder(codec.lossy), _rewraps(codec)]
    retired = " (retired)" if syntax.retired else ""
    return f"| {_cell(syntax.name)}{retired} | `{syntax.uid}` | {' | '.join(cells)} |\n"


def _decoder(codec: Codec) -> str:
    depths = DEPTHS[codec.family]
    if isinstance(depths, range):
        bits = f"{depths[0]} to {depths[-1]} bits"
    else:
        bits = f"{', '.join(map(str, depths[:-1]))} or {depths[-1]} bits"
    floats = ", floats" if codec.family is Family.NATIVE else ""
    return f"{bits}{floats}" + (f"; {codec.only}" if codec.only else "")


def _encoder(encoder: Encoder | None) -> str:
    if encoder is None:
        return "-"
    signed = "" if encoder.signed else ", unsigned"
    allocated = "/".join(str(bits) for bits in encoder.allocated)
    bits = (
        f"{allocated} bits{signed}"
        if encoder.most_stored >= encoder.allocated[-1]
        else f"{allocated} bits{signed}, {encoder.most_stored} stored at most"
    )
    colours = (
        "any"
        if encoder.photometrics is ANYTHING
        else ", ".join(_colour(*pair) for pair in encoder.photometrics.items())
    )
    return f"{bits}; {colours}"


def _colour(before: str, after: str) -> str:
    return before if before == after else f"{before} → {after}"


def _rewraps(codec: Codec) -> str:
    return ", ".join(f"`{uid}`" for uid in codec.rewraps) or "-"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    for path, content in pages().items():
        path.write_text(content)
