"""From what the schema found to what a person is told: place, path, what is wrong, what to do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from rapidfuzz import fuzz, process

from controller_app.model.position import Diagnostic, Position
from controller_app.policy.yaml_positions import Document
from controller_app.policy.yaml_scalars import kind_name

Path = tuple[str | int, ...]


class Findings:
    """Collects diagnostics, in the order found."""

    def __init__(self) -> None:
        self.all: list[Diagnostic] = []

    def error(self, position: Position, path: str, what: str, remedy: str) -> None:
        self.all.append(Diagnostic(position, path, what, remedy))

    def warning(self, position: Position, path: str, what: str, remedy: str) -> None:
        self.all.append(Diagnostic(position, path, what, remedy, "warning"))

    @property
    def errors(self) -> list[Diagnostic]:
        return [item for item in self.all if item.severity == "error"]

    @property
    def warnings(self) -> list[Diagnostic]:
        return [item for item in self.all if item.severity != "error"]


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant, or None where none is near."""
    candidates = [str(item) for item in known]
    found = process.extractOne(word, candidates, scorer=fuzz.ratio, processor=str.lower, score_cutoff=60)
    return found[0] if found else None


def meant(word: str, known: Iterable[str], otherwise: str) -> str:
    """A remedy: the nearest known word, or else what there is to choose from, or else `otherwise`."""
    names = list(dict.fromkeys(known))
    guess = nearest(word, names)
    if guess is not None:
        return f"did you mean {guess!r}?"
    if names and len(names) <= 12:
        return f"known: {', '.join(names)}"
    return otherwise


def schema_problems(document: Document, model: type[BaseModel], error: ValidationError) -> list[Diagnostic]:
    """Every problem pydantic found, in the order of the file."""
    found = [_one(document, model, details) for details in error.errors(include_url=False)]
    return sorted(found, key=lambda item: item.position)


def _one(document: Document, model: type[BaseModel], details: ErrorDetails) -> Diagnostic:
    path: Path = details["loc"]
    kind = details["type"]
    context: Mapping[str, Any] = details.get("ctx", {})
    value = details["input"]
    if path and path[-1] == "[key]":
        text, place = document.walk(path[:-1], key=True)
    elif kind == "extra_forbidden" or value is None:  # an empty value has no place of its own
        text, place = document.walk(path, key=True)
    elif kind == "missing":
        text, place = document.walk(path[:-1], key=True)
    else:
        text, place = document.walk(path)
    what, remedy = _words(model, path, kind, value, context, details["msg"])
    return Diagnostic(place, text, what, remedy)


def _words(
    model: type[BaseModel], path: Path, kind: str, value: object, context: Mapping[str, Any], message: str
) -> tuple[str, str]:
    said = kind_name(value)
    match kind:
        case "written":
            return str(context["what"]), str(context["remedy"])
        case "extra_forbidden":
            return f"unknown key {path[-1]!r}", meant(str(path[-1]), keys_at(model, path[:-1]), "remove it")
        case "missing":
            return f"{path[-1]!r} is missing", f"add `{path[-1]}: {1 if path == ('version',) else '...'}`"
        case "literal_error":
            expected = str(context["expected"])
            if value is None:
                return "nothing is written here", f"write one of {expected}, or remove the key"
            names = expected.replace("'", "").replace(" or ", ", ").split(", ")
            guess = nearest(value, names) if isinstance(value, str) else None
            return f"{said} is not known here", f"write one of {expected}" + (f" ({guess}?)" if guess else "")
        case "greater_than_equal":
            return f"{said} is too small", f"the least is {context['ge']}"
        case "less_than_equal":
            return f"{said} is too large", f"the most is {context['le']}"
        case "greater_than":
            return f"{said} is too small", f"write a number above {context['gt']}"
        case (
            "int_type" | "float_type" | "bool_type" | "string_type" | "dict_type" | "model_type" | "list_type"
        ) if value is None:
            return "nothing is written here", "write a value, or remove the key"
        case "int_type" | "int_from_float" | "int_parsing":
            return f"expected a whole number, found {said}", "write digits only"
        case "float_type" | "float_parsing" | "finite_number":
            return f"expected a number, found {said}", "write a plain number"
        case "bool_type":
            return f"expected true or false, found {said}", "write true or false"
        case "string_type":
            return f"expected text, found {said}", "write a word"
        case "dict_type" | "model_type" | "model_attributes_type" | "mapping_type":
            return f"expected `key: value` pairs, found {said}", "write {key: value}"
        case "list_type" | "tuple_type":
            return f"expected a list, found {said}", "write [first, second]"
        case "too_short" if context["actual_length"] == 0:
            return "it is empty", "name at least one"
        case "too_short":
            return (
                f"{context['actual_length']} where {context['min_length']} are needed",
                "add what is missing",
            )
        case "too_long":
            return f"more than {context['max_length']} values", f"keep {context['max_length']}"
        case "string_pattern_mismatch":
            return f"{said} is not a name", NAME_RULE
        case _:
            return f"{message[:1].lower()}{message[1:]}", "correct the value"


NAME_RULE = "use up to 63 letters, digits, '-', '_' or '.', starting with a letter or a digit"


def keys_at(model: type[BaseModel], path: Path) -> list[str]:
    """The keys the language knows at a path, from the models themselves."""
    current: type[BaseModel] | None = model
    annotation: Any = model
    for part in path:
        if current is not None and isinstance(part, str):
            field = next((f for n, f in current.model_fields.items() if (f.alias or n) == part), None)
            if field is None:
                return []
            annotation = field.annotation
            current = _as_model(annotation)
        else:
            annotation = _inner(annotation)
            current = _as_model(annotation)
    if current is None:
        return []
    return [field.alias or name for name, field in current.model_fields.items()]


def _as_model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    args = getattr(annotation, "__args__", ())
    origin = getattr(annotation, "__origin__", None)
    if origin in (dict, list, tuple):
        return None
    for argument in args:  # Annotated[X, ...], X | None
        found = _as_model(argument)
        if found is not None:
            return found
    return None


def _inner(annotation: Any) -> Any:
    """What a list or mapping holds."""
    origin = getattr(annotation, "__origin__", None)
    args: tuple[Any, ...] = getattr(annotation, "__args__", ())
    if origin is dict:
        return args[1]
    if origin in (list, tuple):
        return args[0]
    for argument in args:
        if getattr(argument, "__origin__", None) in (dict, list, tuple):
            return _inner(argument)
    return annotation
