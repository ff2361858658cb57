"""What the errors of Azure Blob Storage and of its client mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from truthstore.backends.cloud.config import Trouble

__all__ = ["OWN_ATTEMPT", "TROUBLES", "trouble_of", "unanswered"]

UNAUTHORIZED: Final = 401
FORBIDDEN: Final = 403
TIMED_OUT: Final = 408
TOO_MANY: Final = 429
SERVER_ERROR: Final = 500

_NO_CONTAINER: Final = Trouble("the container does not exist: check its name, or create it")
_WRONG_KEY: Final = Trouble("the account key or the SAS is wrong, has expired, or does not allow this")
_PERMISSION: Final = Trouble(
    "no permission: the identity needs the role Storage Blob Data Contributor, a SAS the permissions racwdl (and t "
    "for set_access_tier)"
)
_BUSY: Final = Trouble("the service is busy or not available: repeat later", retryable=True)
OWN_ATTEMPT: Final = Trouble(
    "an earlier attempt of the same request may have been the one that did it", retryable=True, kind="refused"
)
_ARCHIVED: Final = Trouble("it is in the archive tier: set its tier to Hot and wait some hours", kind="refused")

TROUBLES: Final[Mapping[str, Trouble]] = {
    "ContainerNotFound": _NO_CONTAINER,
    "ContainerBeingDeleted": Trouble("the container is being deleted: create it again, or use another"),
    "ContainerDisabled": Trouble("the container is disabled"),
    "AuthenticationFailed": _WRONG_KEY,
    "InvalidAuthenticationInfo": _WRONG_KEY,
    "NoAuthenticationInformation": Trouble(
        "there are no credentials: give account_key, sas_token or connection_string"
    ),
    "AuthorizationFailure": Trouble(
        "refused: the account key or the SAS is wrong or does not allow this, or the account's firewall does not let this "
        "address in"
    ),
    "AuthorizationPermissionMismatch": _PERMISSION,
    "AuthorizationServiceMismatch": _PERMISSION,
    "AuthorizationResourceTypeMismatch": _PERMISSION,
    "InsufficientAccountPermissions": _PERMISSION,
    "AccountIsDisabled": Trouble("the storage account is disabled"),
    "ServerBusy": _BUSY,
    "InternalError": _BUSY,
    "OperationTimedOut": _BUSY,
    "BlobArchived": _ARCHIVED,
    "BlobBeingRehydrated": Trouble("it is on its way out of the archive tier: wait some hours", kind="refused"),
    "LeaseIdMissing": Trouble("somebody holds a lease on it: break the lease", kind="refused"),
    "SnapshotsPresent": Trouble("it has snapshots: remove them first", kind="refused"),
}


def trouble_of(status: int, error: Any) -> Trouble:
    """What a refusal means."""
    if status in {UNAUTHORIZED, FORBIDDEN}:
        return _WRONG_KEY
    if status in {TIMED_OUT, TOO_MANY} or status >= SERVER_ERROR:
        return _BUSY
    return Trouble(str(error.message or error).partition("\n")[0], kind="refused")


def unanswered(error: Any) -> Trouble:
    """What an error means that the client raised before or instead of an answer."""
    from azure.core.exceptions import ClientAuthenticationError

    if isinstance(error, ClientAuthenticationError):
        return Trouble("no credential could be had: sign in (`az login`), or give account_key or sas_token")
    return Trouble(f"the service did not answer ({type(error).__name__}): check network and account", retryable=True)
