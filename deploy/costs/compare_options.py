"""What a comparison is asked, beside its plan and its probe."""

from decimal import Decimal
from pathlib import Path
from typing import Annotated, ClassVar, Self

from pydantic import AfterValidator, Field, model_validator

from deploy.costs.claude_cost_options import MOST_TOKENS, Share, SlowerOrHere, Way, check_cached
from deploy.costs.claude_meant import meant
from deploy.costs.operating_point import Promised
from deploy.costs.purchase_options import HowBought
from deploy.costs.served_class import ServedClass, ServedClasses, check_served, staying
from deploy.costs.token_ratio import kinds_of_text, measured
from infra.argument import pasted
from infra.asked import Flag, again, either
from infra.errors import UsageError
from infra.near import is_called_json
from serving.sizing.size_options import PlanOption
from serving.sizing.traffic_class import MOST_PROMISED_S, check_promised

# The bounds are of typing errors: nobody has such a traffic.
LEAST_MTOK, MOST_MTOK = Decimal("0.000001"), 10**9


class Compared(PlanOption):
    """What is compared, and where the comparison is kept."""

    probe: Path | None = None
    """probe.json of corral probe, or sweep.json of its sweep. [the newest of NAME, else what the plan predicts]"""
    output: Annotated[Path | None, Flag("--output -o")] = None
    """Folder for comparison.json and report.html."""
    claims: bool = False
    """Show instead what is often repeated about these costs and does not hold."""

    def check(self, name: str | None, question: "Question | None" = None) -> None:
        """Raise UsageError unless it is one of a deployment, a plan and the claims; a hint says the question again."""
        if name is not None and not name.strip():
            raise UsageError("The name of the deployment is empty.", "Which there are: corral status")
        if name and (is_called_json(name) or "/" in name):
            asked = again(*([question] if question else []))
            raise UsageError(
                f"{name} is a file, and no deployment.", f"corral compare --plan {pasted(name)}{asked}"
            )
        if self.claims and (name or self.plan or self.probe or self.output):
            raise UsageError("--claims compares nothing.", "corral compare --claims")
        if name and self.plan:
            raise UsageError(
                f"{name} has a plan of its own.",
                "Leave out --plan, or the name: corral compare --plan plan.json",
            )
        if not (self.claims or name or self.plan):
            raise UsageError(
                "--plan is missing.", "corral size scout --precision int4 --on g5.12xlarge -o plan.json"
            )


class Question(HowBought, SlowerOrHere):
    """What the user wants compared, beside the plan and the probe. None: our default, and said so."""

    heading: ClassVar[str] = "The comparison"

    # The bounds are of typing errors: no text has such a ratio.
    claude_models: Annotated[tuple[Annotated[str, AfterValidator(meant)], ...], Flag("--claude-model")] = ()
    """Good enough for the work: haiku-5.5, or haiku for the newest; repeatable. The cheapest decides."""
    mtok_per_month: Annotated[
        Decimal | None, Flag(kind=float), Field(ge=LEAST_MTOK, le=MOST_MTOK, examples=[500])
    ] = None
    """Instead of --utilisation: millions of tokens a month, in and out, as Llama 4 counts them."""
    requests_per_month: Annotated[
        Decimal | None, Flag(kind=float), Field(ge=1, le=10**12, examples=["3M"])
    ] = None
    """The same in requests of the length that is compared."""
    token_ratio: Annotated[
        Decimal | None, Flag(kind=float), Field(ge=Decimal("0.2"), le=5, examples=[1.2])
    ] = None
    """Claude tokens per Llama 4 token."""
    content: Annotated[
        Annotated[str, AfterValidator(measured)] | None,
        Field(description=f"{either(kinds_of_text())}: sets the ratio."),
    ] = None
    claude_input_ratio: Annotated[Decimal, Flag(kind=float), Field(ge=Decimal("0.01"), le=100)] = Decimal(1)
    """Length of Claude's prompt over Llama's: one that is fine-tuned may need less."""
    claude_output_ratio: Annotated[Decimal, Flag(kind=float), Field(ge=Decimal("0.01"), le=100)] = Decimal(1)
    """Length of Claude's answer over Llama's."""
    cache_read_fraction: Annotated[Share | None, Flag(kind=float), Field(examples=[0.5])] = None
    """Of the prompt, from a prefix cache: at Claude and here. [as probed or planned]"""
    cache_write_fraction: Share = Decimal(0)
    """Of the prompt, at Claude: kept for five minutes."""
    cache_write_1h_fraction: Share = Decimal(0)
    """Of the prompt, at Claude: kept for an hour."""
    thinking_tokens: Annotated[Decimal, Flag(kind=float), Field(ge=0, le=MOST_TOKENS, examples=[500])] = (
        Decimal(0)
    )
    """Of a request to Claude, in its tokens; billed as output."""
    classes: ServedClasses = ()
    """A share of the requests, here or at the Claude that is good enough for it; repeatable. [as probed or planned]"""
    retries: Share = Decimal(0)
    """Share of our answers that are asked for again here."""
    claude_retries: Share = Decimal(0)
    """The same of Claude's."""
    ttft: Annotated[float | None, Field(gt=0, le=MOST_PROMISED_S, examples=[2])] = None
    """Seconds to the first token, at most: what the machine serves within that."""
    tpot: Annotated[float | None, Field(gt=0, le=MOST_PROMISED_S, examples=[0.05])] = None
    """The same of each token after it."""
    claude_share: Share | None = None
    """Share of tokens sent to Claude."""
    escalation: Annotated[Share, Field(examples=["0.2 --claude-share 0.5"])] = Decimal(0)
    """Share of ours asked again there."""
    allow_invalid: bool = False
    """Use an invalid probe."""

    @property
    def promised(self) -> Promised:
        """What requests may wait for here."""
        return Promised(self.ttft, self.tpot)

    @property
    def staying(self) -> tuple[ServedClass, ...]:
        """The classes that are answered here, as a whole of their own: what both sides are compared at."""
        return staying(self.classes)

    @property
    def way(self) -> Way:
        """How Claude is asked."""
        return Way(batch=self.batch, us_only=self.us_only)

    @model_validator(mode="after")
    def without_contradiction(self) -> Self:
        """No two options that cannot both hold. Raises UsageError."""
        volumes = (self.mtok_per_month, self.requests_per_month, self.utilisation)
        if sum(volume is not None for volume in volumes) > 1:
            raise UsageError(
                "A volume already says how busy the machine is.",
                "Use one of --utilisation, --mtok-per-month and --requests-per-month.",
            )
        if self.token_ratio is not None and self.content is not None:
            raise UsageError(
                "A kind of text already sets the ratio.", "Use --token-ratio or --content, not both."
            )
        check_promised("ttft", self.ttft)
        check_promised("tpot", self.tpot)
        read = self.cache_read_fraction or Decimal(0)
        check_cached(1 - read - self.cache_write_fraction - self.cache_write_1h_fraction)
        check_served(self.classes)
        if any(each.ttft_s or each.tpot_s for each in self.classes):
            raise UsageError(
                "What a comparison promises is promised to all.", "Say it with --ttft and --tpot."
            )
        if self.escalation and self.claude_share is None:
            raise UsageError(
                "--escalation is a part of a hybrid.",
                "Say how much goes to Claude at once: --claude-share 0",
            )
        if self.claude_share is not None and any(each.reaches_claude for each in self.classes):
            raise UsageError(
                "The classes say already what reaches Claude.", "Leave out --claude-share and --escalation."
            )
        return self
