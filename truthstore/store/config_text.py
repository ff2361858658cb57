"""What a YAML file says: variables, options of the types that are declared, and layers and their parts."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any, Final

import yaml

from truthstore.errors import StoreConfigError, echoed, nearest
from truthstore.store.config import Text, check_options, converted, declared_types
from truthstore.store.layer_names import layer_named

__all__ = ["Description", "read_yaml"]

MAX_VALUES: Final = 10_000
"""So many values at most has a file, each counted as often as aliases repeat it."""

MERGE: Final = "tag:yaml.org,2002:merge"
NO_KINDS: Final = {
    *("Any", "Callable", "Iterable", "Mapping", "None", "Sequence", "_empty"),
    *("bool", "bytes", "dict", "float", "int", "list", "set", "str", "tuple"),
}
"""Words of an annotation that name no class of which a file could make an object."""

_VARIABLE: Final = re.compile(r"\$(\$)|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-((?:(?!\$\{)[^}])*))?\}|(\$\{\w*)")


def read_yaml(text: str, source: str) -> Any:
    """Return what a YAML document says. Messages show none of its values, for any may be a secret.

    Raises:
        StoreConfigError: it is not YAML, has a key twice, or repeats itself without bound.
    """
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        problem = _repetition(node, loader)
        if not problem:
            return loader.construct_document(node)
    except RecursionError:
        problem = "is nested too deeply"
    except Exception as error:  # noqa: BLE001  # for a date that cannot be, PyYAML raises whatever Python did
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = f"is not YAML{place}: quote values with special characters"
    raise StoreConfigError(f"{source} {problem}")


def _repetition(root: yaml.Node, loader: yaml.SafeLoader) -> str:
    """Return what is wrong with the keys of a document, or with its size; the size is computed, and nothing expanded."""
    seen: set[str]
    sizes: dict[yaml.Node, int] = {}

    def size(node: yaml.Node) -> int:
        if node not in sizes:
            sizes[node] = MAX_VALUES  # for a value that holds itself
            inner = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
            sizes[node] = 1 if isinstance(node, yaml.ScalarNode) else 1 + sum(map(size, inner))
        return sizes[node]

    if size(root) > MAX_VALUES:
        return f"has more than {MAX_VALUES:,} values, aliases repeated"
    for node in sizes:
        seen = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if not isinstance(key, yaml.ScalarNode) or key.tag == MERGE:
                continue
            # As `interpolated` writes it: yes and true are one key.
            if (name := str(loader.construct_object(key))) in seen:
                return f"has the key {key.value!r} a second time at line {key.start_mark.line + 1}"
            seen.add(name)
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """How the parts of a file are read.

    Attributes:
        source: the file, for messages.
        environment: where variables are looked up.
        allowed: modules whose classes the file may name.
    """

    source: str
    environment: Mapping[str, str]
    allowed: tuple[str, ...]

    def interpolated(self, value: Any) -> Any:
        """Return a value with its variables replaced, at any depth.

        Raises:
            StoreConfigError: a variable is not set, or a reference is malformed.
        """
        if isinstance(value, dict):
            return {str(name): self.interpolated(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [self.interpolated(inner) for inner in value]
        if not isinstance(value, str):
            return value
        result = _VARIABLE.sub(self._variable, value)
        # A value that is one variable means what it would mean in its place: a number, true or false.
        whole = _VARIABLE.fullmatch(value)
        return Text(result) if whole is not None and not whole[1] else result

    def _variable(self, found: re.Match[str]) -> str:
        dollar, name, default, malformed = found.groups()
        if dollar:
            return "$"
        if malformed:
            # No more of it is shown: a default may be a secret.
            raise StoreConfigError(
                f"{self.source}: '{malformed}…' is no reference: "
                "write ${NAME} or ${NAME:-default}, and $${ for ${ itself"
            )
        result = self.environment.get(name)
        if not result and default is not None:
            return str(default)
        if result is None:
            raise StoreConfigError(f"{self.source}: the environment variable {name} is not set")
        return result

    def layer(self, entry: Any) -> Callable[..., Any]:
        """Return the layer that an entry describes: a name, or a mapping with ``layer`` and its options.

        Raises:
            StoreConfigError: there is no such layer, it may not be named here, or a variable is not set.
        """
        entry = self.interpolated(entry)
        options = dict(entry) if isinstance(entry, dict) else {"layer": entry}
        name = options.pop("layer", None)
        if not isinstance(name, str):
            raise StoreConfigError(f"{self.source}: a layer is a name, or a mapping with the key 'layer'")
        if ":" in name:
            wrapper = self._class(name, "WrapperStore")
        else:
            try:
                wrapper = layer_named(name)
            except StoreConfigError as error:
                raise StoreConfigError(f"{self.source}: {error}, or 'import.path:Class'") from error.__cause__
        return partial(wrapper, **self._options(wrapper, options))

    def _options(self, target: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
        declared = declared_types(target)
        try:
            check_options(target, options, target.__name__)
        except StoreConfigError as error:
            raise StoreConfigError(f"{self.source}: {error}") from None
        return converted(target, {name: self._made(v, declared.get(name, "")) for name, v in options.items()})

    def _made(self, value: Any, declared: str) -> Any:
        """Replace each mapping with a ``type`` that names a class by an object of it: a policy, a cache, a sink."""
        if isinstance(value, list):
            return [self._made(inner, declared) for inner in value]
        if not isinstance(value, dict):
            return value
        name = value.get("type")
        if not isinstance(name, str) or ":" not in name or not _kinds(declared):
            return {key: self._made(inner, declared) for key, inner in value.items()}
        kind = self._class(name, declared)
        return kind(**self._options(kind, {key: inner for key, inner in value.items() if key != "type"}))

    def _class(self, name: str, declared: str) -> type:
        """Return a class by its import path, if it may be named here and is of the kind that an option declares."""
        place, _, attribute = name.partition(":")
        self._check_allowed(place)
        try:
            module = importlib.import_module(place)
            found = getattr(module, attribute, None)
        except ImportError as error:
            missing = getattr(error, "name", None)
            if missing and f"{place}.".startswith(f"{missing}."):  # the message would show it
                raise StoreConfigError(f"{self.source}: {_shown_module(place)} has no such module") from None
            raise StoreConfigError(f"{self.source}: {name!r} cannot be loaded: {error}") from error
        if not isinstance(found, type):
            names = {
                name for name, value in vars(module).items() if isinstance(value, type) and _is_of(value, declared)
            }
            shown, hint = echoed(attribute, dir(module)), nearest(attribute, names, "there are")
            raise StoreConfigError(f"{self.source}: {place} has no class {shown}: {hint}")
        self._check_allowed(found.__module__)
        if not _is_of(found, declared):
            raise StoreConfigError(f"{self.source}: {name!r} is no {declared}")
        return found

    def _check_allowed(self, module: str) -> None:
        if not any(f"{module}.".startswith(f"{allowed}.") for allowed in ("truthstore", *self.allowed)):
            shown = _shown_module(module)
            raise StoreConfigError(
                f"{self.source}: a class of {shown} is not of truthstore: if you trust this file, "
                f"open_store(…, allow=[{shown}]) lets it name classes of that module"
            )


def _shown_module(name: str) -> str:
    """Return a module for a message: itself if it is loaded, or else its package; what is neither may be a secret."""
    top = name.partition(".")[0]
    known = name if name in sys.modules else top if top.isidentifier() and find_spec(top) else "…"
    return repr(known)


def _is_of(found: type, declared: str) -> bool:
    return not _kinds(declared).isdisjoint(base.__name__ for base in found.__mro__)


def _kinds(declared: str) -> set[str]:
    return set(re.findall(r"\w+", declared)) - NO_KINDS
