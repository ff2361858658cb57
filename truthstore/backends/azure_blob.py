"""Azure Blob Storage. A tag is an etag. What exists already is refused with 409, what has changed with 412.

Microsoft's client repeats requests that failed for a passing reason. A condition that fails in such a repetition may be
the work of the first attempt, and is reported as a write whose outcome is unknown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar
from urllib.parse import quote

from truthstore.backends.cloud.config import CloudConfig
from truthstore.backends.cloud.driver import CloudBlobs, content_type, is_index
from truthstore.backends.cloud.failures import Action, azure_meaning, cause
from truthstore.backends.cloud.store import CloudStore, T
from truthstore.errors import StoreConfigError, StoreConflictError, StoreNotFoundError, one_of
from truthstore.items.results import RESULTS
from truthstore.model.fields import check_id
from truthstore.model.record import ABSENT, ANY

if TYPE_CHECKING:
    from truthstore.model.collection import Collection
    from truthstore.storage.objects.blobs import BlobExpect, Tag

__all__ = ["AzureBlobConfig", "AzureBlobStore", "AzureBlobs"]

R = TypeVar("R")

PAGE: Final = 5_000
TIERS: Final = ("Hot", "Cool", "Cold", "Archive")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class AzureBlobConfig(CloudConfig):
    """Options of the Azure Blob store. Give a connection string, or an account's address or name with a key, a SAS, or none.

    Attributes:
        container: the container; it must exist.
        connection_string: as the portal shows it.
        account_url: ``https://{account_name}.blob.core.windows.net``.
        account_name: the account, from which the address follows.
        account_key: the account's key.
        sas_token: a shared access signature.
        credential: any credential of `azure.identity`; without one, key or SAS: ``DefaultAzureCredential()``.
        content_type: of the objects of items; by default it follows the format.
        access_tier: of the objects of items: ``Hot``, ``Cool`` or ``Cold``; by default as the account is set.
        metadata: labels of this store; written to every object too, percent-encoded where they are not ASCII.
    """

    container: str = ""
    connection_string: str | None = field(default=None, repr=False)
    account_url: str | None = None
    account_name: str | None = None
    account_key: str | None = field(default=None, repr=False)
    sas_token: str | None = field(default=None, repr=False)
    credential: Any = field(default=None, repr=False)
    content_type: str | None = None
    access_tier: str | None = None

    def __post_init__(self) -> None:
        CloudConfig.__post_init__(self)
        if self.single_writer:
            raise StoreConfigError("Azure has conditional writes: single_writer is not needed")
        given = [name for name in ("account_key", "sas_token", "credential") if getattr(self, name)]
        if len(given) > 1:
            raise StoreConfigError(f"give one of {' and '.join(given)}")
        if self.access_tier is not None:
            checked_tier(self.access_tier)
            if self.access_tier == "Archive":
                raise StoreConfigError(
                    "items in the archive tier cannot be read at once: move old ones with set_access_tier"
                )
        for name in self.metadata:
            if not _NAME.fullmatch(str(name)):
                raise StoreConfigError(f"metadata {name!r}: a name is letters, digits and underscores")

    @property
    def url(self) -> str:
        """The account's address, where there is no connection string."""
        return self.account_url or f"https://{self.account_name}.blob.core.windows.net"


def checked_tier(tier: str) -> str:
    """Return the name of an access tier, checked.

    Raises:
        StoreConfigError: there is no such tier.
    """
    if tier not in TIERS:
        raise StoreConfigError(one_of("access_tier", tier, TIERS))
    return tier


def connect(config: AzureBlobConfig) -> Any:
    """Make a client of the container of the options.

    Raises:
        StoreConfigError: they make no sense.
    """
    import requests
    from azure.core.pipeline.transport import RequestsTransport
    from azure.storage.blob import ContainerClient, ExponentialRetry
    from requests.adapters import HTTPAdapter

    # The pool holds ten connections by default.
    session = requests.Session()
    for scheme in ("https://", "http://"):
        session.mount(scheme, HTTPAdapter(pool_connections=4, pool_maxsize=config.concurrency))
    settings: dict[str, Any] = {
        "transport": RequestsTransport(session=session),
        "connection_timeout": config.connect_timeout,
        "read_timeout": config.timeout,
        "retry_policy": ExponentialRetry(
            initial_backoff=1, increment_base=2, retry_total=config.retries, random_jitter_range=1
        ),
    }
    try:
        if config.connection_string:
            credential = config.account_key or config.sas_token or config.credential
            return ContainerClient.from_connection_string(
                config.connection_string, config.container, credential=credential, **settings
            )
        return ContainerClient(config.url, config.container, credential=_credential(config), **settings)
    except (ValueError, TypeError) as error:
        # The client repeats what it was given in some of its messages.
        raise StoreConfigError(
            "cannot make an Azure client: check connection_string, account_url and account_key", backend="azure"
        ) from (None if config.connection_string else cause(error))


def _credential(config: AzureBlobConfig) -> Any:
    if config.account_key:
        name = config.account_name or config.url.partition("//")[2].partition(".")[0]
        return {"account_name": name, "account_key": config.account_key}
    if config.sas_token:
        from azure.core.credentials import AzureSasCredential

        return AzureSasCredential(config.sas_token.lstrip("?"))
    if config.credential is not None:
        return config.credential
    try:
        from azure.identity import DefaultAzureCredential
    except ImportError as error:
        raise StoreConfigError(
            "without account_key and sas_token the Azure store needs azure-identity: pip install 'truthstore[azure]'",
            backend="azure",
        ) from error
    return DefaultAzureCredential()


class AzureBlobs(CloudBlobs):
    """The blobs of a container below a prefix."""

    backend = "azure"
    scheme = "az"
    noun = "container"
    needs = "azure-storage-blob"

    def __init__(self, config: AzureBlobConfig, prefix: str = "") -> None:
        super().__init__(config.container, prefix)
        if not (config.connection_string or config.account_url or config.account_name):
            raise StoreConfigError("the azure store needs connection_string=, account_url= or account_name=")
        self._config = config
        self._metadata = {str(name): quote(str(value), safe=" /:,;+@") for name, value in config.metadata.items()}

    @property
    def account(self) -> str:
        """The account's address."""
        return str(self._client().primary_hostname)

    def _connect(self) -> Any:
        return connect(self._config)

    def _blob(self, key: str) -> Any:
        return self._client().get_blob_client(self._prefix + key)

    def get(self, key: str) -> tuple[bytes, Tag]:
        """Return the bytes and their etag: one request up to 32 MB."""

        def read(settings: dict[str, Any]) -> tuple[bytes, Tag]:
            answer = self._client().download_blob(self._prefix + key, **settings)
            return answer.readall(), answer.properties.etag

        return self._call("read", key, read)

    def put(self, key: str, data: bytes, *, expect: BlobExpect = ANY) -> Tag:
        """Store bytes: one request up to 64 MB."""
        return self._put(key, data, expect)

    def put_in_parts(self, key: str, data: bytes, *, expect: BlobExpect = ANY) -> Tag:
        """Store bytes in the way of larger ones."""
        return self._put(key, iter([data]), expect)

    def _put(self, key: str, data: bytes | Iterator[bytes], expect: BlobExpect) -> Tag:
        from azure.storage.blob import ContentSettings, StandardBlobTier

        kind = content_type(key) if is_index(key) else self._config.content_type or content_type(key)
        arguments: dict[str, Any] = {
            "content_settings": ContentSettings(content_type=kind),
            "overwrite": expect is not ABSENT,
            **self._condition(expect),
        }
        if self._metadata:
            arguments["metadata"] = self._metadata
        if self._config.access_tier and not is_index(key):
            arguments["standard_blob_tier"] = StandardBlobTier(self._config.access_tier)

        def write(settings: dict[str, Any]) -> Tag:
            return str(self._blob(key).upload_blob(data, **arguments, **settings)["etag"])

        return self._call("write", key, write, expect)

    def delete(self, key: str, *, expect: BlobExpect = ANY) -> bool:
        """Remove a key: one request."""
        arguments = self._condition(expect)
        try:
            self._call("remove", key, lambda settings: self._blob(key).delete_blob(**arguments, **settings), expect)
        except StoreNotFoundError:
            return False
        except StoreConflictError:
            # What is gone does not have that etag either.
            if self._call("remove", key, lambda _: self._blob(key).exists()):
                raise
            return False
        return True

    def _condition(self, expect: BlobExpect) -> dict[str, Any]:
        from azure.core import MatchConditions

        if expect is ANY or expect is ABSENT:
            return {}
        return {"etag": expect, "match_condition": MatchConditions.IfNotModified}

    def _page(self, prefix: str, start: str, token: Any) -> tuple[list[str], Any]:
        # The service has no start: names up to it are listed, too.
        def page(settings: dict[str, Any]) -> tuple[list[str], Any]:
            listed = self._client().list_blob_names(name_starts_with=prefix, results_per_page=PAGE, **settings)
            pages = listed.by_page(token)
            return list(next(pages, ())), pages.continuation_token

        return self._call("list", prefix[len(self._prefix) :], page)

    def set_access_tier(self, key: str, tier: str) -> None:
        """Move one blob to another tier.

        Raises:
            StoreNotFoundError: there is none.
            StoreConfigError: there is no such tier.
        """
        checked_tier(tier)
        self._call("change", key, lambda settings: self._blob(key).set_standard_blob_tier(tier, **settings))

    def set_class(self, key: str, name: str) -> None:
        """Move one blob to another tier that can be read at once."""
        if name == "Archive":
            raise StoreConfigError("items in the archive tier cannot be read at once: use Cold")
        self.set_access_tier(key, name)

    def classes(self, prefix: str) -> Iterator[tuple[str, str]]:
        """Iterate over the keys below a prefix and their tiers."""
        start = self._prefix + prefix
        found = self._call("list", prefix, lambda kw: list(self._client().list_blobs(name_starts_with=start, **kw)))
        for blob in found:
            yield blob.name[len(self._prefix) :], str(blob.blob_tier or "Hot")

    def _call(self, action: Action, key: str, request: Callable[[dict[str, Any]], R], expect: BlobExpect = ANY) -> R:
        """Make a request and report its failure in this library's terms."""
        from azure.core.exceptions import AzureError

        repeated: list[object] = []

        def note(**facts: object) -> None:
            repeated.append(facts.get("retry_count"))

        try:
            return request({"retry_hook": note})
        except AzureError as error:
            answered = getattr(error, "status_code", None) is not None
            meaning = azure_meaning(error)
            raise self._error(action, key, meaning, expect, repeated=bool(repeated) and answered) from cause(error)


class AzureBlobStore(CloudStore[T]):
    """Keeps items in a container of Azure Blob Storage. Any number of writers at once.

    The options are those of `AzureBlobConfig`, which may be handed over whole as `config`.
    """

    name: ClassVar[str] = "azure"
    config_type = AzureBlobConfig
    driver_type = AzureBlobs

    def __init__(
        self,
        config: AzureBlobConfig | None = None,
        *,
        collection: Collection[T] = RESULTS,  # type: ignore[assignment]
        **options: Any,
    ) -> None:
        super().__init__(config, collection=collection, **options)

    def set_access_tier(self, id: str, tier: str) -> None:
        """Move one item to another tier. An item in the archive tier cannot be read until it is moved back.

        Args:
            id: the item's id.
            tier: ``Hot``, ``Cool``, ``Cold`` or ``Archive``.

        Raises:
            StoreNotFoundError: there is no such item.
            StoreConfigError: there is no such tier.
        """
        checked_tier(tier)
        self._ready(self._collection)
        driver = self._driver
        assert isinstance(driver, AzureBlobs)
        try:
            driver.set_access_tier(self._key(self._collection, check_id(id)), tier)
        except StoreNotFoundError:
            raise StoreNotFoundError(self._collection.name, id, backend=self.name) from None
