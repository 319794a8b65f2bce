"""What every format is given, and what it answers."""

from deploy.costs.served_class import Place
from deploy.targets.ec2.options import BoxOptions
from infra.host import HostFile
from infra.record import Record
from serving.sizing.plan import Plan


class RoutedClass(Record):
    """What a router must know of a class of the traffic."""

    name: str
    at: Place
    claude: str | None
    """None is the one that answers where the servers fail."""
    escalation: float
    fallback: bool
    us_only: bool = False
    """Whether Claude's answers must come of the US."""


class Ask(Record):
    """What is to be rendered: a plan under a name, and what the flags add to it."""

    plan: Plan
    name: str
    replicas: int = 1
    endpoints: tuple[str, ...] = ()
    """The base URLs of servers that run; for a router in front of them."""
    claude_model: str
    """Who answers in place of the servers, where something is to leave."""
    falls_back: bool = False
    """Whether it answers for the served model's one name where every server fails."""
    classes: tuple[RoutedClass, ...] = ()
    """What LiteLLM offers under a name each."""
    has_one_name: bool = True
    """Whether all may be asked by the served model's name too: where somebody named classes, by theirs alone."""
    namespaces: tuple[str, ...] = ()
    """Of Kubernetes: whose pods may ask the server, beside those of its own namespace."""
    ttft_s: float | None = None
    """What is promised until the first token; None promises nothing."""
    budget_usd_per_month: float | None = None
    ends_at: str | None = None
    """When a machine ends itself, in UTC."""
    gpu_metrics: tuple[str, ...] = ()
    """The base URLs of DCGM exporters."""
    gateway_metrics: tuple[str, ...] = ()
    """The base URLs of HAProxy's own pages."""
    box: BoxOptions = BoxOptions()
    """The rented machine, where the format asks for one."""

    @property
    def resource_name(self) -> str:
        """The name of everything that has one; it begins with a letter, as Kubernetes wants."""
        return f"corral-{self.name}"


class Export(Record):
    """The files of one format, and what a reader must know before using them; the last note is the next step."""

    format: str
    """The tool, as --to names it."""
    files: tuple[HostFile, ...]
    """Each with its text."""
    notes: tuple[str, ...]
    """What must be known or done first, in order."""
