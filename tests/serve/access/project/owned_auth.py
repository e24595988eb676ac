"""Handlers as LangGraph's documentation has them: everybody has what is their own."""

from __future__ import annotations

from typing import Any

from langgraph_sdk import Auth

auth = Auth()


@auth.authenticate
async def authenticate(authorization: str | None) -> Auth.types.MinimalUserDict:
    kind, _, name = (authorization or "").partition(" ")
    if kind != "Bearer" or name not in ("ann", "bob"):
        raise Auth.exceptions.HTTPException(status_code=401, detail="say who you are")
    return {"identity": name, "permissions": ["notes"], "org": f"{name}'s"}


@auth.on
async def own(ctx: Auth.types.AuthContext, value: dict[str, Any]) -> dict[str, Any]:
    mine = {"owner": ctx.user.identity}
    value.setdefault("metadata", {}).update(mine)
    return mine


@auth.on.store
async def own_part(ctx: Auth.types.AuthContext, value: dict[str, Any]) -> None:
    value["namespace"] = (ctx.user.identity, *(value.get("namespace") or ()))
