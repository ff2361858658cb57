"""A key of AWS KMS."""

from __future__ import annotations

from typing import Any, Final

from truthstore.encryption.base import KeyProvider, WrappedKey, library
from truthstore.errors import StoreConfigError, StoreConnectionError, StoreCorruptError, StoreError
from truthstore.runtime.recipe import Recipe

__all__ = ["AwsKmsKeys"]

CONTEXT: Final = {"purpose": "truthstore data key"}
WRONG_KEY: Final = frozenset(
    {
        "AccessDeniedException",
        "DisabledException",
        "IncorrectKeyException",
        "KMSInvalidStateException",
        "NotFoundException",
    }
)


class AwsKmsKeys(Recipe, KeyProvider):
    """Encrypt data keys with a key that stays in AWS KMS.

    Args:
        key_id: its id, ARN or alias.
        client: a client of boto3 for ``kms``, or
        options: what makes one: ``region_name``, ``endpoint_url``.
    """

    def __init__(self, key_id: str, client: Any = None, **options: Any) -> None:
        self._key_id = key_id
        self._client = client or library("boto3", "truthstore[encryption-aws]").client("kms", **options)

    def wrap(self, key: bytes) -> WrappedKey:
        """Encrypt a data key (`Encrypt`)."""
        answer = self._call("encrypt", self._key_id, Plaintext=key)
        return WrappedKey(key_id=answer["KeyId"], data=answer["CiphertextBlob"])

    def unwrap(self, wrapped: WrappedKey) -> bytes:
        """Return the data key (`Decrypt`); raise as `KeyProvider.unwrap` does."""
        key: bytes = self._call("decrypt", wrapped.key_id, CiphertextBlob=wrapped.data)["Plaintext"]
        return key

    def _call(self, operation: str, key_id: str, **parameters: Any) -> Any:
        errors = library("botocore.exceptions")
        try:
            return getattr(self._client, operation)(KeyId=key_id, EncryptionContext=CONTEXT, **parameters)
        except errors.ClientError as error:
            raise _translated(error.response["Error"]["Code"], operation, key_id) from error
        except errors.BotoCoreError as error:
            raise StoreConnectionError(
                "aws kms", f"the key {key_id} cannot be used: {error}", retryable=True
            ) from error


def _translated(code: str, operation: str, key_id: str) -> StoreError:
    if code in WRONG_KEY:
        return StoreConfigError(f"AWS KMS does not let this account {operation} with the key {key_id}: {code}")
    if code == "InvalidCiphertextException":
        return StoreCorruptError(f"a data key under the key {key_id} is damaged, or is of another key")
    return StoreConnectionError("aws kms", f"the key {key_id} cannot be used: {code}", retryable=True)
