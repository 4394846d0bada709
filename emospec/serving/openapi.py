"""The API's document: FastAPI's own, with the token and the stream, which FastAPI leaves out."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from emospec.serving.stream_schemas import MESSAGES

STREAM = "/v1/stream"
REF = "#/components/schemas/{model}"
TOKEN = {
    "type": "http",
    "scheme": "bearer",
    "description": "The server's EMOSPEC_TOKEN. A browser's WebSocket offers the protocols `bearer` and the token.",
}


def document(app: FastAPI, guarded: tuple[str, ...], token: bool) -> dict[str, Any]:
    """Return the OpenAPI document.

    Args:
        app: whose routes are described.
        guarded: how the addresses begin that want the token.
        token: whether the server has one; else it is optional.
    """
    said = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    components = said.setdefault("components", {})
    components["securitySchemes"] = {"token": TOKEN}
    for path, operations in said["paths"].items():
        for operation in operations.values():
            if path.startswith(guarded):
                operation["security"] = [{"token": []}] if token else [{}, {"token": []}]
            else:
                operation["responses"].pop("401", None)
    _, schemas = models_json_schema([(model, "serialization") for model in MESSAGES], ref_template=REF)
    components["schemas"] |= schemas["$defs"]
    stream = said["paths"][STREAM]["get"]["responses"]
    del stream["200"]
    stream["101"] = _messages()
    return said


def _messages() -> dict[str, Any]:
    """Return the messages of a stream's WebSocket, as the answer to its handshake."""
    names = {model.model_fields["type"].annotation.__args__[0]: model.__name__ for model in MESSAGES}  # type: ignore[union-attr]
    refs = {kind: REF.format(model=name) for kind, name in names.items()}
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
