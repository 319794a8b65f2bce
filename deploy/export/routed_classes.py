"""The classes that a router is to tell apart: as they were typed, compared or planned."""

from collections.abc import Iterable
from pathlib import Path

from deploy.costs.class_bill import ClassBill
from deploy.costs.comparison import COMPARISON, Comparison
from deploy.costs.served_class import ServedClass
from deploy.export.rendering import RoutedClass
from infra.errors import DocumentError, UsageError
from serving.sizing.plan import Plan


def compared_classes(path: Path, plan: Plan) -> tuple[RoutedClass, ...]:
    """Those of a comparison.json, or of the folder it lies in.

    Raises DocumentError for what is no comparison, UsageError for one of another model or without classes.
    """
    file = path / COMPARISON if path.is_dir() else path
    comparison = Comparison.read(file)
    if comparison.model != plan.model:
        raise UsageError(
            f"The comparison is of {comparison.model}, the plan of {plan.model}.",
            "Give the comparison that was made with this plan.",
        )
    classes = comparison.by_class.classes if comparison.by_class else ()
    if not classes:
        raise UsageError(
            f"The comparison in {file} has no classes.",
            "Say them here: --class chat=70%,2k/300 --class law=30%,20k/800,at=claude",
        )
    if len({each.name for each in classes}) < len(classes):
        raise DocumentError(
            f"The comparison in {file} names a class twice.",
            "Make it again with the corral compare that wrote it.",
        )
    return routed(classes, comparison.us_only)


def planned_classes(plan: Plan) -> tuple[RoutedClass, ...]:
    """Those that a plan of `corral capacity` was made for: all are answered here, and nothing of them leaves."""
    planned = plan.carried.traffic.classes if plan.carried else ()
    return routed(ServedClass.model_validate(each.model_dump()) for each in planned)


def routed(classes: Iterable[ServedClass | ClassBill], us_only: bool = False) -> tuple[RoutedClass, ...]:
    """What a router must know of them."""
    return tuple(
        RoutedClass(
            name=each.name,
            at=each.at,
            claude=each.claude,
            escalation=float(each.escalation),
            fallback=each.fallback,
            us_only=us_only,
        )
        for each in classes
    )
