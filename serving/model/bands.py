"""PURE: how far a predicted speed may be off, and why: which published figures stand behind it, and which do not."""

from infra.catalog import usual_link
from serving.model import measured
from serving.model.roofline import Engine, data, overhead_s
from serving.model.throughput import Doubt, Fit, Load


def unfitted(engine: Engine, load: Load) -> Fit:
    """The shipped figures as they are."""
    bands, overhead, count = data()["bands"], overhead_s(engine), figures(engine)
    if doubt := not_validated(engine, load):
        band = bands["near"]["factor"] if is_near(engine, load) else bands["none"]["factor"]
        return Fit(1.0, overhead, 1.0, Doubt.of_band(band), f"modelled, not validated: {doubt}")
    basis = f"modelled; fitted to {count} published figures of {engine.family.title} on {engine.gpu.family}"
    return Fit(1.0, overhead, 1.0, Doubt.of_band(bands["measured"]["factor"]), basis)


def figures(engine: Engine, precision: str | None = None) -> int:
    """How many published figures of the family on that GPU there are, of one way to store the weights or of all."""
    if engine.family.name != data()["validated_family"]:
        return 0
    of_each = measured.counts()[engine.gpu.family, usual_link(engine.gpu)]
    return of_each[precision] if precision else of_each.total()


def is_near(engine: Engine, load: Load) -> bool:
    """Whether figures of the same GPU were fitted to, though of weights that are stored in another way."""
    return (
        figures(engine) > 0
        and engine.split.pipeline == engine.split.data == 1
        and load.input_tokens <= data()["validated_input_tokens"]
        and unmeasured(engine) is None
    )


def unmeasured(engine: Engine) -> str | None:
    """What the requests or the engine have that no published figure of any machine has; None where there is nothing."""
    if engine.drafting:
        return "with drafts"
    if engine.tiles:
        return "with images"
    if engine.lora_bytes:
        return "with LoRA"
    if engine.offloaded_bytes:
        return "with weights in the RAM"
    if engine.prefix_hits:
        return "with hits in the prefix cache"
    return f"on {engine.gpu.name} joined so" if engine.is_relinked else None


def not_validated(engine: Engine, load: Load) -> str | None:
    """Why no published figure stands behind a prediction; None when some do."""
    stored, family = engine.scheme.name.split("-")[0], engine.family
    if family.name != data()["validated_family"]:
        return f"corral has no figure of {family.title}"
    if not figures(engine, stored):
        if stored in data()["other_engines"].get(engine.gpu.family, ()):
            return f"of {stored} {family.title} on {engine.gpu.name} only another engine's figures are public"
        return f"no {stored} figure of {family.title} on {engine.gpu.name} is public"
    if engine.split.pipeline > 1 or engine.split.data > 1:
        return f"no figure of {family.title} with pipeline or data parallelism is public"
    if kind := unmeasured(engine):
        return f"no figure of {family.title} {kind} is public"
    longest = data()["validated_input_tokens"]
    return f"no figure beyond {longest:,} tokens of input is public" if load.input_tokens > longest else None
