"""What each class of a traffic costs, where it is answered, and what each team's classes cost together."""

from deploy.costs.served_class import Place
from infra.money import Number, Usd
from infra.record import Record


class Split(Record):
    """A month of some of the requests: what of them is answered here, what is at Claude, and what that costs."""

    requests_per_month: Number
    """All of them, wherever they are answered."""
    mtok_per_month: Number
    """Input and output of all of them, as Llama 4 counts."""
    requests_here: Number
    """Of these, answered by the machines."""
    requests_at_claude: Number
    """Those answered there at once, and those asked again there."""
    here_usd: Usd
    """Their part of the machines' bill, by their tokens of all that are served here."""
    claude_usd: Usd
    """What Claude bills a month for those that reach it."""
    usd_per_month: Usd
    """Both."""
    all_claude_usd: Usd
    """Were Claude to answer all of them, each at the model that is good enough for it."""
    saving_usd_per_month: Usd
    """What doing some of it here saves; below 0, what it costs more."""


class ClassBill(Split):
    """One class."""

    name: str
    """As it was named."""
    team: str
    """Empty is nobody's in particular."""
    share: Number
    """Of all requests."""
    at: Place
    """Who answers it first: the machines, or Claude."""
    claude: str
    """The id of the model that is good enough for it."""
    escalation: Number
    """Share of what is answered here that is asked again at Claude, 0 to 1."""
    fallback: bool
    """Whether a request that fails here may go to Claude by itself."""


class TeamBill(Split):
    """All classes of a team."""

    team: str
    """As the classes name it."""


class ByClass(Record):
    """A traffic of several classes."""

    classes: tuple[ClassBill, ...]
    """In the order in which they were named."""
    teams: tuple[TeamBill, ...]
    """Empty where no class is of a team."""
    total: Split
    """All classes together."""
