"""The schema of Terraform's AWS provider (export/terraform-aws.json), told as the provider tells it: plugin protocol 5.

Run by a Python that has grpcio, with the schema and the socket to listen on. It judges nothing itself: what Terraform
judges by a schema, names, types, what must be there and what is referred to, the real Terraform judges.
"""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc

SINGLE, LIST, SET = 1, 2, 3


def field(number: int, value: "bytes | str | int | bool") -> bytes:
    """One field of a message of protocol buffers."""
    if isinstance(value, int):
        return varint(number << 3) + varint(int(value))
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def varint(value: int) -> bytes:
    made = b""
    while value > 127:
        made, value = made + bytes([value & 127 | 128]), value >> 7
    return made + bytes([value])


def cty(kind: Any) -> Any:
    """A type as the excerpt has it, in Terraform's words."""
    if isinstance(kind, dict):
        return ["set", ["object", {name: cty(each) for name, each in kind["objects"].items()}]]
    name, _, of = kind.removesuffix(" required").removesuffix(")").partition("(")
    return [name, of] if of else name


def attribute(name: str, kind: Any, computed: bool) -> bytes:
    required = isinstance(kind, str) and kind.endswith(" required")
    told = field(1, name) + field(2, json.dumps(cty(kind)))
    return field(2, told + (field(4, True) if required else field(5, True) + field(6, computed)))


def nested(name: str, kind: dict[str, Any]) -> bytes:
    """One that may be there once is a list of at most one, as the provider has it."""
    inner = kind.get("block") or kind["blocks"]
    mode = SINGLE if name == "timeouts" else LIST if "block" in kind else SET
    most = field(5, 1) if mode == LIST else b""
    return field(3, field(1, name) + field(2, block(inner, (), False)) + field(3, mode) + most)


def block(arguments: dict[str, Any], attributes: "tuple[str, ...] | list[str]", computed: bool) -> bytes:
    made = b""
    for name, kind in arguments.items():
        is_block = isinstance(kind, dict) and "objects" not in kind
        made += nested(name, kind) if is_block else attribute(name, kind, computed)
    for name in attributes:
        if (
            name not in arguments
        ):  # told and never given; its type matters to nobody here, but lists are looked into
            told = field(1, name) + field(2, '["list","string"]' if name.endswith("s") else '"string"')
            made += field(2, told + field(6, True))
    return made


def schema(given: dict[str, Any]) -> bytes:
    return field(2, block(given["arguments"], given.get("attributes", ()), True))


def answers(schemas: dict[str, Any]) -> bytes:
    made = field(1, schema(schemas["provider"]["aws"]))
    for number, group in ((2, "resource"), (3, "data")):
        for name, given in schemas[group].items():
            made += field(number, field(1, name) + field(2, schema(given)))
    return made


VALIDATED = ("PrepareProviderConfig", "ValidateResourceTypeConfig", "ValidateDataSourceConfig")
"""What the provider has nothing against."""


def handlers(told: bytes) -> Any:
    """The calls that `terraform validate` makes; each answer is a message's bytes."""
    said = {"GetSchema": told} | dict.fromkeys(VALIDATED, b"")
    return grpc.method_handlers_generic_handler(
        "tfplugin5.Provider",
        {
            name: grpc.unary_unary_rpc_method_handler(lambda asked, context, answer=answer: answer)
            for name, answer in said.items()
        },
    )


if __name__ == "__main__":
    server = grpc.server(ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((handlers(answers(json.loads(Path(sys.argv[1]).read_text()))),))
    server.add_insecure_port(f"unix:{sys.argv[2]}")
    server.start()
    print("ready", flush=True)
    server.wait_for_termination()
