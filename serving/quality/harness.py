"""Door: lm-evaluation-harness, a program of its own: started, waited for, its samples read."""

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from infra import offline
from infra.data import shipped_table
from infra.errors import HostError
from infra.fetch import authorities
from infra.printable import one_line
from infra.record import read_bytes
from serving.quality.quality_options import QualityOptions
from serving.quality.respondent import Respondent
from serving.quality.task_result import Kept, TaskResult, kept, result
from serving.quality.tasks import KEY_OF, Task, arguments

PROGRAM = "lm_eval"
MOST_BYTES = 1024 * 1024 * 1024


def check_there(tasks: tuple[Task, ...]) -> None:
    """Raise UsageError where the internet is forbidden, HostError where the program is not there."""
    if not tasks:
        return
    if not all(task.folder for task in tasks):
        offline.refuse("the Hugging Face Hub for the tasks' items")
    if shutil.which(PROGRAM) is None:
        raise HostError(
            "--tasks needs lm-evaluation-harness, and lm_eval is not on the PATH.",
            f"Install it: {shipped_table('serving.quality', 'tasks.toml')['install']}",
        )


def run_tasks(
    a: Respondent, b: Respondent, tasks: tuple[Task, ...], asked: QualityOptions, say: Callable[[str], None]
) -> tuple[TaskResult, ...]:
    """Both on each task. Raises HostError where the program fails."""
    found = []
    for task in tasks:
        runs = []
        for each in (a, b):
            say(f"lm_eval: {task.short} for {each}")
            runs.append(run_task(each, task, arguments(each, task, asked.task_items, asked.task_tokenizer)))
        try:
            found.append(result(task.short, *runs))
        except ValueError as error:
            raise failed(task, str(error)) from None
    return tuple(found)


def run_task(of: Respondent, task: Task, words: tuple[str, ...]) -> Kept:
    """What each item was worth to one endpoint. Raises HostError."""
    with tempfile.TemporaryDirectory(prefix="corral-tasks-") as place, tempfile.TemporaryFile() as said:
        output = Path(place) / "output"
        code = subprocess.run(
            [PROGRAM, *words, "--output_path", str(output)],
            env=environment(of, task, Path(place)),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            check=False,
        ).returncode
        if code:
            said.seek(max(0, said.tell() - 4096))
            raise failed(task, last_line(said.read()), words)
        try:
            files = {path.name: path for path in sorted(output.rglob("*.json*"))}
            return kept(
                task.metric,
                {name: read_bytes(path, "Run it again.", MOST_BYTES) for name, path in files.items()},
            )
        except ValueError as error:
            raise failed(task, str(error), words) from None


def environment(of: Respondent, task: Task, place: Path) -> dict[str, str]:
    """The program's: the endpoint's key and none of the user's for others, no proxy on the way to it, whom to trust."""
    host = urlsplit(of.target.base_url).hostname or ""
    direct = ",".join(filter(None, (os.environ.get("NO_PROXY") or os.environ.get("no_proxy"), host)))
    given = {name: value for name, value in os.environ.items() if name not in KEY_OF.values()}
    # It refuses to start without a key for Anthropic's API, whether the server wants one or not.
    given |= {"NO_PROXY": direct, "no_proxy": direct, KEY_OF[of.target.api]: of.api_key or ""}
    if of.target.ca_file:
        given["SSL_CERT_FILE"] = str(trusted(of.target.ca_file, place))
    if offline.is_offline():
        given |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    return given | ({"HF_ALLOW_CODE_EVAL": "1"} if task.runs_code else {})


def trusted(own: Path, place: Path) -> Path:
    """The endpoint's authority in one file with those that are trusted already: the Hub has another."""
    before = os.environ.get("SSL_CERT_FILE") or authorities.bundle()
    both = place / "trusted.pem"
    both.write_bytes(b"\n".join(Path(each).read_bytes() for each in (before, own) if each))
    return both


def failed(task: Task, why: str, words: tuple[str, ...] = ()) -> HostError:
    """What to say of a program that is not ours."""
    return HostError(
        f"lm_eval did not do {task.short}: {one_line(why).rstrip('.')}.",
        f"Try it by hand: {shlex.join((PROGRAM, *words))}" if words else "Run it again.",
    )


def last_line(said: bytes) -> str:
    """The last thing it said."""
    lines = [line for line in said.decode(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
