"""A key of Azure Key Vault."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from truthstore.encryption.base import KeyProvider, WrappedKey, library
from truthstore.errors import StoreConfigError, StoreConnectionError, StoreCorruptError
from truthstore.runtime.recipe import Recipe

__all__ = ["AzureKeyVaultKeys"]

EXTRA: Final = "truthstore[encryption-azure]"
ALGORITHM: Final = "RSA-OAEP-256"
BAD_REQUEST: Final = 400
WRONG_KEY: Final = frozenset({401, 403, 404})


class AzureKeyVaultKeys(Recipe, KeyProvider):
    """Encrypt data keys with an RSA key that stays in Azure Key Vault.

    Args:
        key_id: ``https://….vault.azure.net/keys/…``, with a version or without.
        credential: of `azure.identity`; by default that of the environment.
        make_client: returns the `CryptographyClient` of a key, given its id.
    """

    def __init__(self, key_id: str, credential: Any = None, make_client: Callable[[str], Any] | None = None) -> None:
        self._key_id = key_id
        self._make_client = make_client or self._made_by(credential)

    @staticmethod
    def _made_by(credential: Any) -> Callable[[str], Any]:
        client = library("azure.keyvault.keys.crypto", EXTRA).CryptographyClient
        credential = credential or library("azure.identity", EXTRA).DefaultAzureCredential()
        return lambda key_id: client(key_id, credential)

    def wrap(self, key: bytes) -> WrappedKey:
        """Encrypt a data key with the newest version of the key, and note which that is."""
        answer = self._call("wrap_key", self._key_id, key)
        return WrappedKey(key_id=answer.key_id, data=answer.encrypted_key)

    def unwrap(self, wrapped: WrappedKey) -> bytes:
        """Return the data key; raise as `KeyProvider.unwrap` does."""
        key: bytes = self._call("unwrap_key", wrapped.key_id, wrapped.data).key
        return key

    def _call(self, operation: str, key_id: str, data: bytes) -> Any:
        errors = library("azure.core.exceptions", EXTRA)
        algorithm = library("azure.keyvault.keys.crypto", EXTRA).KeyWrapAlgorithm(ALGORITHM)
        try:
            return getattr(self._make_client(key_id), operation)(algorithm, data)
        except errors.AzureError as error:
            status = getattr(error, "status_code", None)
            if status in WRONG_KEY or isinstance(error, errors.ClientAuthenticationError):
                raise StoreConfigError(
                    f"Azure Key Vault does not let this account {operation} with the key {key_id}: {status}"
                ) from error
            if status == BAD_REQUEST and operation == "unwrap_key":
                raise StoreCorruptError(
                    f"a data key under the key {key_id} is damaged, or is of another key"
                ) from error
            raise StoreConnectionError(
                "azure key vault", f"the key {key_id} cannot be used: {type(error).__name__}", retryable=True
            ) from error
