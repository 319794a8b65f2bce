"""PURE: records of what a user may ask for: a field is a flag, its default, its check and its help at once."""

import ast
import linecache
import operator
import shlex
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from decimal import Decimal
from functools import cache
from inspect import cleandoc
from itertools import pairwise
from typing import Annotated, Any, ClassVar, NamedTuple, Self, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from infra import quantity
from infra.command_line import before_the_verb
from infra.errors import UsageError
from infra.quantity import Unit
from infra.record import Record


class Flag(NamedTuple):
    """How a field is typed, beside its annotation, where its name and type do not say it."""

    names: str = ""
    """As typer takes them: "--output -o", "--colour/--no-colour"; made of the field's name where it is empty."""
    metavar: str | None = None
    hidden: bool = False
    kind: type | None = None
    """What the help calls it, and whether it is whole; the field's type if None."""
    unit: Unit | None = None
    """What a number counts, where the field's name does not say it."""
    shows_limits: bool = False
    """Whether the help says them."""


class Asked(Record):
    """A record that is the flags of a verb.

    A field's docstring is the help, `Field(ge=, le=, pattern=)` the check and `Field(examples=)` what a refusal
    recommends, or the default. A tuple is a flag that may be repeated, a bool a switch. What several fields must
    fulfil together is a validator of the record, which raises UsageError itself.
    """

    heading: ClassVar[str] = "Options"
    """What stands above its flags in a verb's help."""
    joint: ClassVar[str] = " "
    """What stands between a flag and its value."""
    not_asked: ClassVar[tuple[str, ...]] = ()
    """Fields that are no flags: a verb that takes the record says them in another way."""

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        """Give each field its docstring; pydantic does that too, but looks through all that was ever imported."""
        for field, said in docstrings(cls).items():
            if field in cls.model_fields and not cls.model_fields[field].description:
                cls.model_fields[field].description = said

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """The record of what was typed. Raises UsageError, under the flag's name, for what does not hold.

        Nothing is a value only where it is the default. A number may be the text of one, as people write it.
        """
        for field, value in given.items():
            if is_nothing(value) and cls.model_fields[field].default != "":
                hint = recommended(cls, field) or "Give it a value, or leave it out."
                raise UsageError(f"{spoken(cls, field)} is empty.", hint)
        try:
            return cls.model_validate({field: read(cls, field, value) for field, value in given.items()})
        except ValidationError as error:
            raise refusal(cls, error, given) from None


def docstrings(kind: type) -> dict[str, str]:
    """What stands below each annotated name in the source of a class; nothing where there is no source."""
    source = getattr(sys.modules.get(kind.__module__), "__file__", None)
    lines = "".join(linecache.getlines(source)) if source else ""
    body = next((body for name, body in classes(lines) if name == kind.__qualname__), [])
    return {
        field.target.id: cleandoc(said.value.value)
        for field, said in pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(said, ast.Expr) and isinstance(said.value, ast.Constant)
        if isinstance(said.value.value, str)
    }


@cache
def classes(source: str) -> tuple[tuple[str, list[ast.stmt]], ...]:
    """Every class of a source, by the name that Python gives it, and what it is made of."""
    return tuple(within(ast.parse(source), ""))


def within(
    node: ast.Module | ast.ClassDef | ast.FunctionDef, prefix: str
) -> Iterator[tuple[str, list[ast.stmt]]]:
    """The classes in a part of a source."""
    for each in node.body:
        if isinstance(each, ast.ClassDef):
            yield prefix + each.name, each.body
            yield from within(each, f"{prefix}{each.name}.")
        elif isinstance(each, ast.FunctionDef):
            yield from within(each, f"{prefix}{each.name}.<locals>.")


def again(*records: Asked, without: Collection[str] = ()) -> str:
    """The flags that records were made of, and corral's own, for the end of a line to paste.

    Following it asks the same: what is as the default is left out, and each value is one word of a shell, whatever is
    in it.
    """
    said = [
        word
        for record in records
        for field, value in record
        if field not in without and value != type(record).model_fields[field].default
        for word in typed(type(record), field, value)
    ]
    return "".join(f" {shlex.quote(word)}" for word in (*said, *before_the_verb))


def typed(record: type[Asked], field: str, value: Any) -> Iterator[str]:
    """The words that give a field that value."""
    name, _, opposite = flag_names(record, field)[0].partition("/")
    if isinstance(value, bool):
        yield name if value else opposite
    elif isinstance(value, tuple):
        for each in value:
            yield from typed(record, field, each)
    else:
        text = f"{value:.0f}" if isinstance(value, float) and value.is_integer() else str(value)
        yield from (f"{name}={text}",) if text.startswith("-") else (name, text)


def read(record: type[Asked], field: str, value: Any) -> Any:
    """What was typed for a field; where that is a number, its value. Raises UsageError."""
    kind = number_kind(record.model_fields[field])
    if kind is None:
        return value
    if isinstance(value, list | tuple):
        return [read(record, field, each) for each in value]
    return number_typed(record, field, value, kind) if isinstance(value, str) else value


def number_typed(record: type[Asked], field: str, text: str, kind: type) -> Any:
    """The number that a text is. Raises UsageError with an example."""
    info = record.model_fields[field]
    whole = int in (kind, flag(info).kind)
    if not whole and text.strip().lower().lstrip("+-") in NOT_FINITE:
        return float(text)
    unit = flag(info).unit or quantity.unit_of(field, not whole and is_share(info))
    try:
        value = quantity.read(text, unit, whole)
    except ValueError as error:
        example = recommended(record, field) or f"For example: {quantity.EXAMPLES[unit]}"
        raise UsageError(f"{spoken(record, field)} {text} {error}.", example) from None
    return kind(value)


NOT_FINITE = ("nan", "inf", "infinity")
"""What a number may be said to be; whether it may, its field says."""


def number_kind(info: FieldInfo) -> type | None:
    """int, float or Decimal where a field, or each of one that may be repeated, is one; None for any other."""
    kinds = innermost(info.annotation)
    return (
        next((kind for kind in kinds if kind in (int, float, Decimal)), None) if bool not in kinds else None
    )


def innermost(annotation: Any) -> tuple[Any, ...]:
    """The types that an annotation is made of."""
    inner = get_args(annotation)[:1] if get_origin(annotation) is Annotated else get_args(annotation)
    return tuple(each for one in inner for each in innermost(one)) or (annotation,)


def is_share(info: FieldInfo) -> bool:
    """Whether a field is at most 1."""
    return any(getattr(each, "le", 2) <= 1 for each in checks(info))


def flag_names(record: type[Asked], field: str) -> tuple[str, ...]:
    """What is typed for a field; the first is its name in a sentence."""
    info = record.model_fields[field]
    if names := flag(info).names:
        return tuple(names.split())
    name = field.replace("_", "-")
    return (f"--{name}/--no-{name}" if is_switch(info) and info.default is not False else f"--{name}",)


def spoken(record: type[Asked], field: str) -> str:
    """How a field is called in a sentence."""
    return flag_names(record, field)[0].partition("/")[0]


def recommended(record: type[Asked], field: str) -> str:
    """The hint of what to type; empty where there is nothing to recommend."""
    example = example_of(record.model_fields[field])
    return "" if example in (None, ()) else f"For example: {spoken(record, field)}{record.joint}{example}"


def is_nothing(value: Any) -> bool:
    """Whether a flag was given no value, or one of blanks."""
    values = value if isinstance(value, list | tuple) else (value,)
    return any(isinstance(each, str) and not each.strip() for each in values)


def flag(info: FieldInfo) -> Flag:
    """What a field says of how it is typed."""
    return next((each for each in checks(info) if isinstance(each, Flag)), Flag())


def is_switch(info: FieldInfo) -> bool:
    """Whether a field is typed without a value."""
    return info.annotation is bool or bool in get_args(info.annotation)


def refusal(record: type[Asked], error: ValidationError, given: Mapping[str, Any]) -> UsageError:
    """What to say of the first value that does not hold: as it was typed, or what a suffix made of it."""
    problem = error.errors(include_url=False)[0]
    if not problem["loc"]:
        return UsageError(f"{problem['msg'][:1].upper()}{problem['msg'][1:]}.", "")
    field = str(problem["loc"][0])
    info = record.model_fields[field]
    name, hint = spoken(record, field), recommended(record, field)
    value, why = problem["input"], problem["type"]
    value = f"{value:g}" if isinstance(value, float) else value
    if isinstance(value, Decimal) and not quantity.has_suffix(str(given[field])):
        value = given[field]
    if why == "missing":
        return UsageError(f"{name} is missing.", hint)
    if why in ("greater_than_equal", "less_than_equal", "greater_than", "less_than"):
        return UsageError(
            f"{name} {value} is {outside(info)}.", in_percent(record, field, problem["input"]) or hint
        )
    if why == "string_pattern_mismatch":
        return UsageError(f"{name} {value!r} cannot be right.", f"It looks like {example_of(info)}")
    if why == "literal_error":
        choices = (choice for choice in literals(info.annotation) if choice is not None)
        return UsageError(f"{name} {value!r} is unknown.", f"One of: {', '.join(map(str, choices))}")
    if why.startswith("int_"):
        return UsageError(f"{name} {value} is no whole number.", hint)
    if why == "finite_number":
        return UsageError(f"{name} {value} is no finite number.", hint)
    if why.startswith(("float_", "decimal_")):
        return UsageError(f"{name} {value} is no number.", hint)
    return UsageError(f"{name} {value}: {problem['msg'][:1].lower()}{problem['msg'][1:]}.", hint)


def in_percent(record: type[Asked], field: str, value: object) -> str:
    """How a share is typed that was typed as percent, without the sign; empty where it is none."""
    info = record.model_fields[field]
    if not is_share(info) or not isinstance(value, int | float | Decimal) or not 5 <= value <= 100:
        return ""
    share = Decimal(str(value)) / 100
    limits = [(name, getattr(each, name)) for each in checks(info) for name in BOUNDS if hasattr(each, name)]
    if not all(getattr(operator, name)(share, Decimal(str(limit))) for name, limit in limits):
        return ""
    return f"Did you mean {spoken(record, field)}{record.joint}{float(value):g}%?"


def example_of(info: FieldInfo) -> Any:
    """What is recommended: the field's example, that of its type, or its default."""
    typed = (each for inner in (info.annotation, *get_args(info.annotation)) for each in get_args(inner)[1:])
    fields = (info, *(each for each in typed if isinstance(each, FieldInfo)))
    otherwise = None if info.is_required() else info.default
    example = next((field.examples[0] for field in fields if field.examples), otherwise)
    return f"{example:g}" if isinstance(example, float) else example


def bounds(info: FieldInfo) -> dict[str, str]:
    """The limits of a field, each as a person writes it."""
    limits = {name: getattr(each, name) for each in checks(info) for name in BOUNDS if hasattr(each, name)}
    return {name: number(limit) for name, limit in limits.items()}


def either(names: Sequence[str]) -> str:
    """Choices as a help lists them."""
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def described(info: FieldInfo) -> str:
    """The help of a field, with its limits where it shows them."""
    said = info.description or ""
    if not flag(info).shows_limits:
        return said
    limits = bounds(info)
    return f"{said} [{limits['ge']} " + (f"to {limits['le']}]" if "le" in limits else "or more]")


def outside(info: FieldInfo) -> str:
    """What a number is that a field's bounds refuse."""
    match bounds(info):
        case {"ge": low, "le": high}:
            return f"not between {low} and {high}"
        case {"gt": low, "le": high}:
            return f"not above {low} and at most {high}"
        case {"ge": low, "lt": high}:
            return f"not at least {low} and below {high}"
        case {"ge": low}:
            return f"below {low}"
        case {"gt": low}:
            return f"not above {low}"
        case limits:
            return f"above {next(iter(limits.values()))}"


BOUNDS = ("ge", "gt", "le", "lt")


def checks(info: FieldInfo) -> Iterator[object]:
    """What is said of a field, or of the items of one that may be repeated."""
    yield from info.metadata
    for inner in get_args(info.annotation):
        if get_origin(inner) is Annotated:
            for each in get_args(inner)[1:]:
                yield from each.metadata if isinstance(each, FieldInfo) else (each,)


def literals(annotation: Any) -> Iterator[object]:
    """The values that an annotation of Literals lists."""
    for inner in get_args(annotation):
        if get_args(inner):
            yield from literals(inner)
        elif inner is not Ellipsis and not isinstance(inner, type):
            yield inner


def number(bound: float | Decimal) -> str:
    """A limit as a person writes it."""
    return (
        f"{bound:,}"
        if isinstance(bound, int | Decimal)
        else f"{bound:,.0f}"
        if abs(bound) >= 1000
        else f"{bound:g}"
    )
