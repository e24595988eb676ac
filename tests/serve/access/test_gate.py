"""The gate: keys, handlers, bounds, web pages. The application behind it says who asked."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from langgraph_sdk import Auth
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from distgraph.__main__ import main
from distgraph.serve.access import Rules, access_of, api_keys, check_host
from distgraph.serve.auth_handlers import AuthHandlers
from distgraph.serve.errors import ProjectError
from distgraph.serve.limits import Limits, RequestRate
from distgraph.serve.project import read_project

OK = {"x-api-key": "secret"}


async def who(request: Request) -> JSONResponse:
    body = await request.body()
    headers = {"location": "/here"}
    return JSONResponse({"user": request.user.identity, "bytes": len(body)}, headers=headers)


async def talk(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_json({"user": socket.user.identity})
    with suppress(WebSocketDisconnect):
        await socket.send_json({"got": await socket.receive_text()})


def client(rules: Rules) -> TestClient:
    routes = [
        Route("/ok", who),
        Route("/threads/{thread_id}", who, methods=["GET", "POST"]),
        WebSocketRoute("/socket", talk),
    ]
    return TestClient(Starlette(routes=routes, middleware=rules.middleware()))


def auth() -> AuthHandlers:
    made = Auth()

    @made.authenticate
    async def authenticate(authorization: str | None, path_params: dict[str, str]) -> Any:
        if not authorization:
            raise Auth.exceptions.HTTPException(detail="say who you are")
        return {"identity": f"{authorization} {path_params.get('thread_id', '')}".strip()}

    return AuthHandlers(made, "auth.py:auth")


# --- keys and handlers ----------------------------------------------------------------------------


def test_without_keys_everybody_may_ask() -> None:
    assert client(Rules()).get("/threads/t").json() == {"user": "", "bytes": 0}


@pytest.mark.parametrize(
    "headers", [OK, {"authorization": "Bearer secret"}, {"authorization": "bearer secret"}]
)
def test_a_key_opens(headers: dict[str, str]) -> None:
    answer = client(Rules(keys=["other", "secret"])).get("/threads/t", headers=headers)
    assert answer.json()["user"] == "api-key"


@pytest.mark.parametrize(
    "headers", [{}, {"x-api-key": "wrong"}, {"x-api-key": ""}, {"authorization": "Basic secret"}]
)
def test_a_wrong_key_does_not(headers: dict[str, str]) -> None:
    answer = client(Rules(keys=["secret"])).get("/threads/t", headers=headers)
    assert answer.status_code == 401
    assert answer.json() == {
        "detail": "the API key is missing or wrong: send it as header x-api-key"
    }


def test_the_answer_that_the_server_is_there_needs_no_key() -> None:
    assert client(Rules(keys=["secret"])).get("/ok").status_code == 200


def test_a_path_that_does_not_exist_needs_a_key_too() -> None:
    assert client(Rules(keys=["secret"])).get("/nothing").status_code == 401


def test_authenticate_says_who_asks_and_knows_the_ids_of_the_path() -> None:
    answer = client(Rules(handlers=auth())).get("/threads/t1", headers={"authorization": "ann"})
    assert answer.json()["user"] == "ann t1"


def test_a_refusal_of_authenticate_is_the_answer() -> None:
    answer = client(Rules(handlers=auth())).get("/threads/t1")
    assert (answer.status_code, answer.json()) == (401, {"detail": "say who you are"})


def test_authenticate_may_read_the_body_which_the_application_gets_as_well() -> None:
    made = Auth()

    @made.authenticate
    async def authenticate(body: dict[str, Any], request: Request) -> str:
        return f"{body['who']} {(await request.json())['who']}"

    rules = Rules(handlers=AuthHandlers(made, "auth.py:auth"))
    answer = client(rules).post("/threads/t", json={"who": "ann"})
    assert answer.json() == {"user": "ann ann", "bytes": 13}


def test_a_user_who_is_not_authenticated_is_refused() -> None:
    made = Auth()

    @made.authenticate
    async def authenticate() -> dict[str, Any]:
        return {"identity": "ann", "is_authenticated": False}

    answer = client(Rules(handlers=AuthHandlers(made, "a"))).get("/threads/t")
    assert answer.status_code == 401


@pytest.mark.parametrize(("studio", "user"), [(True, "studio"), (False, "api-key")])
def test_beside_handlers_a_key_is_that_of_studio(studio: bool, user: str) -> None:
    rules = Rules(keys=["secret"], handlers=auth(), studio=studio)
    assert client(rules).get("/threads/t", headers=OK).json()["user"] == user


def test_a_failure_of_authenticate_says_nothing_of_itself() -> None:
    made = Auth()

    @made.authenticate
    async def authenticate() -> str:
        raise RuntimeError("password of the database")

    answer = client(Rules(handlers=AuthHandlers(made, "a"))).get("/threads/t")
    assert (answer.status_code, answer.json()) == (500, {"detail": "Internal Server Error"})


# --- WebSockets -----------------------------------------------------------------------------------


def test_a_websocket_needs_the_same_key() -> None:
    with client(Rules(keys=["secret"])).websocket_connect("/socket", headers=OK) as socket:
        assert socket.receive_json() == {"user": "api-key"}


def test_a_websocket_that_is_refused_closes_with_the_status() -> None:
    socket: Any
    to = client(Rules(keys=["secret"]))
    with to.websocket_connect("/socket") as socket, pytest.raises(WebSocketDisconnect) as closed:
        socket.receive_json()
    assert closed.value.code == 4401


def test_a_message_that_is_too_large_closes_the_websocket() -> None:
    with client(Rules(limits=Limits(max_body=10))).websocket_connect("/socket") as socket:
        assert socket.receive_json() == {"user": ""}
        socket.send_text("x" * 11)
        with pytest.raises(WebSocketDisconnect):
            socket.receive_json()


# --- bounds ---------------------------------------------------------------------------------------


def test_a_body_of_the_largest_size_passes_and_one_byte_more_does_not() -> None:
    to = client(Rules(limits=Limits(max_body=10)))
    assert to.post("/threads/t", content=b"x" * 10).json()["bytes"] == 10
    answer = to.post("/threads/t", content=b"x" * 11)
    assert answer.status_code == 413
    assert "more than 10 bytes" in answer.json()["detail"]


def test_a_body_that_does_not_say_its_size_is_bounded_too() -> None:
    to = client(Rules(limits=Limits(max_body=10)))
    answer = to.post("/threads/t", content=iter([b"x" * 6, b"x" * 6]))
    assert answer.status_code == 413


def test_a_user_who_asks_too_often_waits() -> None:
    to = client(Rules(keys=["secret"], limits=Limits(requests_per_minute=2)))
    assert [to.get("/threads/t", headers=OK).status_code for _ in range(3)] == [200, 200, 429]
    answer = to.get("/threads/t", headers=OK)
    assert answer.headers["retry-after"] == "30"
    assert answer.json()["detail"].startswith("more than 2 requests a minute: try again in")


def test_users_do_not_share_their_rate() -> None:
    to = client(Rules(handlers=auth(), limits=Limits(requests_per_minute=1)))
    ann, bob = ({"authorization": name} for name in ("ann", "bob"))
    statuses = [to.get("/threads/t", headers=h).status_code for h in (ann, bob, ann)]
    assert statuses == [200, 200, 429]


def test_guessing_of_keys_is_counted() -> None:
    to = client(Rules(keys=["secret"], limits=Limits(requests_per_minute=2)))
    guesses = [to.get("/threads/t", headers={"x-api-key": str(n)}).status_code for n in range(3)]
    assert guesses == [401, 401, 429]
    assert to.get("/threads/t", headers=OK).status_code == 200


def test_a_rate_fills_up_with_time() -> None:
    now = [0.0]
    rate = RequestRate(60, clock=lambda: now[0])
    assert [rate.take("a") for _ in range(60)] == [0.0] * 60
    assert rate.take("a") == pytest.approx(1.0)
    now[0] = 1.0
    assert [rate.take("a"), rate.take("a")] == [0.0, pytest.approx(1.0)]


def test_limits_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTGRAPH_MAX_BODY_BYTES", "100")
    monkeypatch.setenv("DISTGRAPH_REQUESTS_PER_MINUTE", "60")
    assert Limits.from_environment() == Limits(100, 60)


@pytest.mark.parametrize("text", ["0", "-1", "many", "1.5"])
def test_a_limit_that_is_no_number_is_an_error(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTGRAPH_REQUESTS_PER_MINUTE", text)
    with pytest.raises(ProjectError, match="DISTGRAPH_REQUESTS_PER_MINUTE must be a whole number"):
        Limits.from_environment()


# --- web pages ------------------------------------------------------------------------------------


def preflight(rules: Rules, origin: str = "https://chat.example") -> Any:
    return client(rules).options(
        "/threads/t",
        headers={
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "x-api-key,content-type",
            "Access-Control-Request-Private-Network": "true",
        },
    )


def test_a_preflight_needs_no_key_and_allows_what_clients_send() -> None:
    answer = preflight(Rules(keys=["secret"]))
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "x-api-key" in answer.headers["access-control-allow-headers"]
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert answer.headers["access-control-allow-private-network"] == "true"
    assert answer.headers["access-control-max-age"] == "600"


@pytest.mark.parametrize("key", ["secret", "wrong"], ids=["answer", "refusal"])
def test_a_page_may_read_what_clients_read(key: str) -> None:
    answer = client(Rules(keys=["secret"])).get(
        "/threads/t", headers={"Origin": "https://chat.example", "x-api-key": key}
    )
    assert answer.headers["access-control-allow-origin"] == "*"
    assert set(answer.headers["access-control-expose-headers"].split(", ")) == {
        "content-location",
        "location",
        "x-pagination-total",
        "x-pagination-next",
    }


def test_the_pages_that_may_ask_can_be_named() -> None:
    rules = Rules(cors={"allow_origins": ["https://chat.example"], "allow_credentials": True})
    assert preflight(rules).headers["access-control-allow-origin"] == "https://chat.example"
    assert preflight(rules, "https://evil.example").status_code == 400


def test_headers_of_the_project_are_exposed_beside_those_of_clients() -> None:
    rules = Rules(cors={"expose_headers": ["X-Mine"]})
    answer = client(rules).get("/threads/t", headers={"Origin": "https://chat.example"})
    exposed = answer.headers["access-control-expose-headers"].split(", ")
    assert {"x-mine", "location"} <= set(exposed)


# --- projects -------------------------------------------------------------------------------------


def test_keys_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTGRAPH_API_KEY", "one, two,")
    assert api_keys() == ("one", "two")


def test_a_project_names_its_handlers(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISTGRAPH_API_KEY", raising=False)
    (tmp_path / "own_auth_handlers.py").write_text(
        "from langgraph_sdk import Auth\nauth = Auth()\n"
        "@auth.authenticate\nasync def authenticate(authorization): return 'ann'\n"
    )
    (tmp_path / "langgraph.json").write_text(
        '{"graphs": {"g": "./g.py:graph"}, "auth": {"path": "./own_auth_handlers.py:auth", '
        '"disable_studio_auth": true}}'
    )
    monkeypatch.syspath_prepend(tmp_path)
    rules = access_of(read_project(tmp_path / "langgraph.json"))
    assert (rules.asks, rules.studio) == (True, False)
    assert client(rules).get("/threads/t").json()["user"] == "ann"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.0.0.5"])
def test_on_this_machine_no_key_is_needed(host: str) -> None:
    check_host(host, Rules())


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "server.example", ""])
def test_where_others_reach_the_server_a_key_is_needed(host: str) -> None:
    with pytest.raises(ProjectError, match="set DISTGRAPH_API_KEY or give --api-key"):
        check_host(host, Rules())
    check_host(host, Rules(keys=["secret"]))
    check_host(host, Rules(handlers=auth()))


# --- the command ----------------------------------------------------------------------------------


def test_the_command_refuses_to_listen_where_others_reach_it_without_a_key(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DISTGRAPH_API_KEY", raising=False)
    (tmp_path / "langgraph.json").write_text('{"graphs": {"g": "./g.py:graph"}}')
    arguments = ["serve", str(tmp_path / "langgraph.json"), "--local", "--host", "0.0.0.0"]
    assert main(arguments) == 1
    assert "set DISTGRAPH_API_KEY or give --api-key" in capsys.readouterr().err


def test_the_key_of_the_command_is_the_servers(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTGRAPH_API_KEY", "")
    monkeypatch.setattr("uvicorn.Server.run", lambda server: None)
    (tmp_path / "langgraph.json").write_text('{"graphs": {"g": "./g.py:graph"}}')
    file = str(tmp_path / "langgraph.json")
    main(["serve", file, "--local", "--host", "0.0.0.0", "--api-key", "secret"])
    assert api_keys() == ("secret",)
