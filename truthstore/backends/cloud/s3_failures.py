"""What the errors of S3 and of its client mean."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from truthstore.backends.cloud.config import Trouble

__all__ = ["MISSING", "OWN_ATTEMPT", "REDIRECTED", "is_passing", "trouble_of", "unanswered"]

FORBIDDEN: Final = 403
SERVER_ERROR: Final = 500
NOT_IMPLEMENTED: Final = 501

MISSING: Final = frozenset({"NoSuchKey", "404", "NotFound"})
COLLISIONS: Final = frozenset({"ConditionalRequestConflict", "OperationAborted"})
REDIRECTED: Final = frozenset({"PermanentRedirect", "TemporaryRedirect", "301", "AuthorizationHeaderMalformed"})
"""The client asks again elsewhere after these, and the first attempt did nothing."""

_HANDSHAKE: Final = re.compile("(?i)certificate|hand_?shake|hostname|wrong_version|(unknown|unsupported)_protocol")

_PERMISSION: Final = Trouble(
    "no permission: the policy must allow s3:GetObject, s3:PutObject and s3:DeleteObject on the objects and s3:ListBucket on "
    "the bucket (and the use of the KMS key, if there is one)"
)
_EXPIRED: Final = Trouble("the credentials have expired: get new ones")
_WRONG_KEY: Final = Trouble("the access key is not known to the service: check access key id and endpoint")
_NO_BUCKET: Final = Trouble("the bucket does not exist: check its name, or create it")
_REGION: Final = Trouble("the bucket is in another region, or at another endpoint: set region= to the bucket's own")
_BUSY: Final = Trouble("the service is busy or not available: repeat later", retryable=True)
_NOT_OFFERED: Final = Trouble("the service does not offer what this request asked for", kind="unsupported")
OWN_ATTEMPT: Final = Trouble(
    "an earlier attempt of the same request may have been the one that did it", retryable=True, kind="refused"
)
_KMS: Final = Trouble("the KMS key cannot be used: check kms_key_id, that the key is enabled, and the key's policy")

_TROUBLES: Final[Mapping[str, Trouble]] = {
    "AccessDenied": _PERMISSION,
    "AllAccessDisabled": _PERMISSION,
    "AccountProblem": _PERMISSION,
    "403": _PERMISSION,
    # The answer to HEAD, which does not say why.
    "400": Trouble("the credentials are not valid or have expired, or the bucket is in another region"),
    "ExpiredToken": _EXPIRED,
    "ExpiredTokenException": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    "RequestExpired": _EXPIRED,
    "InvalidToken": Trouble("the session token is not valid: get new credentials"),
    "InvalidAccessKeyId": _WRONG_KEY,
    "SignatureDoesNotMatch": Trouble("the secret access key is wrong"),
    "RequestTimeTooSkewed": Trouble("this machine's clock is wrong: set it"),
    "NoSuchBucket": _NO_BUCKET,
    "InvalidBucketName": Trouble("this cannot be the name of a bucket"),
    "PermanentRedirect": _REGION,
    "301": _REGION,
    "AuthorizationHeaderMalformed": _REGION,
    "IllegalLocationConstraintException": _REGION,
    "SlowDown": _BUSY,
    "Throttling": _BUSY,
    "ThrottlingException": _BUSY,
    "TooManyRequests": _BUSY,
    "RequestLimitExceeded": _BUSY,
    "RequestTimeout": _BUSY,
    "ServiceUnavailable": _BUSY,
    "InternalError": _BUSY,
    "NotImplemented": _NOT_OFFERED,
    "KMS.DisabledException": _KMS,
    "KMS.NotFoundException": _KMS,
    "KMS.KMSInvalidStateException": _KMS,
    "InvalidObjectState": Trouble("the object is in an archive class: restore it first", kind="refused"),
    "InvalidStorageClass": Trouble("the service has no such storage class", kind="settings"),
}


def is_passing(error: BaseException) -> bool:
    """Whether a request is worth repeating that the client itself does not repeat."""
    from botocore.exceptions import ClientError, IncompleteReadError, ResponseStreamingError

    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code", "")) in COLLISIONS
    # The answer broke off in the middle of its body.
    return isinstance(error, IncompleteReadError | ResponseStreamingError)


def trouble_of(code: str, status: int, error: Exception) -> Trouble:
    """What a refusal means."""
    known = _TROUBLES.get(code)
    if known is not None:
        return known
    if code in COLLISIONS:
        return Trouble(
            "other requests for this key are under way, nothing was changed: repeat", retryable=True, kind="refused"
        )
    if status == NOT_IMPLEMENTED:
        return _NOT_OFFERED
    if status == FORBIDDEN:
        return _PERMISSION
    if status >= SERVER_ERROR:
        return _BUSY
    return Trouble(str(error), kind="refused")


def unanswered(error: Exception) -> Trouble:
    """What an error means that the client raised before or instead of an answer."""
    from botocore import exceptions

    if isinstance(error, exceptions.NoCredentialsError | exceptions.PartialCredentialsError):
        return Trouble("there are no credentials: give a profile, set AWS_ACCESS_KEY_ID, or run with a role")
    if isinstance(error, exceptions.SSOError | exceptions.TokenRetrievalError | exceptions.CredentialRetrievalError):
        return Trouble(f"credentials could not be had ({error}): sign in anew")
    if isinstance(error, exceptions.SSLError) and _HANDSHAKE.search(str(error)):
        return Trouble(f"the encrypted connection failed ({error}): check endpoint_url and certificates")
    if isinstance(error, exceptions.ParamValidationError):
        return Trouble(str(error), kind="settings")
    if isinstance(error, exceptions.ConnectionError | exceptions.HTTPClientError | exceptions.IncompleteReadError):
        return Trouble(f"the service did not answer ({error}): check network and endpoint", retryable=True)
    return Trouble(str(error))
