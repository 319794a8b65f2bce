"""One host's share of a server as every container platform is told it."""

import re
import shlex
from math import ceil

from deploy.export.rendering import Ask
from infra.errors import UsageError
from infra.record import Record
from serving.vllm.serve_options import WITHIN_ONE_HOST, across_nodes, argv, environment
from serving.vllm.startup_log import load_budget_s

# The places inside; the image (vLLM's docs/deployment/docker.md) also runs as this user, who is nobody in it.
MODEL, HOME, TEMPORARY = "/model", "/var/lib/corral", "/tmp"
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
    def at_commit(self) -> tuple[str, ...]:
        """The options of `hf download` that name the commit."""
        return ("--revision", self.revision) if self.revision else ()

    @property
    def fetch(self) -> tuple[str, ...]:
        """What brings the weights, where they come from the Hub; a token is read from HF_TOKEN."""
        return ("hf", "download", self.model, *self.at_commit, "--local-dir", MODEL)

    @property
    def fetch_online(self) -> str:
        """The same for a shell that has the server's environment, in which the Hub is switched off."""
        return shlex.join(("env", "-u", "HF_HUB_OFFLINE", "-u", "TRANSFORMERS_OFFLINE", *self.fetch))

    @property
    def folders(self) -> str:
        """The shell's command that makes the folders the server writes to."""
        return shlex.join(("mkdir", "-p", self.environment["TMPDIR"]))


def container(ask: Ask, listen: str) -> Container:
    """The plan's server in vLLM's own image, of the plan's version."""
    plan = ask.plan
    options = plan.serve.model_copy(update={"model": MODEL, "revision": None, "host": listen})
    budget_s = load_budget_s(plan.weights_bytes)
    given = environment(HOME, budget_s)
    if plan.machine.hosts > 1:
        # The others must find it: every platform says its own.
        given = {name: value for name, value in given.items() if name not in WITHIN_ONE_HOST}
    split = plan.parallel
    return Container(
        image="docker.io/vllm/vllm-openai",
        tag=checked_tag(f"v{plan.vllm_version.removeprefix('v')}"),
        command=("vllm", *argv(options)),
        environment=given,
        gpus=split.tensor * split.pipeline * split.data // plan.machine.hosts,
        hosts=plan.machine.hosts,
        port=options.port,
        load_budget_s=budget_s,
        stop_s=options.shutdown_timeout + 30,
        model=plan.serve.model,
        revision=plan.serve.revision,
        weights_gib=ceil(plan.weights_bytes / GIB),
    )


def checked_tag(tag: str) -> str:
    """Return the tag, or raise UsageError for one that no image can have."""
    if not re.fullmatch(r"v[0-9][0-9A-Za-z_.-]{0,60}", tag):
        raise UsageError(
            f"There is no image of vLLM {tag.removeprefix('v')[:40]!r}.",
            "Plan for a release: corral size MODEL --on MACHINE --vllm-version 0.33.0",
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
        return f"The weights are expected at {place}, readable for user {USER}; they are mounted read-only."
    fetch = shlex.join(("hf", "download", box.model, *box.at_commit, "--local-dir", place))
    return f"Bring the weights first ({box.weights_gib} GiB): {fetch}. The server itself is offline."
