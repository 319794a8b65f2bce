#!/usr/bin/env python3
"""heal begin|ended|judged|note|verify NAME: around the server's life, as root: wait, count ends, give up, verify.

systemd runs `begin` before each start, `ended` after each end, and `judged` when the judge beside the server has ended:
all that is heard of him is the code he ended with. `note` is for what corral has to tell, `verify` for what it asks.
What the disk does not take is lost, or waits in memory; what is to be done is done all the same. Standard library only:
it runs with the host's own Python.
"""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

try:
    from infra.onhost import codes, history, judge, marks, sums, xid
    from infra.onhost.marks import forget, text_of, write
except ImportError:  # on a host they lie beside it
    sys.path.insert(0, str(Path(__file__).parent))
    import codes  # type: ignore[import-not-found, no-redef]
    import history  # type: ignore[import-not-found, no-redef]
    import judge  # type: ignore[import-not-found, no-redef]
    import marks  # type: ignore[import-not-found, no-redef]
    import sums  # type: ignore[import-not-found, no-redef]
    import xid  # type: ignore[import-not-found, no-redef]
    from marks import forget, text_of, write  # type: ignore[no-redef]

RESTART_SEC = 10.0
"""What systemd itself waits before a start that follows an end."""
GPUS_EVERY_S = 5.0
PATIENCE_S = 30
"""For a program of the host's: a driver that hangs holds up nobody."""
FULL_EVERY_S, FULL_S = 30.0, 1200.0
"""How often a full disk is looked at, and for how long before a start is refused: of the hour that systemd gives it
GPUs that are late may take a quarter, and the sums of the weights need what is left."""
ROOM_BYTES = 4 * 2**20
MOST_LOG_LINES = 5000
MOST_LOG_BYTES = 2**20
LOST = re.compile(r"(?:Worker proc \S+ died|engine core exited) unexpectedly")
POLICY = judge.Policy()


class Place(NamedTuple):
    """Where a deployment keeps what is known of its server's lives."""

    name: str
    root: Path
    """On the disk, for after a reboot."""
    run: Path
    """In memory, which no full disk takes away: the marks of its server's life, why a start was refused, and what of
    its history the disk did not take yet. Where memory is full, marks are on the disk."""

    @property
    def folders(self) -> tuple[Path, Path]:
        """Where its marks are looked for and put, in this order."""
        return self.run, self.root

    @property
    def unit(self) -> str:
        """The server's."""
        return f"corral-{self.name}.service"

    @property
    def state(self) -> Path:
        """The one folder that the server may write."""
        return Path(f"/var/lib/corral-{self.name}")


def main() -> None:
    """Do what systemd asks for."""
    order, name, *rest = sys.argv[1:]
    place = Place(name, Path(__file__).parent.parent, Path(f"/run/corral-{name}"))
    with suppress(OSError):
        place.run.mkdir(exist_ok=True)
        place.run.chmod(0o755)  # the unit's umask is not for what the judge looks into
    if order == "begin":
        begin(place)
    elif order == "ended":
        ended(place, os.environ)
    elif order == "judged":
        judged(place, os.environ)
    elif order == "note":
        note(place, *rest)  # type: ignore[arg-type]  # by corral, who knows the words
    elif order == "verify":
        verify(place)


def begin(place: Place, sleep: Callable[[float], None] = time.sleep) -> None:
    """Wait as long as the ends before it ask for, and for GPUs that are late. Raises SystemExit where some lack."""
    forget_marks(place)
    marks.mark(place.folders, "began", str(up_s()))
    ends = noted(place.run)
    wait_s = judge.delay_s(ends, random.random(), POLICY) if ends.all else 0.0
    sleep(max((wait_s or 0.0) - RESTART_SEC, 0.0))
    own = served(place)
    gpus = gpus_of(own)
    there = gpus_there(place, gpus, sleep)
    if there < gpus:
        refuse(place, f"{there} of {gpus} GPUs are there")
    if ends.loads and (words := full_for_long(place, sleep)):
        refuse(place, words)
    if name := changed(own, ends.loads > 0):
        refuse(place, f"the weights have changed on the disk: {name} is not what was brought")
    if (place.root / "first").exists():
        # Nobody asks one that only works for another host's server.
        marks.mark(place.folders, "ready", str(up_s()))
    note(
        place, "started", f"again, after {ends.all} {'end' if ends.all == 1 else 'ends'}" if ends.all else ""
    )


def changed(own: Path, is_doubted: bool) -> str:
    """The name of a file that is not what was brought; nothing where the disk does not tell."""
    for folder, notes in summed(own):
        with suppress(OSError):  # the engine says what of
            if name := sums.changed(own / folder, own / notes, is_doubted):
                return name if folder == "model" else f"{folder}/{name}"
    return ""


def verify(place: Place) -> None:
    """Read every byte of the weights that are served there; the last line says what is wrong with each folder."""
    own = served(place)
    found = [
        {
            "at": str(own / folder),
            "is_model": folder == "model",
            **sums.verified(own / folder, own / notes)._asdict(),
        }
        for folder, notes in summed(own)
    ]
    print(json.dumps(found))


def summed(own: Path) -> list[tuple[str, str]]:
    """The folders of weights, a draft and adapters, and where the sums of the files of each are noted.

    A bucket has drafts and adapters below the weights.
    """
    places = [own, own / "model"]
    named = [folder for at in places for folder in (at / "draft", *sorted((at / "adapters").glob("*")))]
    beside = [folder for folder in named if folder.is_dir()]
    names = [folder.relative_to(own).as_posix() for folder in beside]
    return [("model", "weights.sums"), *((name, f"{name.replace('/', '-')}.sums") for name in names)]


def served(place: Place) -> Path:
    """The folder of what the unit is to serve: the root, or that of a release which was upgraded to."""
    command = said(["systemctl", "show", "--value", "--property=ExecStart", place.unit])
    release = re.search(rf"/\.releases/{place.name}/(\w+)/engine/", command)
    return place.root.parent / ".releases" / place.name / release[1] if release else place.root


def gpus_of(own: Path) -> int:
    """How many GPUs what is served there takes."""
    said = text_of(own / "gpus")
    return int(said) if said.isdecimal() else 0


def forget_marks(place: Place) -> None:
    """Of a life that is over: a start that fails before `begin` is none of its."""
    for name in ("began", "ready", "judged", "refused"):
        marks.unmark(place.folders, name)


def gpus_there(place: Place, wanted: int, sleep: Callable[[float], None]) -> int:
    """How many GPUs there are; while the host has booted lately those that lack are waited for."""
    is_said = False
    while True:
        there = gpus_told() if wanted else 0
        if there is None or there >= wanted:
            return wanted
        if up_s() >= POLICY.gpu_s:
            return there
        if not is_said:
            note(place, "waiting", f"{there} of {wanted} GPUs are there")
        is_said = True
        sleep(GPUS_EVERY_S)


def full_for_long(place: Place, sleep: Callable[[float], None]) -> str:
    """Why there still is no room for what a server writes, after a wait for it; nothing where there is some."""
    waited_s = 0.0
    while (words := full(place.state)) and waited_s < FULL_S:
        if not waited_s:
            note(place, "waiting", words)
        sleep(FULL_EVERY_S)
        waited_s += FULL_EVERY_S
    return words


def full(folder: Path) -> str:
    """That a folder takes nothing more, and what to do; nothing where it does, or nobody tells."""
    try:
        disk = os.statvfs(folder)
    except OSError:
        return ""
    if disk.f_bavail * disk.f_frsize >= ROOM_BYTES:
        return ""
    return f"the disk of {folder} is full; make room there (df -h {folder}), and it starts by itself"


def gpus_told() -> int | None:
    """How many GPUs NVIDIA's driver tells of; None where the host has no such program, or cannot run it."""
    try:
        return said(["nvidia-smi", "-L"]).count("GPU ")
    except OSError:
        return None


def up_s() -> float:
    """How long ago the host has booted."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def ended(place: Place, environ: Mapping[str, str]) -> None:
    """Note an end, and count one that nobody wished for; of a series keep the first log, and give up after the last."""
    verdict, at, refused, began = (
        marks.marked(place.folders, name) for name in ("judged", "ready", "refused", "began")
    )
    served_s = up_s() - float(at) if at else None
    forget_marks(place)
    # Without room for a mark nobody knows whether it served: then it is no start that failed.
    is_unknown = not (at or refused or marks.are_taken(place.folders))
    if is_wished(place.unit):
        if served_s is not None and served_s >= POLICY.service_s:
            for folder in place.folders:
                forget(folder / "ends")
        note(
            place,
            "stopped",
            text_of(place.root / "interrupted") or ("" if is_up() else "the host shuts down"),
        )
        return
    # The lock's rules are kept at the root, which may be another disk than the server's own.
    no_room = (full(place.state) or (refused and full(place.root))) if served_s is None else ""
    # Where its start was refused the code is that of an earlier end.
    cause = verdict or refused or f"{cause_of(environ)}{no_room and '; '}{no_room}"
    invocation = environ.get("INVOCATION_ID", "")
    if (
        at
        and not verdict
        and environ.get("EXIT_CODE") == "exited"
        and (lost := lost_process(log_of(invocation)))
    ):
        cause = f"{cause}: {lost}"
    ends = max(noted(place.run), noted(place.root), key=lambda known: known.all)
    if not (refused and no_room):  # nothing was tried
        ends = judge.ended(ends, 0.0 if is_unknown else served_s, POLICY)
    note(place, "ended" if verdict else "died", cause)
    # Whoever gives up after starts that failed asks why the first of those did.
    if ends.all == 1 or (ends.loads == 1 and served_s is None and not is_unknown):
        keep_log(place, invocation)
        for folder in place.folders:
            write(folder / "first-cause", cause)
    for folder in place.folders:
        write(folder / "ends", json.dumps(ends))
    if began and (fault := broken_gpu(gpus_of(served(place)), up_s() - float(began), xids_of(place))):
        give_up(place, f"an end that no start mends: {fault}")
    elif judge.delay_s(ends, 0.0, POLICY) is None:
        first = text_of(place.run / "first-cause") or text_of(place.root / "first-cause")
        give_up(place, f"{judge.gave_up(ends, POLICY)}; the first: {first}")


def broken_gpu(need: int, age_s: float, numbers: set[int]) -> str:
    """What has lately befallen a GPU it needs that no start mends; nothing where none has, or nobody tells."""
    since_s = min(age_s, xid.TELLS_FOR_S)
    asked = ["journalctl", "--dmesg", "--boot", "--quiet", "--no-pager", "--output=cat", "--lines=20000"]
    try:
        kernel = said([*asked, f"--since=-{since_s:.0f}s"]).splitlines() if need else []
        there = said(["nvidia-smi", "--query-gpu=pci.bus_id", "--format=csv,noheader"]) if kernel else ""
    except OSError:
        return ""
    buses = re.findall(r"^[0-9a-fA-F]+:[0-9a-fA-F:.]+$", there, re.MULTILINE)[:need]
    found = xid.barring(kernel, numbers, buses if len(buses) == need else None)
    if not found:
        return ""
    return f"a GPU failed (Xid {found[0].number}; {found[0].bus}); reset it or restart the host, then serve again"


def xids_of(place: Place) -> set[int]:
    """The numbers of what no start mends."""
    return {int(number) for number in text_of(place.root / "xids").split()}


def give_up(place: Place, why: str) -> None:
    """Start the server no more, neither now nor after a reboot, until somebody asks for it."""
    words = f"gave up after {why}"
    note(place, "gave up", words)
    write(place.root / "gave-up", words)
    say_failed(place, words)
    told(["systemctl", "--no-block", "stop", place.unit])


def judged(place: Place, environ: Mapping[str, str], sleep: Callable[[float], None] = time.sleep) -> None:
    """Do as the judge says: mark a server that serves, and end one that does not; that one starts anew.

    Without room for its mark the judge asks as if it had never served, and no more often than one that is ill.
    """
    code = environ.get("EXIT_STATUS", "")
    if environ.get("EXIT_CODE") != "exited" or not code.isdigit():
        return
    if int(code) == codes.READY:
        if marks.mark(place.folders, "ready", str(up_s())):
            note(place, "ready", "" if (place.run / "ready").exists() else marks.takes_none(place.run))
        else:
            sleep(POLICY.look_again_s)
    elif words := codes.words_of(int(code)):
        marks.mark(place.folders, "judged", words)
        # Nothing moves in it, so there is nothing to drain.
        if not told(["systemctl", "kill", "--signal=KILL", place.unit]):
            marks.unmark(place.folders, "judged")  # it lives, and is judged anew


def is_wished(unit: str) -> bool:
    """Whether systemd was asked for this end. Its start is still a job of its own where what comes before it failed."""
    jobs = said(["systemctl", "list-jobs", "--no-legend", "--plain", "--full", unit]).splitlines()
    return any(words[2:3] in (["stop"], ["restart"]) for words in map(str.split, jobs))


def is_up() -> bool:
    """Whether the host goes on."""
    return said(["systemctl", "is-system-running"]).strip() != "stopping"


def cause_of(environ: Mapping[str, str]) -> str:
    """Why a server ended, by what systemd says of it."""
    result, code, status = (environ.get(name, "") for name in ("SERVICE_RESULT", "EXIT_CODE", "EXIT_STATUS"))
    if result == "oom-kill":
        return "the host's memory ran out, and Linux killed it"
    if result == "timeout":
        return "it did not start or end in time"
    if code == "exited":
        return f"it ended with exit code {status}"
    if code in ("killed", "dumped"):
        return f"it was killed by SIG{status}"
    return f"it was not started ({result})"


def lost_process(log: str) -> str:
    """Which of its processes vLLM misses, in its own words: without one it leaves with code 0."""
    found = LOST.search(log)
    return found[0] if found else ""


def keep_log(place: Place, invocation: str) -> None:
    """Keep the end of the log of that start; later ones may push it out of the journal."""
    if invocation:
        write(place.root / "first-death.log", log_of(invocation))


def log_of(invocation: str) -> str:
    """The end of the log of that start, and what systemd says of it: by which signal it ended."""
    if not invocation:
        return ""
    lines = ["journalctl", "--no-pager", "--output=cat", f"--lines={MOST_LOG_LINES}"]
    log = said([*lines, f"_SYSTEMD_INVOCATION_ID={invocation}", "+", f"INVOCATION_ID={invocation}"])
    return log[-MOST_LOG_BYTES:]


def said(command: list[str]) -> str:
    """What a program of the host's prints; nothing where it does not end. Raises OSError for one that cannot be run."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return (printed(process) or b"").decode(errors="replace")


def told(command: list[str]) -> bool:
    """Have a program of the host's do something; whether it did. If not that is said, and there is a next look."""
    try:
        process = subprocess.Popen(command)
    except OSError as error:
        why = error.strerror
    else:
        said = printed(process)
        if said is not None and process.returncode == 0:
            return True
        why = f"no end within {PATIENCE_S} s" if said is None else f"code {process.returncode}"
    print(f"corral: {' '.join(command)}: {why}", flush=True)
    return False


def printed(process: subprocess.Popen[bytes]) -> bytes | None:
    """What a program prints until its end; None where that does not come in time."""
    try:
        return process.communicate(timeout=PATIENCE_S)[0] or b""
    except subprocess.TimeoutExpired:
        process.kill()
        with suppress(subprocess.TimeoutExpired):  # what hangs in a driver does not even die of that
            process.communicate(timeout=1)
        return None


def noted(folder: Path) -> judge.Ends:
    """How often it has ended, as a folder has it."""
    try:
        loads, all_of_them = json.loads(text_of(folder / "ends"))
        return judge.Ends(int(loads), int(all_of_them))
    except (ValueError, TypeError):
        return judge.Ends()


def note(place: Place, event: history.Name, cause: str = "") -> None:
    """Tell it where `corral status --history` looks, and in the unit's log."""
    kept, waiting = str(place.root / history.FILE), str(place.run / history.FILE)
    if not (history.moved(waiting, kept) and history.append(kept, event, cause)):
        history.append(waiting, event, cause)
    print(f"corral: {event}{cause and ': '}{cause}", flush=True)


def refuse(place: Place, words: str) -> None:
    """Have the start fail, and say why. Raises SystemExit."""
    say_failed(place, words)
    marks.mark(place.folders, "refused", words)
    sys.exit(f"corral: {words}, so the server is not started")


def say_failed(place: Place, words: str) -> None:
    """Say it where `corral status` and the console of the cloud show it."""
    told([str(place.root / "bin/phase"), f"failed: start: {words}"])


if __name__ == "__main__":
    main()
