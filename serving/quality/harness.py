"""Door: lm-evaluation-harness, a program of its own: started, waited for, its samples read."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from infra import offline
from infra.data import shipped_table
from infra.errors import HostError
from infra.printable import one_line
from infra.record import read_bytes
from serving.quality.respondent import Respondent
from serving.quality.tasks import KEY_OF, Items, TaskResult, arguments, items_of, result, tasks

PROGRAM = "lm_eval"
MOST_BYTES = 1024 * 1024 * 1024


def check_there(chosen: tuple[str, ...]) -> None:
    """Raise UsageError where the internet is forbidden, HostError where the program is not there."""
    if not chosen:
        return
    offline.refuse("the Hugging Face Hub for the tasks' items")
    if shutil.which(PROGRAM) is None:
        raise HostError(
            "--tasks needs lm-evaluation-harness, and lm_eval is not on the PATH.",
            f"Install it: {shipped_table('serving.quality', 'tasks.toml')['install']}",
        )


def run_tasks(
    a: Respondent, b: Respondent, chosen: tuple[str, ...], limit: int | None, say: Callable[[str], None]
) -> tuple[TaskResult, ...]:
    """Both on each task. Raises HostError where the program fails."""
    found = []
    for task in chosen:
        items = []
        for each in (a, b):
            say(f"lm_eval: {task} for {each}")
            items.append(samples(each, task, limit))
        if not items[0].keys() & items[1].keys():
            raise failed(task, "A and B have no item in common")
        found.append(result(task, *items))
    return tuple(found)


def samples(of: Respondent, task: str, limit: int | None) -> Items:
    """What each item was worth to one endpoint. Raises HostError."""
    with tempfile.TemporaryDirectory(prefix="corral-tasks-") as folder:
        command = [PROGRAM, *arguments(of, tasks()[task], limit, folder)]
        with tempfile.TemporaryFile() as said:
            code = subprocess.run(
                command,
                env=environment(of, task),
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                check=False,
            ).returncode
            if code:
                said.seek(max(0, said.tell() - 4096))
                raise failed(task, last_line(said.read()))
        return read_samples(task, Path(folder))


def environment(of: Respondent, task: str) -> dict[str, str]:
    """The program's: the endpoint's key, and no proxy on the way to it."""
    host = urlsplit(of.target.base_url).hostname or ""
    direct = ",".join(filter(None, (os.environ.get("NO_PROXY") or os.environ.get("no_proxy"), host)))
    given = os.environ | {"NO_PROXY": direct, "no_proxy": direct}
    if of.api_key:
        given[KEY_OF[of.target.api]] = of.api_key
    return given | ({"HF_ALLOW_CODE_EVAL": "1"} if tasks()[task].runs_code else {})


def read_samples(task: str, folder: Path) -> Items:
    """The items of all files that the program wrote. Raises HostError where there are none."""
    found: Items = {}
    for path in sorted(folder.rglob("samples_*.jsonl")):
        # samples_NAME_DATE.jsonl: the same name for both endpoints, another date.
        name = path.stem.rpartition("_")[0]
        try:
            found |= items_of(name, read_bytes(path, "Run it again.", MOST_BYTES))
        except ValueError as error:
            raise failed(task, f"{path.name} is not as expected, {error}") from None
    if not found:
        raise failed(task, "it wrote no samples")
    return found


def failed(task: str, why: str) -> HostError:
    """What to say of a program that is not ours."""
    return HostError(
        f"lm_eval did not do {task}: {one_line(why).rstrip('.')}.", "Try it by hand: lm_eval --help"
    )


def last_line(said: bytes) -> str:
    """The last thing it said."""
    lines = [line for line in said.decode(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
