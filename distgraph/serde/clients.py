"""Pickling of clients of HTTP APIs: settings are copied, connections are opened anew.

An ``httpx`` transport of another kind (for tests, for an application in this process) is part of
the client, and is pickled as any object is.

``openai`` and other SDKs of the same make (``anthropic``, ``groq``, …) keep what their constructor
was given under its own names, but for those in ``_ATTRIBUTES``.
"""

from __future__ import annotations

import importlib
import inspect
from typing import Any

from distgraph.errors import SerializationError

_ENDPOINT = ("base_url", "organization", "project", "webhook_secret")
"""Settings that a client may have read from environment variables of its process."""


def _refuse(obj: Any, why: str) -> SerializationError:
    cls = type(obj)
    name = f"{cls.__module__.partition('.')[0]}.{cls.__qualname__}"
    return SerializationError(
        f"{name} cannot be sent to another process: {why}. Remedy: create the client inside the "
        f"node, or tell how it travels with distgraph.register_serializer({cls.__qualname__}, ...)"
    )


# --- API clients ---------------------------------------------------------------------------------

_ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "api_key": ("_api_key_provider", "api_key"),
    "provider": ("_provider",),
    "data_residency": (),
    "timeout": ("timeout",),
    "default_headers": ("_custom_headers",),
    "default_query": ("_custom_query",),
    "api_version": ("_api_version",),
    "azure_endpoint": ("_azure_endpoint",),
    "azure_deployment": ("_azure_deployment",),
    "azure_ad_token": ("_azure_ad_token",),
    "azure_ad_token_provider": ("_azure_ad_token_provider",),
    "_enforce_credentials": (),
}
"""Attributes that hold a constructor argument, if the attribute has another name than the
argument."""


def _settings(client: Any) -> dict[str, Any]:
    """Return the constructor's arguments that make a client like this one."""
    settings: dict[str, Any] = {}
    for name, parameter in inspect.signature(type(client).__init__).parameters.items():
        if name in ("self", "http_client") or parameter.kind in (
            parameter.VAR_POSITIONAL,
            parameter.VAR_KEYWORD,
        ):
            continue
        for attribute in _ATTRIBUTES.get(name, (name,)):
            value = getattr(client, attribute, None)
            if value is not None:
                settings[name] = value
                break
        else:
            if parameter.default is parameter.empty:
                raise _refuse(client, f"its argument {name!r} cannot be read back")
    settings = {k: str(v) if type(v).__name__ == "URL" else v for k, v in settings.items()}
    settings["timeout"] = client.timeout  # None means no limit, not the default
    if "azure_endpoint" in settings:
        # the deployment's URL is made from the endpoint, and both at once are refused
        settings.pop("base_url", None)
    if settings.get("provider") is not None:
        for name in ("api_key", "admin_api_key", "workload_identity", "base_url"):
            settings.pop(name, None)
    elif settings.get("workload_identity") is not None:
        settings.pop("api_key", None)
    return settings


def _make_client(cls: type, settings: dict[str, Any]) -> Any:
    return cls(**settings)


def reduce_api_client(client: Any) -> Any:
    """Reduce ``openai.OpenAI``, ``AsyncOpenAI``, their Azure kin and subclasses."""
    settings = _settings(client)
    http = getattr(client, "_client", None)
    if http is not None and not _is_own_default(http):
        settings["http_client"] = http
    return _make_client, (type(client), settings)


def _is_own_default(http: Any) -> bool:
    cls = type(http)
    return is_sdk(cls) and cls.__name__ in ("SyncHttpxClientWrapper", "AsyncHttpxClientWrapper")


def is_sdk(cls: type) -> bool:
    """Return whether a class is part of the base that these SDKs share."""
    return cls.__module__.endswith("._base_client")


def api_client(value: Any) -> Any:
    """Return the API client that ``value`` is or, as a resource of it, belongs to."""
    for candidate in (value, getattr(value, "_client", None)):
        if any(c.__name__ == "BaseClient" and is_sdk(c) for c in type(candidate).__mro__):
            return candidate
    return None


def endpoint(client: Any) -> dict[str, Any]:
    """Return where an API client points, as plain data."""
    found = {name: getattr(client, name, None) for name in _ENDPOINT}
    return {name: str(value) for name, value in found.items() if value is not None}


def point(client: Any, settings: dict[str, Any]) -> None:
    """Make an API client point where another one did."""
    for name, value in settings.items():
        if str(getattr(client, name, None)) != value:
            setattr(client, name, value)


# --- httpx ---------------------------------------------------------------------------------------

_HTTPX_CLASSES = frozenset(
    {"Client", "AsyncClient", "_DefaultHttpxClient", "_DefaultAsyncHttpxClient"}
)
_TRANSPORTS = frozenset({"HTTPTransport", "AsyncHTTPTransport"})


def _package(cls: type) -> str:
    """Return ``httpx`` or ``httpx2``."""
    tops = (base.__module__.partition(".")[0] for base in cls.__mro__)
    return next(top for top in tops if top in ("httpx", "httpx2"))  # openai renames some bases


def _own_base(cls: type) -> type:
    """Return the class of httpx, or of an SDK, that a client or transport is derived from."""
    package, names = _package(cls), _HTTPX_CLASSES | _TRANSPORTS
    return next(
        b
        for b in cls.__mro__
        if b.__name__ in names and (b.__module__.partition(".")[0] == package or is_sdk(b))
    )


def _verifies(owner: Any, context: Any) -> bool:
    """Return whether certificates are verified; refuse certificates other than the default ones.

    A client certificate cannot be seen from here: such a client fails to connect on the worker.
    """
    if context is None:
        return True
    if not context.verify_mode:
        return False
    usual = importlib.import_module(_package(type(owner))).create_ssl_context()
    if type(usual) is not type(context) or (
        usual.get_ca_certs(binary_form=True) != context.get_ca_certs(binary_form=True)
    ):
        raise _refuse(owner, "it trusts certificates of its own")
    return True


def _of_pool(owner: Any, pool: Any) -> dict[str, Any]:
    """Return the settings of the connections of a transport."""
    return {
        "verify": _verifies(owner, pool._ssl_context),
        "http1": pool._http1,
        "http2": pool._http2,
        "limits": {
            "max_connections": pool._max_connections,
            "max_keepalive_connections": pool._max_keepalive_connections,
            "keepalive_expiry": pool._keepalive_expiry,
        },
    }


_CONNECT = ("uds", "local_address", "retries", "socket_options")
"""Settings of a transport that a client without a transport does not take."""


def _is_own_transport(transport: Any) -> bool:
    """Whether a client without settings of connections makes such a transport itself."""
    cls, pool = type(transport), getattr(transport, "_pool", None)
    return (
        cls.__name__ in _TRANSPORTS
        and cls.__module__.partition(".")[0] == _package(cls)
        and type(pool).__name__.endswith("ConnectionPool")
        and not any(getattr(pool, f"_{name}") for name in _CONNECT)
    )


def _proxy(transport: Any, pool: Any) -> dict[str, Any] | None:
    url = getattr(pool, "_proxy_url", None)
    if url is None:
        return None
    if getattr(pool, "_proxy_ssl_context", None) is not None:
        raise _refuse(transport, "it trusts certificates of its own for its proxy")
    named = f"{url.scheme.decode()}://{url.host.decode()}"
    return {
        "url": named if url.port is None else f"{named}:{url.port}",
        "auth": getattr(pool, "_proxy_auth", None),
        "headers": list(getattr(pool, "_proxy_headers", ())),
    }


def reduce_transport(transport: Any) -> Any:
    """Reduce ``httpx.HTTPTransport`` and ``AsyncHTTPTransport``: the receiver connects anew.

    A class derived from them keeps its own attributes.
    """
    try:
        pool = transport._pool
        settings = _of_pool(transport, pool)
        settings |= {name: getattr(pool, f"_{name}") for name in _CONNECT}
        settings["proxy"] = _proxy(transport, pool)
    except AttributeError as exc:
        raise _refuse(transport, f"its settings cannot be read back ({exc})") from exc
    own = {name: value for name, value in vars(transport).items() if name != "_pool"}
    return _make_transport, (type(transport), settings, own)


def _make_transport(cls: Any, settings: dict[str, Any], own: dict[str, Any]) -> Any:
    module = importlib.import_module(_package(cls))
    proxy = settings["proxy"]
    if proxy is not None:
        settings["proxy"] = module.Proxy(**proxy)
    settings["limits"] = module.Limits(**settings["limits"])
    made = cls.__new__(cls)
    _own_base(cls).__init__(made, **settings)  # type: ignore[misc]
    made.__dict__.update(own)
    return made


def _make_httpx(cls: Any, settings: dict[str, Any], own: dict[str, Any]) -> Any:
    module = importlib.import_module(_package(cls))
    settings["timeout"] = module.Timeout(**settings["timeout"])
    if "limits" in settings:
        settings["limits"] = module.Limits(**settings["limits"])
    made = cls.__new__(cls)
    _own_base(cls).__init__(made, **settings)  # type: ignore[misc]
    made.__dict__.update(own)
    return made


def reduce_httpx(client: Any) -> Any:
    """Reduce ``httpx.Client`` and ``AsyncClient``, with their transports and mounts.

    A class derived from them keeps its own attributes.
    """
    cls = type(client)
    try:
        settings = {
            "base_url": str(client._base_url),
            "auth": client._auth,
            "params": client._params.multi_items(),
            "headers": client._headers.multi_items(),
            "cookies": dict(client._cookies),
            "timeout": client._timeout.as_dict(),
            "follow_redirects": client.follow_redirects,
            "max_redirects": client.max_redirects,
            "event_hooks": {k: list(v) for k, v in client._event_hooks.items()},
            "trust_env": client._trust_env,
            "default_encoding": client._default_encoding,
            "mounts": {k.pattern: v for k, v in client._mounts.items()},
        }
        transport = client._transport
        if _is_own_transport(transport):
            settings |= _of_pool(client, transport._pool)
        else:
            settings["transport"] = transport
    except AttributeError as exc:
        raise _refuse(client, f"its settings cannot be read back ({exc})") from exc
    base: Any = _own_base(cls)
    known = frozenset() if cls is base else vars(base(transport=transport)).keys()
    own = {k: v for k, v in vars(client).items() if k not in known} if known else {}
    return _make_httpx, (cls, settings, own)
