"""Probe of the object store: tries every operation that Osteon uses, and deletes what it wrote.

Conditional writes are not among that: a key has one content only, and writing it again changes nothing.
"""

import asyncio
import os
import uuid
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

from osteon.cli.doctor.report import Findings
from osteon.errors import NotFound, OsteonError
from osteon.objects.folder import FolderObjects
from osteon.objects.port import Objects
from osteon.objects.s3 import S3Objects
from osteon.settings import ObjectSettings, StandaloneSettings

PART: Final = 5 << 20
"""The smallest part of an upload in parts that S3 allows."""
SKEW: Final = 60.0
"""Seconds; the sweep leaves alone what is younger than minutes by the store's clock, S3 refuses from 15 minutes on."""
_SMALL: Final = bytes(range(256)) * 16
_UNFIT_FIX: Final = "Osteon cannot keep studies there: use a store that does this (docs/kubernetes.md names some)."
_LOGIN_FIX: Final = "Check OSTEON_S3_ENDPOINT, OSTEON_S3_SECURE, OSTEON_S3_ACCESS_KEY and OSTEON_S3_SECRET_KEY."


class UnfitStore(OsteonError):
    """The store did not do what was requested."""


def check(settings: ObjectSettings, findings: Findings) -> None:
    """Check the bucket; a missing one is created for the check and removed again."""
    asyncio.run(_check(settings, findings))


def check_folder(settings: StandaloneSettings, findings: Findings) -> None:
    """Check standalone's folder of objects, which its first start creates."""
    folder = settings.data / "objects"
    findings.doing = f"checking {folder}"
    if not folder.exists():
        findings.ok(f"{folder} is created at the first start")
        return
    asyncio.run(_try(FolderObjects(folder), findings, str(folder)))


async def _check(settings: ObjectSettings, findings: Findings) -> None:
    objects = S3Objects.from_settings(settings, threads=2, at_once=PART, part_size=PART)
    try:
        findings.doing = f"asking {settings.s3_endpoint} for bucket {settings.s3_bucket}"
        try:
            there = await objects.has_bucket()
        except OsteonError as error:
            findings.fail(str(error), _LOGIN_FIX)
            return
        await _try(objects, findings, f"{settings.s3_endpoint}/{settings.s3_bucket}")
        if not there:
            await _take_bucket_back(objects, settings.s3_bucket, findings)
    finally:
        objects.close()


async def _take_bucket_back(objects: S3Objects, bucket: str, findings: Findings) -> None:
    with suppress(OsteonError):  # in use already, or never made
        await objects.remove_bucket()
    findings.warn(
        f"there is no bucket {bucket!r}",
        "The first service to start creates it, if its keys permit. If it should exist, correct OSTEON_S3_BUCKET.",
    )


async def _try(objects: Objects, findings: Findings, where: str) -> None:
    prefix = f"osteon-doctor/{uuid.uuid4().hex}"
    try:
        await _exercise(objects, prefix, findings)
        findings.ok(f"{where}: put, get, range, list, upload in parts and delete work")
    except OsteonError as error:
        fix = _UNFIT_FIX if isinstance(error, UnfitStore) else _fix(objects)
        findings.fail(f"while {findings.doing}: {error}", fix)
    finally:
        await _clean(objects, prefix)


async def _exercise(objects: Objects, prefix: str, findings: Findings) -> None:
    first, second, large = (f"{prefix}/{name}" for name in ("a", "b", "large"))
    findings.doing = "putting an object"
    await objects.put(first, _SMALL)
    findings.doing = "getting it at once"
    _expect(await objects.get(first) == _SMALL, "other bytes came back")
    findings.doing = "getting a range of it"
    _expect(await objects.get_range(first, 300, 50) == _SMALL[300:350], "other bytes came back than those requested")
    findings.doing = "replacing it"
    await objects.put(first, _SMALL[::-1])
    _expect(await objects.get(first) == _SMALL[::-1], "the old bytes came back after a new put")
    findings.doing = "listing"
    await objects.put(second, b"")
    listed = {info.key: info async for info in objects.list(prefix + "/")}
    _expect({first, second} <= listed.keys(), "an object that was just put is not listed")
    _expect(listed[first].size == len(_SMALL), "the list has another size than was put")
    skew = abs((datetime.now(UTC) - listed[second].modified).total_seconds())
    if skew > SKEW:
        findings.warn(f"its clock and this host's differ by {skew:.0f} s", "Run a time service (chrony) on both.")
    findings.doing = "uploading in parts"
    await objects.put(large, bytes(PART + 1))
    _expect(await objects.size(large) == PART + 1, "the object has another size than was sent")
    findings.doing = "deleting"
    await objects.delete(first)
    await objects.delete(first)
    try:
        await objects.get(first)
    except NotFound:
        return
    raise UnfitStore("an object that was deleted is still there")


async def _clean(objects: Objects, prefix: str) -> None:
    for name in ("a", "b", "large"):
        with suppress(OsteonError):  # what is wrong was said already
            await objects.delete(f"{prefix}/{name}")


def _expect(true: bool, otherwise: str) -> None:
    if not true:
        raise UnfitStore(otherwise)


def _fix(objects: Objects) -> str:
    if isinstance(objects, S3Objects):
        return "The keys must permit list, put, get and delete in the bucket; the store needs free space."
    return f"Free space, or chown the folder for user {os.geteuid()}, or set OSTEON_DATA to another one."
