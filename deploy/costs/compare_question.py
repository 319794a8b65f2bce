"""What a comparison is asked, beside its plan and its probe."""

from collections.abc import Mapping
from decimal import Decimal

from deploy.costs.claude_cost import Way
from infra.record import Record


class Question(Record):
    """What the user wants compared, beside the plan and the probe. None: our default, and said so."""

    claude_models: tuple[str, ...] = ()
    price_per_hour: Decimal | None = None
    capex_usd: Decimal | None = None
    mtok_per_month: Decimal | None = None
    """Instead of a utilisation: how many millions of tokens (Llama 4's, input and output) there are to serve."""
    token_ratio: Decimal | None = None
    content: str | None = None
    claude_output_ratio: Decimal = Decimal(1)
    """How much longer Claude's answer is than Llama's, in text."""
    cache_read_fraction: Decimal = Decimal(0)
    cache_write_fraction: Decimal = Decimal(0)
    way: Way = Way()
    claude_share: Decimal | None = None
    escalation: Decimal = Decimal(0)
    knobs: Mapping[str, Decimal] = {}
    allow_invalid: bool = False
