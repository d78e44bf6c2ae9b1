"""What the responses of C-MOVE and C-GET say (PS3.4 C.4.2.1, C.4.3.1): progress, and the end of it."""

import orjson
import typer

from osteon.cli.scu.options import Common
from osteon.cli.scu.progress import bar
from osteon.cli.scu.runner import DONE, FAILED, report_error, words
from osteon.dimse.handler import RetrieveResponse
from osteon.dimse.status import Status

_MOST_SHOWN = 20
_MEANINGS = {
    Status.MOVE_DESTINATION_UNKNOWN: "the peer does not know the destination",
    Status.NOT_AUTHORIZED: "not allowed",
    0xA701: "out of resources, the peer cannot count the matches",
    0xA702: "out of resources, sub-operations cannot be done",
    0xA900: "the identifier does not suit the SOP class",
}


class RetrieveProgress:
    """Sub-operations so far."""

    def __init__(self, common: Common, what: str) -> None:
        self.bar = bar(common, what)
        self._task = self.bar.add_task("", total=None)
        self._common = common
        self._last = RetrieveResponse(Status.PENDING)
        self.reasons: dict[str, str] = {}
        """SOP Instance UID → why it failed, as far as this side knows."""

    def take(self, response: RetrieveResponse) -> None:
        """Take the next response; the counters of the final one may be missing."""
        done = response.completed + response.failed + response.warning
        if response.status.is_pending or done:
            self.bar.update(self._task, completed=done, total=(done + response.remaining) or None)
        self._last = response

    @property
    def last(self) -> RetrieveResponse:
        """The final response, or what came before it was interrupted."""
        return self._last

    def finish(self, done: str, **more: object) -> int:
        """Tell about it; return the exit code."""
        last = self._last
        if self._common.as_json:
            typer.echo(orjson.dumps({**_facts(last), "reasons": self.reasons, **more}))
        else:
            if not self._common.quiet:
                typer.echo(_summary(last, done))
            self._show_failed(last.failed_uids)
        if last.status.is_failure:
            meaning = last.comment or _MEANINGS.get(last.status, "")
            return report_error(f"failed: {words(last.status, meaning)}", FAILED)
        if last.status is Status.SUCCESS and not (last.completed or last.failed or last.warning):
            return report_error("nothing matches", FAILED)
        return FAILED if last.failed or last.status.is_warning else DONE

    def _show_failed(self, uids: tuple[str, ...]) -> None:
        shown = list(dict.fromkeys((*self.reasons, *uids)))
        for uid in shown[:_MOST_SHOWN]:
            typer.echo(f"{uid}: {self.reasons.get(uid, 'failed without a reason from the peer')}", err=True)
        if len(shown) > _MOST_SHOWN:
            typer.echo(f"and {len(shown) - _MOST_SHOWN} more (--json lists all)", err=True)


def _summary(last: RetrieveResponse, done: str) -> str:
    others = {"with a warning": last.warning, "failed": last.failed, "not begun": last.remaining}
    counts = [f"{last.completed + last.warning} {done}", *(f"{n} {what}" for what, n in others.items() if n)]
    return ", ".join(counts) + (", cancelled" if last.status is Status.CANCEL else "")


def _facts(last: RetrieveResponse) -> dict[str, object]:
    return {
        "status": int(last.status),
        "comment": last.comment,
        "completed": last.completed,
        "failed": last.failed,
        "warning": last.warning,
        "remaining": last.remaining,
        "failed_uids": list(last.failed_uids),
    }
