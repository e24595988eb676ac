"""Handlers of langgraph_sdk.Auth: what they are given, which one decides, what the answer means."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from langgraph_sdk import Auth

from distgraph.serve.auth_handlers import AuthHandlers, Refused
from distgraph.serve.errors import ProjectError, RequestError
from distgraph.serve.users import User, as_user, shown_user


def handlers(auth: Auth) -> AuthHandlers:
    return AuthHandlers(auth, "auth.py:auth")


def with_user(auth: Auth) -> AuthHandlers:
    @auth.authenticate
    async def authenticate(authorization: str) -> str:
        return authorization

    return handlers(auth)


def asked(of: AuthHandlers, resource: str, action: str, value: dict[str, Any] | None = None) -> Any:
    user = as_user({"identity": "ann", "permissions": ["write"]})
    return anyio.run(of.authorize, user, resource, action, {} if value is None else value)


# --- authenticate ---------------------------------------------------------------------------------


def test_authenticate_is_given_what_its_parameters_name() -> None:
    auth = Auth()

    @auth.authenticate
    async def authenticate(headers: dict[bytes, bytes], path: str) -> str:
        return f"{path} {headers[b'x-user'].decode()}"

    of = handlers(auth)
    assert of.wanted == {"headers", "path"}
    user = anyio.run(of.authenticate, {"headers": {b"x-user": b"ann"}, "path": "/threads"})
    assert user.identity == "/threads ann"


def test_authenticate_may_be_no_coroutine() -> None:
    auth = Auth()
    auth.authenticate(lambda authorization: {"identity": authorization})  # type: ignore[arg-type]
    assert anyio.run(handlers(auth).authenticate, {"authorization": "ann"}).identity == "ann"


def test_a_parameter_that_nobody_gives_is_an_error_at_the_start() -> None:
    auth = Auth()

    @auth.authenticate
    async def authenticate(token: str) -> str:
        return token

    with pytest.raises(ProjectError, match="asks for 'token', and may ask for request, body, path"):
        handlers(auth)


def test_an_auth_without_authenticate_is_an_error_at_the_start() -> None:
    with pytest.raises(ProjectError, match=r"auth.py:auth has no @authenticate"):
        handlers(Auth())


def test_something_else_is_an_error_at_the_start() -> None:
    with pytest.raises(ProjectError, match="is dict, and must be a langgraph_sdk.Auth"):
        AuthHandlers({}, "auth.py:auth")


@pytest.mark.parametrize(
    ("raised", "status", "detail"),
    [
        (Auth.exceptions.HTTPException(), 401, "Unauthorized"),
        (Auth.exceptions.HTTPException(status_code=402, detail="pay"), 402, "pay"),
        (AssertionError("no token"), 401, "no token"),
        (RuntimeError("secret of the database"), 500, "Internal Server Error"),
    ],
)
def test_a_refusal_of_authenticate_reaches_the_client_and_a_failure_does_not(
    raised: Exception, status: int, detail: str
) -> None:
    auth = Auth()

    @auth.authenticate
    async def authenticate() -> str:
        raise raised

    with pytest.raises(Refused) as refused:
        anyio.run(handlers(auth).authenticate, {})
    assert (refused.value.status, refused.value.detail) == (status, detail)


def test_headers_of_a_refusal_reach_the_client() -> None:
    auth = Auth()

    @auth.authenticate
    async def authenticate() -> str:
        raise Auth.exceptions.HTTPException(headers={"WWW-Authenticate": "Bearer"})

    with pytest.raises(Refused) as refused:
        anyio.run(handlers(auth).authenticate, {})
    assert refused.value.headers == {"WWW-Authenticate": "Bearer"}


def test_a_user_has_attributes_and_keys() -> None:
    user = as_user({"identity": "ann", "org": "acme", "permissions": ("read",)})
    assert (user.identity, user.display_name, user.is_authenticated) == ("ann", "ann", True)
    assert (user.org, user["org"], user["permissions"]) == ("acme", "acme", ["read"])
    assert "org" in user
    assert "missing" not in user
    assert set(user) == {"identity", "display_name", "is_authenticated", "permissions", "org"}
    assert shown_user(user) == {
        "identity": "ann",
        "display_name": "ann",
        "is_authenticated": True,
        "permissions": ["read"],
        "org": "acme",
    }
    with pytest.raises(AttributeError, match="'ann' has no 'missing'"):
        user.missing


def test_a_user_of_the_handlers_own_class_is_kept() -> None:
    class Own:
        identity = "ann"

    own = Own()
    assert as_user(own) is own
    assert shown_user(own) == {"identity": "ann"}


@pytest.mark.parametrize("given", [None, {}, {"name": "ann"}, 3])
def test_a_user_without_an_identity_is_a_failure(given: Any) -> None:
    with pytest.raises(TypeError, match="authenticate returned"):
        as_user(given)


# --- authorize ------------------------------------------------------------------------------------


def test_without_a_handler_everything_is_allowed() -> None:
    assert asked(with_user(Auth()), "threads", "read") is None


def test_the_most_specific_handler_decides() -> None:
    auth = Auth()

    @auth.on
    async def everything(ctx: Any, value: Any) -> bool:
        return False

    @auth.on.threads
    async def threads(ctx: Any, value: Any) -> dict[str, Any]:
        return {"by": "resource"}

    @auth.on.threads.create
    async def create(ctx: Any, value: Any) -> dict[str, Any]:
        return {"by": "action"}

    @auth.on(actions="search")
    async def search(ctx: Any, value: Any) -> dict[str, Any]:
        return {"by": "any resource"}

    of = with_user(auth)
    assert asked(of, "threads", "create") == {"by": "action"}
    assert asked(of, "threads", "read") == {"by": "resource"}
    assert asked(of, "assistants", "search") == {"by": "any resource"}
    with pytest.raises(RequestError) as refused:
        asked(of, "store", "put")
    assert refused.value.status == 403


def test_a_handler_knows_who_asks_for_what() -> None:
    auth, seen = Auth(), []

    @auth.on
    async def everything(ctx: Any, value: Any) -> None:
        seen.append((ctx.user.identity, list(ctx.permissions), ctx.resource, ctx.action, value))

    asked(with_user(auth), "threads", "read", {"thread_id": "t"})
    assert seen == [("ann", ["write"], "threads", "read", {"thread_id": "t"})]


def test_a_handler_may_change_what_is_written() -> None:
    auth = Auth()

    @auth.on.threads.create
    async def create(ctx: Any, value: Any) -> dict[str, Any]:
        value.setdefault("metadata", {})["owner"] = ctx.user.identity
        return {"owner": ctx.user.identity}

    value: dict[str, Any] = {}
    assert asked(with_user(auth), "threads", "create", value) == {"owner": "ann"}
    assert value == {"metadata": {"owner": "ann"}}


@pytest.mark.parametrize(
    ("raised", "status", "detail"),
    [
        (Auth.exceptions.HTTPException(status_code=404, detail="none"), 404, "none"),
        (AssertionError("not yours"), 403, "not yours"),
        (RuntimeError("secret"), 500, "Internal Server Error"),
    ],
)
def test_a_handler_that_raises_refuses(raised: Exception, status: int, detail: str) -> None:
    auth = Auth()

    @auth.on
    async def everything(ctx: Any, value: Any) -> None:
        raise raised

    with pytest.raises(RequestError) as refused:
        asked(with_user(auth), "threads", "read")
    assert (refused.value.status, refused.value.detail) == (status, detail)


@pytest.mark.parametrize(
    "result", [{"owner": {"$eq": "a"}}, {"who": {"$contains": ["a", "b"]}}, {"owner": "a"}, {}]
)
def test_filters_are_passed_on(result: Any) -> None:
    auth = Auth()

    @auth.on
    async def everything(ctx: Any, value: Any) -> Any:
        return result

    assert asked(with_user(auth), "threads", "search") == result


@pytest.mark.parametrize("result", ["yes", 1, {"owner": {"$gt": 1}}, {"owner": {}}, {1: "a"}])
def test_an_answer_that_means_nothing_allows_nothing(result: Any) -> None:
    auth = Auth()

    @auth.on
    async def everything(ctx: Any, value: Any) -> Any:
        return result

    with pytest.raises(RequestError) as refused:
        asked(with_user(auth), "threads", "search")
    assert refused.value.status == 500


def test_a_studio_user_is_one_to_handlers() -> None:
    auth = Auth()

    @auth.on
    async def only_studio(ctx: Any, value: Any) -> bool:
        return isinstance(ctx.user, Auth.types.StudioUser)

    of = with_user(auth)
    studio = Auth.types.StudioUser("studio", is_authenticated=True)
    assert anyio.run(of.authorize, studio, "threads", "read", {}) is None
    with pytest.raises(RequestError):
        anyio.run(of.authorize, User({"identity": "ann"}), "threads", "read", {})
