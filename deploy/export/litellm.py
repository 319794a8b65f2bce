"""LiteLLM proxy: the replicas as one model, and, where that was asked for, Claude when all of them fail.

With classes: each as a model of its own, here or at Claude, and nothing of one leaves but where it says so.
"""

from decimal import Decimal
from typing import Any, NamedTuple

from deploy.costs.claude_platforms import platforms
from deploy.costs.claude_prices import ClaudeModel
from deploy.export.litellm_claude import answering, parameters, taken_from_outside
from deploy.export.rendering import Ask, Export, RoutedClass
from infra.host import HostFile
from infra.money import MTOK
from infra.yaml_text import dumped

LITELLM = "1.109.1"
# Its extras are the tables of a database, and its own pin of them is not in every index.
INSTALL = f"uv pip install --override <(echo litellm-proxy-extras) 'litellm[proxy]=={LITELLM}'"
NO_LIMIT = (
    "Nothing here limits what Claude costs: LiteLLM enforces a max_budget only where the proxy has a database "
    "(DATABASE_URL)."
)
ROUTING = {
    # Of two replicas one of which answers 500 or was killed, every request ends at the other: a server that failed once
    # is left out for the cooldown, and asked for again before anybody else is (tests/test_litellm_proxy.py).
    "num_retries": 3,
    "allowed_fails": 0,
    "cooldown_time": 10,
    "timeout": 600,
}


def render(ask: Ask) -> Export:
    """config.yaml; every key is read from LiteLLM's environment."""
    routes = routes_of(ask)
    falls_back = [{each.name: [each.claude_name]} for each in routes if each.fallback]
    leaves = {"fallbacks": falls_back, "context_window_fallbacks": falls_back} if falls_back else {}
    config = {
        "model_list": [entry for each in routes for entry in entries(ask, each)],
        "router_settings": {**ROUTING, **leaves},
        "litellm_settings": {"drop_params": True},
        "general_settings": {"master_key": "os.environ/LITELLM_MASTER_KEY"},
    }
    return Export(
        format="litellm",
        files=(HostFile(path="config.yaml", content=dumped(config)),),
        notes=(
            f"A configuration of this form was run with litellm {LITELLM} against fake back ends.",
            *(fallback_notes(routes[0]) if ask.has_one_name else ()),
            *(class_notes(routes[ask.has_one_name :]) if ask.classes else ()),
            *platform_notes(routes),
            *keys_note(ask),
            *([NO_LIMIT] if any(each.claude for each in routes) else []),
            *(price_note(ask) if any(each.is_here for each in routes) else ()),
            f"Next: {INSTALL}, set {', '.join(set_before(routes))} and LITELLM_LOCAL_MODEL_COST_MAP=True, "
            "then litellm --config config.yaml --host 127.0.0.1",
        ),
    )


class Route(NamedTuple):
    """What a caller asks for by one name, and where it is answered."""

    name: str
    is_here: bool
    claude_name: str
    """By which a caller asks Claude itself; the name of the route where Claude answers it anyway."""
    claude: ClaudeModel | None
    """Who answers there; None where nothing of it may leave."""
    fallback: bool
    """Whether Claude answers where no server does, or a request is too long for them."""
    asks_again: bool
    """Whether a caller may ask Claude after an answer from here."""


def routes_of(ask: Ask) -> tuple[Route, ...]:
    """One a class; where none was named the served model. Raises UsageError for a Claude that is retired."""
    classes = tuple(route_of(each, ask) for each in ask.classes)
    if not ask.has_one_name:
        return classes
    name = ask.plan.serve.served_model_name
    there = answering(ask.claude_model, "--claude-model ") if ask.falls_back else None
    one = Route(name, True, there.id if there else name, there, ask.falls_back, asks_again=False)
    return (one, *classes)


def route_of(asked: RoutedClass, ask: Ask) -> Route:
    """A class under a name of its own, and Claude beside it only where something of it may leave."""
    name, is_here = f"corral/{asked.name}", asked.at == "here"
    leaves = not is_here or asked.fallback or asked.escalation > 0
    there = None
    if leaves:
        named = (asked.claude, "claude=") if asked.claude else (ask.claude_model, "--claude-model ")
        there = answering(*named, asked.us_only)
    return Route(
        name, is_here, f"{name}/claude" if is_here else name, there, asked.fallback, asked.escalation > 0
    )


def entries(ask: Ask, route: Route) -> tuple[dict[str, Any], ...]:
    """What answers to the names of a route: each replica, and Claude."""
    here = tuple(own(ask, route.name, each) for each in endpoints(ask)) if route.is_here else ()
    if route.claude is None:
        return here
    return (*here, {"model_name": route.claude_name, "litellm_params": parameters(route.claude)})


def set_before(routes: tuple[Route, ...]) -> tuple[str, ...]:
    """What LiteLLM must find in its environment."""
    models = tuple(each.claude for each in routes if each.claude is not None)
    ours = ("VLLM_API_KEY",) if any(each.is_here for each in routes) else ()
    return (*ours, *taken_from_outside(models), "LITELLM_MASTER_KEY")


def fallback_notes(route: Route) -> tuple[str, ...]:
    """What leaves where there is one name for all."""
    if route.claude is None:
        return (
            f"{route.name} stays: where no server answers, it fails (--fallback-to-claude sends it to Claude).",
        )
    return (
        f"Where every server fails, or a request is too long for them, {route.claude_name} gets it, as was asked for: "
        "its prompt leaves the building, and is billed.",
    )


def class_notes(routes: tuple[Route, ...]) -> tuple[str, ...]:
    """What leaves, a line for each class."""
    return (
        *(class_note(each) for each in routes),
        "The caller names the class: LiteLLM holds nobody to one without a database of keys, and takes `fallbacks` "
        "that a request brings. Give it no key for Claude where nothing may leave.",
    )


def class_note(route: Route) -> str:
    """What leaves of one class."""
    if route.claude is None:
        return f"{route.name} stays: where no server answers, it fails."
    if not route.is_here:
        return f"{route.name} is answered by {route.claude.id}: all of it leaves your machines."
    fails = f"{route.claude.id} answers it" if route.fallback else "it fails"
    again = f"; a caller asks again with the model name {route.claude_name}" if route.asks_again else ""
    return f"{route.name} is answered here; where no server does, {fails}{again}."


def platform_notes(routes: tuple[Route, ...]) -> tuple[str, ...]:
    """How far the words for a Claude that others sell were tried."""
    sellers = dict.fromkeys(each.claude.platform for each in routes if each.claude is not None)
    return tuple(
        f"{platforms()[name].name} is asked in LiteLLM's words, which were not run."
        for name in sellers
        if name not in ("api", "bedrock")
    )


def endpoints(ask: Ask) -> tuple[str, ...]:
    """Where the servers answer, as given; else where the plan's own would, on this machine."""
    return ask.endpoints or (f"http://127.0.0.1:{ask.plan.serve.port}",)


def keys_note(ask: Ask) -> tuple[str, ...]:
    """What several servers must share."""
    told = "All of the servers must have one key: a router is told none of them apart."
    return (told,) if len(endpoints(ask)) > 1 else ()


def own(ask: Ask, name: str, endpoint: str) -> dict[str, Any]:
    """One replica under a name. Without a price of its own LiteLLM would count it as free."""
    serve = ask.plan.serve
    length = {"max_input_tokens": serve.max_model_len} if serve.max_model_len else {}
    return {
        "model_name": name,
        "litellm_params": {
            "model": f"hosted_vllm/{serve.served_model_name}",
            "api_base": f"{endpoint}/v1",
            "api_key": "os.environ/VLLM_API_KEY",
            **price(ask),
        },
        "model_info": {"mode": "chat", **length},
    }


def price(ask: Ask) -> dict[str, float]:
    """The machine's whole cost on the tokens it writes, as the plan counts it."""
    if ask.plan.usd_per_mtok is None:
        return {}
    return {
        "input_cost_per_token": 0.0,
        "output_cost_per_token": float(Decimal(ask.plan.usd_per_mtok) / MTOK),
    }


def price_note(ask: Ask) -> tuple[str, ...]:
    """What the price of a token means."""
    if ask.plan.usd_per_mtok is None:
        return ("The plan has no price: LiteLLM will count your own servers as free.",)
    return (
        f"output_cost_per_token is the plan's {ask.plan.usd_per_mtok} USD per million output tokens, at its load and "
        "never idle: modelled. Put in what corral compare says of your probe.",
    )
