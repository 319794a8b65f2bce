"""One host's share of a server as every container platform is told it."""

import re
import shlex
from math import ceil

from deploy.export.rendering import Ask
from deploy.targets import adapters
from infra.argument import pasted
from infra.errors import UsageError
from infra.fetch.listing import FETCHED
from infra.record import Record
from serving.sizing.plan import Plan
from serving.sizing.plan_again import size_again
from serving.vllm.lora_modules import LoraModule
from serving.vllm.serve_options import WITHIN_ONE_HOST, ServeOptions, across_nodes, argv, environment
from serving.vllm.startup_log import load_budget_s
from serving.vllm.versions import rules

# The places inside; the image (vLLM's docs/deployment/docker.md) also runs as this user, who is nobody in it.
MODEL, HOME, TEMPORARY = "/model", "/var/lib/corral", "/tmp"
DRAFT = f"{MODEL}/draft"
ADAPTERS = "adapters"
"""Their folder, below that of the weights."""
USER, GROUP = 2000, 0
# NCCL and vLLM's processes talk through /dev/shm; memory is taken only as it is used.
SHM_GIB = 16
GIB = 2**30

TOKEN = "; export HF_TOKEN=... (empty for a model that is not gated)"

# An HTTP probe of Kubernetes cannot carry a key that is a secret; /health alone does not say that a model is served.
IS_READY = (
    "import os, urllib.request as http; http.urlopen(http.Request('http://127.0.0.1:{port}/v1/models', "
    "headers={{'Authorization': 'Bearer ' + os.environ['VLLM_API_KEY']}}), timeout=5)"
)


class Container(Record):
    """The image and what it is told; what differs between the hosts of one server is added by the platform."""

    image: str
    tag: str
    command: tuple[str, ...]
    environment: dict[str, str]
    gpus: int
    hosts: int
    port: int
    load_budget_s: int
    """How long it may take until it is ready."""
    stop_s: int
    """How long it may take to end: the drain, and half a minute."""
    model: str
    """A repository of the Hub, or a folder."""
    revision: str | None = None
    """The commit of the repository, where the plan names one."""
    weights_gib: int
    draft: str | None = None
    """A repository of the Hub, or a folder; None where nothing is loaded beside the model."""
    draft_revision: str | None = None
    adapters: tuple[LoraModule, ...] = ()

    @property
    def sealed_environment(self) -> dict[str, str]:
        """The same where the system is read-only, and the user has no home in it."""
        return self.environment | {"HOME": HOME, "TMPDIR": TEMPORARY}

    @property
    def is_ready(self) -> tuple[str, ...]:
        """The command, inside, that fails until the model is served."""
        return ("python3", "-c", IS_READY.format(port=self.port))

    @property
    def is_repository(self) -> bool:
        """Whether the weights come from the Hub."""
        return not self.model.startswith("/")

    @property
    def fetch(self) -> tuple[str, ...]:
        """What brings the weights, where they come from the Hub; a token is read from HF_TOKEN."""
        model = downloaded(self.model, self.revision, MODEL)
        if not self.draft:
            return model
        return ("sh", "-c", f"{shlex.join(model)} && {shlex.join(self.fetch_draft(DRAFT))}")

    def fetch_draft(self, place: str) -> tuple[str, ...]:
        """The same of the draft, to a place."""
        assert self.draft
        return downloaded(self.draft, self.draft_revision, place)

    @property
    def fetch_online(self) -> str:
        """The same for a shell that has the server's environment, in which the Hub is switched off."""
        return shlex.join(("env", "-u", "HF_HUB_OFFLINE", "-u", "TRANSFORMERS_OFFLINE", *self.fetch))

    @property
    def folders(self) -> str:
        """The shell's command that makes the folders the server writes to."""
        return shlex.join(("mkdir", "-p", self.environment["TMPDIR"]))


def downloaded(repo: str, revision: str | None, place: str) -> tuple[str, ...]:
    """The command that brings what a server reads of a commit, and no pickles; it verifies nothing."""
    commit = ("--revision", revision) if revision else ()
    files = [word for pattern in FETCHED for word in ("--include", pattern)]
    return ("hf", "download", repo, *commit, *files, "--exclude", "*/*", "--local-dir", place)


def container(ask: Ask, listen: str) -> Container:
    """The plan's server in vLLM's own image, of the plan's version."""
    plan = ask.plan
    options = plan.serve.model_copy(update={"model": MODEL, "revision": None, "host": listen})
    options = options.with_draft(DRAFT)
    options = options.model_copy(update={"lora_modules": adapters.there(plan.serve, f"{MODEL}/{ADAPTERS}")})
    check_draft(plan.serve)
    budget_s = load_budget_s(plan.weights_bytes)
    given = environment(HOME, budget_s)
    if plan.machine.hosts > 1:
        # The others must find it: every platform says its own.
        given = {name: value for name, value in given.items() if name not in WITHIN_ONE_HOST}
    split = plan.parallel
    return Container(
        image="docker.io/vllm/vllm-openai",
        tag=checked_tag(plan),
        command=("vllm", *argv(options)),
        environment=given,
        gpus=split.tensor * split.pipeline * split.data // plan.machine.hosts,
        hosts=plan.machine.hosts,
        port=options.port,
        load_budget_s=budget_s,
        stop_s=options.shutdown_timeout + 30,
        model=plan.serve.model,
        revision=plan.serve.revision,
        weights_gib=ceil((plan.weights_bytes + (plan.drafts.weights_bytes if plan.drafts else 0)) / GIB),
        draft=plan.serve.draft,
        draft_revision=plan.serve.draft_revision,
        adapters=plan.serve.lora_modules,
    )


def check_draft(serve: ServeOptions) -> None:
    """Raise UsageError for a draft in a folder beside a model of the Hub: a container has both in one place."""
    if serve.draft and serve.draft.startswith("/") and not serve.model.startswith("/"):
        raise UsageError(
            f"The draft {serve.draft} is a folder, and the model {serve.model} a repository: both come one way.",
            f"Plan with both in folders (hf download {pasted(serve.model)} --local-dir checkpoint), or with the "
            "draft's repository.",
        )


def checked_tag(plan: Plan) -> str:
    """The tag of the plan's vLLM. Raises UsageError for one that no image can have."""
    tag = f"v{plan.vllm_version.removeprefix('v')}"
    if not re.fullmatch(r"v[0-9][0-9A-Za-z_.-]{0,60}", tag):
        newest = plan.model_copy(update={"vllm_version": rules().version})
        raise UsageError(
            f"There is no image of vLLM {tag.removeprefix('v')[:40]!r}.",
            f"Plan for a release: {size_again(newest, plan.machine.name)} -o plan.json",
        )
    return tag


def mounted(path: str) -> str:
    """A folder of the host, for a form that writes `FOLDER:PLACE`. Raises UsageError for one it cannot tell apart."""
    if not re.fullmatch(r"/[\w@%+=,./-]*", path):
        raise UsageError(
            f"This format cannot be told of the folder {path!r}: only of letters, digits and @%+=,./-_",
            "Make a link of a plain name to it, and plan with that.",
        )
    return path


def shell_line(box: Container, rank: str, master: str) -> str:
    """The command for a shell, without the Hub's token; `rank` and `master` name the shell's variables."""
    line = f"exec env -u HF_TOKEN {shlex.join(box.command)}"
    if box.hosts == 1:
        return line
    place = " ".join(across_nodes(box.hosts, f'"${rank}"', f'"${master}"', headless=False))
    return f'headless=--headless\n[ "${rank}" != 0 ] || headless=\n{line} {place} $headless'


def bring_weights(box: Container, place: str) -> str:
    """How the weights get to their place, as a note."""
    if not box.is_repository:
        told = f"The weights are expected at {place}, readable for user {USER}; they are mounted read-only."
        return f"{told}{draft_beside(box, place)}{adapters_beside(box, place)}"
    fetch = shlex.join(downloaded(box.model, box.revision, place))
    if box.draft:
        fetch += f" && {shlex.join(box.fetch_draft(f'{place}/draft'))}"
    size = f"{box.weights_gib} GiB; hf of huggingface_hub 1.0 or newer"  # an older takes the last --include alone
    bring = f"Bring the weights first ({size}): {fetch}. The server itself is offline."
    return f"{bring}{adapters_beside(box, place)}"


def adapters_beside(box: Container, place: str) -> str:
    """How the adapters get beside weights that lie there, as a further sentence; empty without any."""
    if not box.adapters:
        return ""
    return f" The adapters are expected below it: {adapters.copied(box.adapters, f'{place}/{ADAPTERS}')}"


def draft_note(box: Container) -> tuple[str, ...]:
    """The same as a note by itself, of weights in a folder; none without a draft."""
    told = "" if box.is_repository else draft_beside(box, box.model)
    return (told.strip(),) if told else ()


def draft_beside(box: Container, place: str) -> str:
    """Where the draft is expected beside weights that lie there, as a further sentence; empty without one."""
    if not box.draft:
        return ""
    bring = (
        ("cp", "-r", box.draft, f"{place}/draft")
        if box.draft.startswith("/")
        else box.fetch_draft(f"{place}/draft")
    )
    return f" The draft is expected in draft/ there: {shlex.join(bring)}"
