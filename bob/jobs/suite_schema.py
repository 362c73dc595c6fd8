"""The JSON Schema of suite files, for editors: ``python -m bob.jobs.suite_schema`` prints it.

It knows the parameters of every protocol of every task, so that an editor offers and checks them while one types.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from bob.jobs.protocol_params import is_list
from bob.jobs.suite import Suite
from bob.tasks.spec import TASKS, Protocol, Task


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a suite file."""
    schema = Suite.model_json_schema()
    tasks = [TASKS.get(name) for name in TASKS.built_in()]
    for task in tasks:
        for protocol in task.protocols.values():
            schema["$defs"][_name(task, protocol)] = _params(protocol)
    schema["$defs"]["TaskEntry"]["allOf"] = [_of_task(task) for task in tasks]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _name(task: Task, protocol: Protocol) -> str:
    return f"{task.name}.{protocol.name}"


def _params(protocol: Protocol) -> dict[str, Any]:
    """Return the schema of a protocol's parameters: none is required, and a list may be one value."""
    schema = protocol.params.model_json_schema()
    for name, field in protocol.params.model_fields.items():
        if is_list(field):
            own = schema["properties"][name]
            about = {key: own.pop(key) for key in ("default", "description", "title") if key in own}
            schema["properties"][name] = {"anyOf": [own, own["items"], {"type": "string"}], **about}
    schema.pop("description", None)
    # A head may bring parameters that the protocol does not know.
    schema["additionalProperties"] = protocol.further_params is not None
    return schema


def _of_task(task: Task) -> dict[str, Any]:
    """Return what holds for the entry of one task: the parameters of each of its protocols."""
    protocols = [
        {
            "if": {"type": "object", "properties": {"protocol": {"const": protocol.name}}, "required": ["protocol"]},
            "then": {"properties": {"params": {"$ref": f"#/$defs/{_name(task, protocol)}"}}},
        }
        for protocol in task.protocols.values()
    ]
    return {
        "if": {"properties": {"task": {"const": task.name}}, "required": ["task"]},
        "then": {"properties": {"protocols": {"items": {"allOf": protocols}}}},
    }


if __name__ == "__main__":
    json.dump(json_schema(), sys.stdout, indent=1)
    sys.stdout.write("\n")
