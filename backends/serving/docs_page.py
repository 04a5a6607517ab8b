"""The page at /docs, from the OpenAPI description: plain HTML, without a script and without anything to load."""

import html
from collections.abc import Iterator
from typing import Any

STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
code { font-family: ui-monospace, monospace } h2 { margin-top: 3rem }
table { border-collapse: collapse; width: 100% } td, th { text-align: left; vertical-align: top; padding: .3rem .6rem .3rem 0 }
tr { border-bottom: 1px solid #8884 } summary { cursor: pointer; padding: .4rem 0 } details details { margin-left: 1rem }
@media (max-width: 40rem) { td { display: block; padding: .1rem 0; overflow-wrap: anywhere } details details { margin: 0 } }
"""


def page_of(spec: dict[str, Any]) -> Iterator[str]:
    """The page, piece by piece."""
    title = html.escape(f"{spec['info']['title']}, {spec['info']['version']}")
    yield f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
    yield f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body><main><h1>{title}</h1>'
    yield '<p>For programs: <a href="openapi.json">openapi.json</a>. '
    yield "OpenAI's clients work with this address and <code>/v1</code>.</p>"
    for path, operations in spec["paths"].items():
        for method, operation in operations.items():
            yield f"<h2><code>{method.upper()} {html.escape(path)}</code></h2>{_text(operation.get('description'))}"
            body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
            if body:
                yield from _shape("Body", body, spec, opened=True)
            for status, response in operation["responses"].items():
                schema = next((item.get("schema") for item in response.get("content", {}).values()), None)
                yield from _shape(f"{status} {response['description']}", schema, spec)
    yield "</main></body></html>"


def _shape(name: str, schema: dict[str, Any] | None, spec: dict[str, Any], opened: bool = False, depth: int = 0) -> Iterator[str]:
    """A table of the fields, and those of the parts they refer to below it."""
    inner = list(_objects(schema or {}, spec))
    if not inner or depth > 4:
        yield f"<p>{html.escape(name)}</p>" if depth == 0 else ""
        return
    yield f"<details{' open' if opened else ''}><summary>{html.escape(name)}</summary>"
    for part in inner:
        yield f"{_text(part.get('description'))}<table>"
        for field, value in part.get("properties", {}).items():
            star = " (needed)" if field in part.get("required", []) else ""
            yield f"<tr><td><code>{html.escape(field)}</code>{star}</td><td>{html.escape(_kind(value))}</td>"
            yield f"<td>{html.escape(value.get('description', ''))}</td></tr>"
        yield "</table>"
        for field, value in part.get("properties", {}).items():
            yield from _shape(field, value, spec, depth=depth + 1)
    yield "</details>"


def _objects(schema: dict[str, Any], spec: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The objects that a schema is, is one of, or is a list of."""
    if "$ref" in schema:
        yield from _objects(spec["components"]["schemas"][schema["$ref"].rpartition("/")[2]], spec)
    elif "properties" in schema:
        yield schema
    for each in (*schema.get("anyOf", []), *schema.get("oneOf", []), *([schema["items"]] if "items" in schema else [])):
        yield from _objects(each, spec)


def _kind(schema: dict[str, Any]) -> str:
    """A field's type in a few words."""
    options = schema.get("anyOf") or schema.get("oneOf")
    if options:
        return " or ".join(dict.fromkeys(_kind(option) for option in options))
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    if "enum" in schema or "const" in schema:
        return " or ".join(repr(value) for value in schema.get("enum", [schema.get("const")]))
    if "items" in schema:
        return f"list of {_kind(schema['items'])}"
    ends = [
        f"{word} {schema[key]}"
        for key, word in (("minimum", "from"), ("exclusiveMinimum", "above"), ("maximum", "to"))
        if key in schema
    ]
    return " ".join([str(schema.get("type", "anything")), *ends])


def _text(description: str | None) -> str:
    return f"<p>{html.escape(description)}</p>" if description else ""
