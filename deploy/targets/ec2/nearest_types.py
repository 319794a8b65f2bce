"""PURE: for a shape EC2 does not sell, what it does sell that is nearest, and what would stand idle there."""

from infra import catalog
from infra.hardware import Machine
from infra.prices import price_of
from infra.record import Record

MOST = 3


class Shape(Record):
    """One EC2 type beside the shape that was asked for."""

    instance_type: str
    gpu: str
    gpus: int
    idle_gpus: int
    replicas: int
    """How many copies of the asked-for shape it holds."""
    usd_per_hour: float | None


def nearest(wanted: Machine) -> tuple[Shape, ...]:
    """The types with at least as much memory a GPU and as many GPUs: the same GPU first, then the cheapest."""
    assert wanted.gpu is not None
    gpu, count = wanted.gpu, wanted.gpu_count
    holding = [
        machine
        for machine in catalog.ec2_types().values()
        if machine.gpu and machine.gpu.memory_mib >= gpu.memory_mib and machine.gpus_per_host >= count
    ]
    shapes = sorted((shape(machine, count) for machine in holding), key=lambda each: rank(each, gpu.name))
    return tuple(shapes[:MOST])


def shape(machine: Machine, count: int) -> Shape:
    """One type beside a number of GPUs."""
    price = price_of(machine)
    return Shape(
        instance_type=machine.name,
        gpu=machine.gpu_name,
        gpus=machine.gpus_per_host,
        idle_gpus=machine.gpus_per_host - count,
        replicas=machine.gpus_per_host // count,
        usd_per_hour=float(price.usd_per_hour) if price else None,
    )


def rank(shape: Shape, gpu: str) -> tuple[bool, bool, float, str]:
    """The same GPU before others, a known price before an unknown one, the cheap before the dear."""
    return (shape.gpu != gpu, shape.usd_per_hour is None, shape.usd_per_hour or 0.0, shape.instance_type)


def said(shapes: tuple[Shape, ...]) -> str:
    """The shapes in words."""
    return "; ".join(words(shape) for shape in shapes) or "nothing as large"


def words(shape: Shape) -> str:
    """What it is, what it bills, what stands idle."""
    price = f"{shape.usd_per_hour:.2f} USD/h" if shape.usd_per_hour is not None else "price unknown"
    idle = f", {shape.idle_gpus} idle (or {shape.replicas} replicas)" if shape.idle_gpus else ""
    return f"{shape.instance_type} ({shape.gpus}x {shape.gpu}, {price}{idle})"
