"""The OpenAPI document: it has the token and the stream, and its messages are those that are sent."""

from pathlib import Path

import httpx
from pydantic import TypeAdapter

from conftest import tone
from emospec.serving.schemas import STREAM_MESSAGES
from served import RunningServer, messages_until_close, open_stream, served


def test_the_document_has_the_token_and_the_stream(client: httpx.Client, hum_model: Path) -> None:
    document = client.get("/openapi.json").json()
    assert "servers" not in document
    assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert operation.get("security") == (
                [{}, {"token": []}] if path.startswith(("/v1", "/metrics")) else None
            )
    with served(hum_model, token="open-sesame") as server, server.client() as other:
        guarded = other.get("/openapi.json").json()["paths"]["/v1/predict"]["post"]
    assert guarded["security"] == [{"token": []}]
    content = guarded["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert [*content["properties"]] == ["file"]
    stream = document["paths"]["/v1/stream"]["get"]
    assert {parameter["name"] for parameter in stream["parameters"]} >= {"sample_rate", "encoding", "hop"}
    kinds = stream["responses"]["101"]["content"]["application/json"]["schema"]["discriminator"]["mapping"]
    assert [*kinds] == ["ready", "moment", "segment", "end", "error"]
    for ref in kinds.values():
        assert ref.rpartition("/")[2] in document["components"]["schemas"]


def test_a_stream_sends_the_messages_of_the_document(server: RunningServer) -> None:
    kinds = {
        TypeAdapter(model).json_schema()["properties"]["type"]["const"]: model for model in STREAM_MESSAGES
    }
    messages = []
    for check in ("true", "false"):
        with open_stream(server, f"window=1&hop=1&check_speech={check}") as socket:
            socket.send((tone(440, 2.5) * 32767).astype("<i2").tobytes())
            socket.send("end")
            messages += messages_until_close(socket)[:-1]
    with open_stream(server, "hop=0") as socket:
        messages += messages_until_close(socket)[:-1]
    assert {message["type"] for message in messages} == set(kinds)
    for message in messages:
        model = kinds[message["type"]]
        assert set(model.model_validate(message).model_dump()) == set(message)
