"""Probe of the spool's disk: whether it can be trusted with the only copy of an instance, and its contents."""

import errno
import fcntl
import os
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Final

from osteon.cli.doctor.report import Findings
from osteon.settings import SpoolSettings, StandaloneSettings
from osteon.spool.admission import Admission, usage
from osteon.spool.disk import Disk
from osteon.spool.errors import SpoolFull
from osteon.spool.folders import contents, files, orphans
from osteon.spool.paths import DAMAGED, SEALED

SLOW_SYNC: Final = 0.1
"""Seconds that a modality waits for each response."""
OLD: Final = 600.0
"""Seconds after which a sealed pack should long be stored."""
_NEAR: Final = 0.1
"""Part of the disk below the high-water mark where a warning is due."""
_VOLATILE: Final = ("tmpfs", "ramfs")
_NETWORK: Final = ("nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "fuse.s3fs")
_SHOWN: Final = 3
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


def check(settings: SpoolSettings, findings: Findings) -> None:
    """Look at the folder of the spool, of a standalone Osteon at the one in its data folder."""
    root = settings.data / "spool" if isinstance(settings, StandaloneSettings) else settings.spool_dir
    variable = "OSTEON_DATA" if isinstance(settings, StandaloneSettings) else "OSTEON_SPOOL_DIR"
    findings.doing = f"checking {root}"
    existing = next(path for path in (root.absolute(), *root.absolute().parents) if path.exists())
    if not _try(existing, variable, findings):
        return
    _check_file_system(existing, findings)
    _check_space(existing, settings, findings)
    if existing != root.absolute():
        findings.ok(f"{root} is created at the first start")
        return
    _check_leftovers(root, findings)


def _try(folder: Path, variable: str, findings: Findings) -> bool:
    """Do with a small file what the spool does with a pack."""
    disk, made = Disk(), folder / f".osteon-doctor-{uuid.uuid4().hex}"
    sealed = made.with_suffix(SEALED)
    findings.doing = f"writing to {folder}"
    try:
        fd = os.open(made, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            disk.write(fd, 0, [bytes(4096)])
            findings.doing = f"syncing a file in {folder}"
            before = time.monotonic()
            disk.sync(fd)
            took = time.monotonic() - before
            locks = _locks(fd, made)
        finally:
            os.close(fd)
        made.rename(sealed)
        disk.sync_folder(folder)
    except OSError as error:
        full = error.errno in _FULL  # the writer makes room once it runs
        findings.fail(f"{folder} cannot be used: {error.strerror}", _fix(error, folder, variable), starts_anyway=full)
        return False
    finally:
        for path in (made, sealed):
            with suppress(OSError):  # absent, or what is wrong was said already
                path.unlink()
    if not locks:
        findings.fail(f"{folder}: its file system has no locks", "Use a local file system, or one with flock.")
    if took > SLOW_SYNC:
        findings.warn(
            f"a sync takes {took * 1000:.0f} ms", "Use a faster disk: a modality waits that long for each answer."
        )
    findings.ok(f"{folder} can be written; a sync takes {took * 1000:.1f} ms")
    return True


def _locks(fd: int, path: Path) -> bool:
    """Whether a lock keeps a second one away."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        other = os.open(path, os.O_RDWR)
        try:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(other)
    except OSError:
        return False
    return False


def _fix(error: OSError, folder: Path, variable: str) -> str:
    match error.errno:
        case errno.EACCES | errno.EPERM:
            return f"chown {os.geteuid()} {folder}, or set {variable} to another folder."
        case errno.EROFS:
            return f"A failing disk becomes read-only: check `dmesg`, then remount the volume, or set {variable}."
        case number if number in _FULL:
            return f"Free space on the volume, or set {variable} to a larger one."
        case _:
            return f"Check `dmesg`: the disk may be failing. Or set {variable} to another folder."


def _check_file_system(folder: Path, findings: Findings) -> None:
    kind, place = _mounted(folder)
    if kind in _VOLATILE:
        findings.warn(f"{place} is in memory ({kind}): acknowledged instances are lost in a crash", "Use a disk.")
    elif kind in _NETWORK:
        findings.warn(
            f"{place} is a network file system ({kind})", "Use a local disk: locks and syncs are not reliable there."
        )
    elif kind == "overlay" and Path("/.dockerenv").exists():
        findings.warn("it is in the container itself, and is deleted with it", f"Mount a volume at {folder}.")


def _mounted(folder: Path) -> tuple[str, str]:
    """Return type and mount point of the file system of a folder; empty where there is no /proc."""
    mounts = Path("/proc/mounts")
    if not mounts.exists():
        return "", ""
    fields = (line.split() for line in mounts.read_text().splitlines())
    there = [(found[2], found[1].replace("\\040", " ")) for found in fields]
    resolved = folder.resolve()
    over = [mount for mount in there if resolved.is_relative_to(mount[1])]
    return max(over, key=lambda mount: len(mount[1]), default=("", ""))


def _check_space(folder: Path, settings: SpoolSettings, findings: Findings) -> None:
    disk = Disk()
    quota, high_water = settings.spool_quota_bytes, settings.spool_high_water
    admission = Admission(folder, disk, high_water=high_water, quota=quota)
    if quota:
        findings.doing = f"measuring {folder}"
        admission.set_used(usage(folder), 0)
    try:
        admission.check()
    except SpoolFull as full:
        fix = "Free space or raise the setting. Is the writer running?"
        findings.fail(f"{full}: C-STORE is answered with 0xA700", fix, starts_anyway=True)
        return
    free, used = disk.free(folder)
    share = used / (used + free)
    what = f"{free / 2**30:.1f} GiB free, {share:.0%} in use of {high_water:.0%}"
    if share > high_water - _NEAR:
        findings.warn(what, "C-STORE will soon be answered with 0xA700: free space, or let the writer catch up.")
    else:
        findings.ok(what)


def _check_leftovers(root: Path, findings: Findings) -> None:
    findings.doing = f"listing {root}"
    damaged = sorted(path for path in files(root) if path.name.endswith(DAMAGED))
    if damaged:
        findings.warn(
            f"damaged files: {len(damaged)}, such as {_names(damaged, root)}",
            "Their complete members were recovered. Send the rest again (the log names it), then move the files away.",
        )
    left = {folder: found for folder in orphans(root) if (found := contents(folder))}
    if left:
        count = sum(map(len, left.values()))
        findings.warn(
            f"files in folders that no process holds: {count}, in {_names(list(left), root)}",
            "Start an ingress on this volume: it adopts them within seconds. Delete nothing.",
        )
    held = [path for path in files(root) if path.name.endswith(SEALED) and path.parent not in left]
    old = [path for path in held if _age(path) > OLD]
    if old:
        findings.warn(
            f"packs that have waited more than {OLD / 60:.0f} minutes to be stored: {len(old)}",
            "Is a writer with the same OSTEON_SPOOL_DIR and OSTEON_SPOOL_ID running? See also: osteon dlq list",
        )


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:  # stored meanwhile
        return 0.0


def _names(paths: list[Path], root: Path) -> str:
    shown = ", ".join(str(path.relative_to(root)) for path in paths[:_SHOWN])
    return shown + (", …" if len(paths) > _SHOWN else "")
