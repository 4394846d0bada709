"""The API's OpenAPI document: FastAPI's own, with the token and the stream, which FastAPI leaves out."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from emospec.serving.schemas import STREAM_MESSAGES

_REF = "#/components/schemas/{model}"
_TOKEN_SCHEME = {
    "type": "http",
    "scheme": "bearer",
    "description": "The server's EMOSPEC_TOKEN. A browser's WebSocket offers the protocols `bearer` and the token.",
}


def openapi_document(app: FastAPI, guarded: tuple[str, ...], has_token: bool) -> dict[str, Any]:
    """Return the OpenAPI document.

    Args:
        app: whose routes are described.
        guarded: how the addresses begin that want the token.
        has_token: whether the server has one; else it is optional.
    """
    document = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    components = document.setdefault("components", {})
    components["securitySchemes"] = {"token": _TOKEN_SCHEME}
    for path, operations in document["paths"].items():
        for operation in operations.values():
            if path.startswith(guarded):
                operation["security"] = [{"token": []}] if has_token else [{}, {"token": []}]
            else:
                operation["responses"].pop("401", None)
    messages = [(model, "serialization") for model in STREAM_MESSAGES]
    _, schemas = models_json_schema(messages, ref_template=_REF)  # type: ignore[arg-type]
    components["schemas"] |= schemas["$defs"]
    responses = document["paths"]["/v1/stream"]["get"]["responses"]
    del responses["200"]
    responses["101"] = _stream_messages()
    return document


def _stream_messages() -> dict[str, Any]:
    """Return the messages of a stream's WebSocket, as the answer to its handshake."""
    refs = {
        model.model_fields["type"].annotation.__args__[0]: _REF.format(model=model.__name__)  # type: ignore[union-attr]
        for model in STREAM_MESSAGES
    }
    schema = {
        "oneOf": [{"$ref": ref} for ref in refs.values()],
        "discriminator": {"propertyName": "type", "mapping": refs},
    }
    return {
        "description": "The WebSocket is open. The client sends mono PCM in binary frames of up to 1 MiB, then the text "
        "`end`. The server sends text frames, a JSON message each: `ready`, a `moment` for each window, a `segment` "
        "once it can no longer change, and `end` or `error`.",
        "content": {"application/json": {"schema": schema}},
    }
