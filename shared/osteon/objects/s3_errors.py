"""What an S3 client's error means for the port: the one place that knows S3's error codes."""

from xml.etree.ElementTree import ParseError

from minio.error import InvalidResponseError, MinioException, S3Error
from urllib3.exceptions import HTTPError

from osteon.errors import Invalid, OsteonError
from osteon.objects.port import ObjectNotFound, ObjectsUnavailable

CLIENT_ERRORS = (MinioException, HTTPError, ParseError, ValueError)
"""What the client raises when the store, or the way to it, fails, or when it cannot read an answer."""

_ABSENT = frozenset({"NoSuchKey", "NoSuchVersion"})
_NEVER = frozenset({"InvalidRange", "KeyTooLongError", "EntityTooLarge"})
_SETTINGS = {
    "AccessDenied": "OSTEON_S3_ACCESS_KEY, OSTEON_S3_SECRET_KEY: they may not do this",
    "InvalidAccessKeyId": "OSTEON_S3_ACCESS_KEY: the store does not know it",
    "SignatureDoesNotMatch": "OSTEON_S3_SECRET_KEY: it does not belong to the access key",
    "AuthorizationHeaderMalformed": "OSTEON_S3_REGION: the store expects another one",
    "PermanentRedirect": "OSTEON_S3_REGION: the bucket is in another one",
    "BucketAlreadyExists": "OSTEON_S3_BUCKET: it belongs to another account",
    "InvalidBucketName": "OSTEON_S3_BUCKET: the store refuses the name",
    "NoSuchBucket": "OSTEON_S3_BUCKET: there is no such bucket",
    "RequestTimeTooSkewed": "the clocks of this host and of the store differ too much",
}


def no_bucket(error: Exception) -> bool:
    """Whether the store says that the bucket is absent."""
    return isinstance(error, S3Error) and error.code == "NoSuchBucket"


def bucket_is_there(error: S3Error) -> bool:
    """Whether making the bucket failed because it is ours already."""
    return error.code == "BucketAlreadyOwnedByYou"


def translate(error: Exception, *, where: str, what: str) -> OsteonError:
    """Return the error of the port for one of `CLIENT_ERRORS`; `where` is the store, `what` the object or action.

    An unknown answer counts as unavailable: the caller retries, and nothing is lost.
    """
    if isinstance(error, S3Error):
        if error.code in _ABSENT:
            return ObjectNotFound(f"there is no object {what!r}")
        if error.code in _NEVER:
            return Invalid(f"the object store refuses {what!r}: {error.code}: {error.message}")
        hint = _SETTINGS.get(error.code or "")
        reason = f"{error.code}; check {hint}" if hint else f"{error.code}: {error.message}"
        return ObjectsUnavailable(f"the object store {where} refused {what!r}: {reason}")
    if isinstance(error, InvalidResponseError):
        return ObjectsUnavailable(f"{where} does not answer like S3 (check OSTEON_S3_ENDPOINT): {_short(error)}")
    return ObjectsUnavailable(f"the object store {where} does not answer ({what!r}): {_short(error)}")


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
