"""A key of Google Cloud KMS."""

from __future__ import annotations

from typing import Any, Final

from truthstore.encryption.base import KeyProvider, WrappedKey, library
from truthstore.errors import StoreConfigError, StoreConnectionError, StoreCorruptError
from truthstore.runtime.recipe import Recipe

__all__ = ["GoogleKmsKeys"]

PURPOSE: Final = b"truthstore data key"


class GoogleKmsKeys(Recipe, KeyProvider):
    """Encrypt data keys with a symmetric key that stays in Google Cloud KMS.

    Args:
        key_name: ``projects/…/locations/…/keyRings/…/cryptoKeys/…``.
        client: a `KeyManagementServiceClient`; by default one with the credentials of the environment.
    """

    def __init__(self, key_name: str, client: Any = None) -> None:
        self._key_name = key_name
        self._client = (
            client or library("google.cloud.kms", "truthstore[encryption-google]").KeyManagementServiceClient()
        )

    def wrap(self, key: bytes) -> WrappedKey:
        """Encrypt a data key with the primary version of the key."""
        answer = self._call("encrypt", self._key_name, plaintext=key)
        return WrappedKey(key_id=self._key_name, data=answer.ciphertext)

    def unwrap(self, wrapped: WrappedKey) -> bytes:
        """Return the data key, whichever version encrypted it; raise as `KeyProvider.unwrap` does."""
        key: bytes = self._call("decrypt", wrapped.key_id, ciphertext=wrapped.data).plaintext
        return key

    def _call(self, operation: str, name: str, **parameters: bytes) -> Any:
        errors = library("google.api_core.exceptions")
        request = {"name": name, "additional_authenticated_data": PURPOSE, **parameters}
        try:
            return getattr(self._client, operation)(request=request)
        except (errors.NotFound, errors.Forbidden, errors.Unauthorized, errors.FailedPrecondition) as error:
            raise StoreConfigError(
                f"Google KMS does not let this account {operation} with the key {name}: {type(error).__name__}"
            ) from error
        except errors.InvalidArgument as error:
            raise StoreCorruptError(f"a data key under the key {name} is damaged, or is of another key") from error
        except errors.GoogleAPIError as error:
            raise StoreConnectionError(
                "google kms", f"the key {name} cannot be used: {error}", retryable=True
            ) from error
