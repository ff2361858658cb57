"""The meaning of the errors of object storage services and of their clients: one table per service."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from truthstore.errors import (
    StoreConfigError,
    StoreConnectionError,
    StoreError,
    StoreNotSupportedError,
    StoreReadError,
    StoreWriteError,
)

__all__ = [
    "AMBIGUOUS_RETRY",
    "Action",
    "Failure",
    "Meaning",
    "azure_meaning",
    "cause",
    "error_of",
    "gcs_meaning",
    "is_s3_collision",
    "s3_failure",
    "s3_meaning",
]

Action: TypeAlias = Literal["read", "list", "write", "remove", "change", "reach"]

_SECRET: Final = re.compile(
    r"(?i)(\b(?:sig|signature|x-amz-security-token|accountkey|token)=)[^&\s;'\"]+|(invalid header value ).+"
)
_HANDSHAKE: Final = re.compile("(?i)certificate|hand_?shake|hostname|wrong_version|(unknown|unsupported)_protocol")


class Failure(NamedTuple):
    """The meaning of an error.

    Attributes:
        advice: the problem and its remedy.
        retryable: the same request may succeed when it is simply repeated.
        kind: ``connection`` if the service, or the bucket, cannot be used at all; ``refused`` if it is this request;
            ``unsupported`` if the service does not offer it; ``settings`` if options are wrong.
    """

    advice: str
    retryable: bool = False
    kind: Literal["connection", "refused", "unsupported", "settings"] = "connection"


Meaning: TypeAlias = Failure | Literal["missing", "changed"]
"""A failure, or: there is no such object; the condition did not hold."""

_BUSY: Final = Failure("the service is busy or not available: repeat later", retryable=True)
AMBIGUOUS_RETRY: Final = Failure(
    "an earlier attempt of the same request may have been the one that did it", retryable=True, kind="refused"
)


def error_of(backend: str, action: Action, place: str, failure: Failure, *, repeated: bool = False) -> StoreError:
    """Return the error for a request that failed, or got no answer, or was `repeated` by the client after one that got none.

    A connection error that is not retryable means that nothing was written.
    """
    writes = action in {"write", "remove", "change"}
    message = f"cannot {action} {place}: {hidden(failure.advice)}"
    if writes and (failure.retryable or repeated):
        message += " (it may or may not have happened)"
    if failure.kind == "connection":
        if writes and repeated and not failure.retryable:
            return StoreWriteError(message, backend=backend, store_unavailable=True)
        return StoreConnectionError(backend, message, retryable=failure.retryable)
    if failure.kind == "unsupported":
        return StoreNotSupportedError(message, backend=backend)
    if failure.kind == "settings":
        return StoreConfigError(message, backend=backend)
    return (StoreWriteError if writes else StoreReadError)(message, backend=backend, retryable=failure.retryable)


def hidden(text: str) -> str:
    """Return a text without the signatures, keys and tokens that addresses and connection strings hold."""
    return _SECRET.sub(r"\1\2…", text)


def cause(error: Exception) -> Exception | None:
    """Return the cause for a new error: the driver's own, unless it shows a secret; its way through the driver fills screens."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None) if hidden(str(error)) == str(error) else None


def _by_status(status: int, error: object) -> Failure:
    """Return the meaning of a refusal that is in no table."""
    if status in {408, 429} or status >= 500:  # noqa: PLR2004  # the numbers of HTTP
        return _BUSY
    return Failure(str(error).partition("\n")[0], kind="refused")


def _table(*rows: tuple[Meaning, str]) -> Mapping[str, Meaning]:
    """Return the meaning of every code."""
    return {code: meaning for meaning, codes in rows for code in codes.split()}


# Amazon S3.

_S3_PERMISSION: Final = Failure(
    "no permission: the policy must allow s3:GetObject, s3:PutObject and s3:DeleteObject on the objects and s3:ListBucket on "
    "the bucket (and the use of the KMS key, if there is one)"
)
_EXPIRED: Final = Failure("the credentials have expired, or their token is not valid: get new ones")
_S3_ELSEWHERE: Final = Failure(
    "the bucket is in another region, or at another endpoint: set region= to the bucket's own"
)
_S3_KEY: Final = Failure("the KMS key cannot be used: check kms_key_id, that the key is enabled, and the key's policy")
_S3_UNSUPPORTED: Final = Failure("the service does not offer this request", kind="unsupported")
_S3_COLLISION: Final = Failure(
    "other requests for this key are under way, nothing was changed: repeat", retryable=True, kind="refused"
)
_S3: Final = _table(
    ("missing", "NoSuchKey 404 NotFound"),
    ("changed", "PreconditionFailed"),
    (_S3_PERMISSION, "AccessDenied AllAccessDisabled AccountProblem 403"),
    # The answer to HEAD, which does not say why.
    (Failure("the credentials are not valid or have expired, or the bucket is in another region"), "400"),
    (_EXPIRED, "ExpiredToken ExpiredTokenException TokenRefreshRequired RequestExpired InvalidToken"),
    (Failure("the access key is not known to the service: check access key id and endpoint"), "InvalidAccessKeyId"),
    (Failure("the secret access key is wrong"), "SignatureDoesNotMatch"),
    (Failure("this machine's clock is wrong: set it"), "RequestTimeTooSkewed"),
    (Failure("the bucket does not exist: check its name, or create it"), "NoSuchBucket InvalidBucketName"),
    (_S3_ELSEWHERE, "PermanentRedirect 301 AuthorizationHeaderMalformed IllegalLocationConstraintException"),
    (_BUSY, "SlowDown Throttling ThrottlingException TooManyRequests RequestLimitExceeded RequestTimeout"),
    (_S3_COLLISION, "ConditionalRequestConflict OperationAborted"),
    (_S3_UNSUPPORTED, "NotImplemented"),
    (_S3_KEY, "KMS.DisabledException KMS.NotFoundException KMS.KMSInvalidStateException"),
    (Failure("the object is in an archive class: restore it first", kind="refused"), "InvalidObjectState"),
    (Failure("the service has no such storage class", kind="settings"), "InvalidStorageClass"),
)
_S3_STATUS: Final[Mapping[int, Meaning]] = {403: _S3_PERMISSION, 412: "changed", 501: _S3_UNSUPPORTED}
_S3_REDIRECTED: Final = frozenset({"PermanentRedirect", "TemporaryRedirect", "301", "AuthorizationHeaderMalformed"})
"""The client asks again elsewhere after these, and the first attempt did nothing."""


def is_s3_collision(error: BaseException) -> bool:
    """Return True for a request that is worth repeating and that the client itself does not repeat."""
    from botocore.exceptions import ClientError, IncompleteReadError, ResponseStreamingError

    if isinstance(error, ClientError):
        return _S3.get(str(error.response.get("Error", {}).get("Code", ""))) is _S3_COLLISION
    # The answer broke off in the middle of its body.
    return isinstance(error, IncompleteReadError | ResponseStreamingError)


def s3_failure(code: str, message: str) -> Failure:
    """Return the meaning of an error code in an answer about many objects."""
    found = _S3.get(code)
    return found if isinstance(found, Failure) else Failure(message, kind="refused")


def s3_meaning(error: Any) -> tuple[Meaning, bool]:
    """Return the meaning of a client's error, and True if an earlier attempt may have got no answer."""
    from botocore import exceptions

    if isinstance(error, exceptions.ClientError):
        answer: Mapping[str, Any] = error.response
        code = str(answer.get("Error", {}).get("Code", ""))
        facts: Mapping[str, Any] = answer.get("ResponseMetadata", {})
        status = int(facts.get("HTTPStatusCode", 0))
        meaning = _S3.get(code) or _S3_STATUS.get(status) or _by_status(status, error)
        return meaning, bool(facts.get("RetryAttempts")) and code not in _S3_REDIRECTED
    if isinstance(error, exceptions.NoCredentialsError | exceptions.PartialCredentialsError):
        advice = "there are no credentials: give a profile, set AWS_ACCESS_KEY_ID, or run with a role"
    elif isinstance(error, exceptions.SSOError | exceptions.TokenRetrievalError | exceptions.CredentialRetrievalError):
        advice = f"credentials could not be had ({error}): sign in again"
    elif isinstance(error, exceptions.SSLError) and _HANDSHAKE.search(str(error)):
        advice = f"the encrypted connection failed ({error}): check endpoint_url and certificates"
    elif isinstance(error, exceptions.ParamValidationError):
        return Failure(str(error), kind="settings"), False
    elif isinstance(error, exceptions.ConnectionError | exceptions.HTTPClientError | exceptions.IncompleteReadError):
        return Failure(f"the service did not answer ({error}): check network and endpoint", retryable=True), False
    else:
        advice = str(error)
    return Failure(advice), False


# Google Cloud Storage.

_GCS_NOT_SIGNED_IN: Final = Failure(
    "the credentials are not valid, or have expired: sign in again, or check credentials_path"
)
_GCS: Final[Mapping[int, Meaning]] = {
    401: _GCS_NOT_SIGNED_IN,
    403: Failure(
        "no permission: the account needs the role roles/storage.objectUser on the bucket (storage.objects.get, list, "
        "create and delete)"
    ),
    404: "missing",
    412: "changed",
}


def gcs_meaning(error: Any) -> Meaning:
    """Return the meaning of a client's error."""
    from google.api_core.exceptions import GoogleAPICallError
    from google.auth import exceptions

    if isinstance(error, GoogleAPICallError):
        if "bucket does not exist" in str(error):
            return Failure("the bucket does not exist: check its name, or create it")
        status = int(error.code or 0)
        return _GCS.get(status) or _by_status(status, error.message or error)
    if isinstance(error, exceptions.DefaultCredentialsError):
        return Failure(
            "there are no credentials: give credentials_path, or run `gcloud auth application-default login`"
        )
    if isinstance(error, exceptions.GoogleAuthError) and not isinstance(error, exceptions.TransportError):
        return _GCS_NOT_SIGNED_IN
    return Failure(f"the service did not answer ({type(error).__name__}): check network and endpoint", retryable=True)


# Azure Blob Storage.

_AZURE_WRONG_KEY: Final = Failure("the account key or the SAS is wrong, has expired, or does not allow this")
_AZURE_NO_KEY: Final = Failure("there are no credentials: give account_key, sas_token or connection_string")
_AZURE_REFUSED: Final = Failure(
    "refused: the account key or the SAS is wrong or does not allow this, or the account's firewall does not let this "
    "address in"
)
_AZURE_PERMISSION: Final = Failure(
    "no permission: the identity needs the role Storage Blob Data Contributor, a SAS the permissions racwdl (and t for "
    "set_access_tier)"
)
_AZURE_ARCHIVED: Final = Failure(
    "it is in the archive tier: set its tier to Hot, if that was not done yet, and wait some hours", kind="refused"
)
_AZURE: Final = _table(
    ("changed", "BlobAlreadyExists"),
    (Failure("the container does not exist: check its name, or create it"), "ContainerNotFound ContainerBeingDeleted"),
    (Failure("the container, or the storage account, is disabled"), "ContainerDisabled AccountIsDisabled"),
    (_AZURE_WRONG_KEY, "AuthenticationFailed InvalidAuthenticationInfo"),
    (_AZURE_NO_KEY, "NoAuthenticationInformation"),
    (_AZURE_REFUSED, "AuthorizationFailure"),
    (_AZURE_PERMISSION, "AuthorizationPermissionMismatch AuthorizationServiceMismatch"),
    (_AZURE_PERMISSION, "AuthorizationResourceTypeMismatch InsufficientAccountPermissions"),
    (_AZURE_ARCHIVED, "BlobArchived BlobBeingRehydrated"),
    (Failure("it is leased: break the lease", kind="refused"), "LeaseIdMissing"),
    (Failure("it has snapshots: remove them first", kind="refused"), "SnapshotsPresent"),
)
_AZURE_STATUS: Final[Mapping[int, Meaning]] = {
    401: _AZURE_WRONG_KEY,
    403: _AZURE_WRONG_KEY,
    404: "missing",
    412: "changed",
}


def azure_meaning(error: Any) -> Meaning:
    """Return the meaning of a client's error."""
    from azure.core.exceptions import ClientAuthenticationError, HttpResponseError

    if isinstance(error, HttpResponseError) and error.status_code is not None:
        code = getattr(error, "error_code", None)
        known = _AZURE.get(str(getattr(code, "value", code) or "")) or _AZURE_STATUS.get(error.status_code)
        return known or _by_status(error.status_code, error.message or error)
    if isinstance(error, ClientAuthenticationError):
        return Failure("no credential could be had: sign in (`az login`), or give account_key or sas_token")
    return Failure(f"the service did not answer ({type(error).__name__}): check network and account", retryable=True)
