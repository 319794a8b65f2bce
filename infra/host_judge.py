"""PURE: what judges the server beside it on its host: its unit, its scripts, and what it adds to the server's unit."""

from infra.data import shipped_text
from infra.host import HostFile, HostSetup, asked_file, judge_unit, own_root, root, unit
from infra.host_units import (
    HELPER_SANDBOX,
    INTERNET,
    UNIT_FOLDER,
    network_of,
    server_url,
    systemd_quoted,
)
from infra.xids import broken_xids

SCRIPTS = ("heal.py", "judging.py")
MODULES = ("codes.py", "history.py", "judge.py", "marks.py", "sums.py", "xid.py")
"""What these import there."""
# The host's own Python: it loads nothing that somebody installed, and leaves nothing compiled behind.
PYTHON = ("/usr/bin/python3", "-ISB")
# The server's unit has an empty /run and /var, for what runs there as root too: the marks and the journal lie outside.
OUTSIDE = ("/usr/bin/nsenter", "--target", "1", "--mount", "--")


def files(setup: HostSetup) -> tuple[HostFile, ...]:
    """Every file that the judge takes."""
    folder = f"{root(setup.name)}/bin"
    return (
        *(
            HostFile(path=f"{folder}/{name.removesuffix('.py')}", content=_text(name), mode="0755")
            for name in SCRIPTS
        ),
        *(HostFile(path=f"{folder}/{name}", content=_text(name)) for name in MODULES),
        HostFile(path=f"{root(setup.name)}/xids", content=f"{' '.join(map(str, broken_xids()))}\n"),
        *of_release(setup, UNIT_FOLDER),
        HostFile(path=f"{UNIT_FOLDER}/{unit(setup.name)}.d/judge.conf", content=server_drop_in(setup)),
    )


def of_release(setup: HostSetup, folder: str) -> tuple[HostFile, ...]:
    """What of it one release has and another has not: its unit, in that folder, and how many GPUs are waited for."""
    return (
        HostFile(path=f"{own_root(setup.name, setup.release)}/gpus", content=f"{setup.gpus}\n"),
        HostFile(path=f"{folder}/{judge_unit(setup.name)}", content=judge_service(setup)),
    )


def _text(name: str) -> str:
    return shipped_text("infra.onhost", name)


def judge_service(setup: HostSetup) -> str:
    """The judge's unit: a user of its own, who may speak with the server alone."""
    here = root(setup.name)
    command = (
        *PYTHON,
        f"{here}/bin/judging",
        "--url",
        server_url(setup),
        "--model",
        setup.served_model_name,
        "--load-s",
        str(setup.load_budget_s),
        "--ready",
        f"{here}/ready",  # where memory is full
        "--ready",
        f"/run/corral-{setup.name}/ready",
        "--asked",
        asked_file(setup.name),
    )
    return JUDGE_SERVICE.format(
        name=setup.name,
        unit=unit(setup.name),
        # Of an engine over several hosts only the first answers.
        conditions=f"ConditionPathExists=!{here}/first\n" if setup.nodes > 1 else "",
        command=" ".join(map(systemd_quoted, command)),
        heal=_heal(setup),
        key=f"EnvironmentFile={here}/secrets.env\n" if setup.api_key == "generated" else "",
        sandbox=HELPER_SANDBOX.format(rights="", families=INTERNET),
        network=network_of(setup),
    )


def server_drop_in(setup: HostSetup) -> str:
    """What it adds to the server's unit: nothing that one release has and another has not."""
    return SERVER_DROP_IN.format(
        name=setup.name,
        root=root(setup.name),
        judge=judge_unit(setup.name),
        heal=" ".join((*OUTSIDE, _heal(setup))),
    )


def _heal(setup: HostSetup) -> str:
    return " ".join((*PYTHON, f"{root(setup.name)}/bin/heal"))


# It lives as long as the server does: of one that is stopped, drained or waited with there is nothing to judge.
JUDGE_SERVICE = """\
[Unit]
Description=Judge of the server of corral deployment {name}
BindsTo={unit}
After={unit}
{conditions}StartLimitIntervalSec=0

[Service]
ExecStart={command}
# As root: all that it hears of the judge is the code he ended with.
ExecStopPost=+{heal} judged {name}
SuccessExitStatus=10 11 12 13 14 15 16 17
Restart=always
RestartSec=1
{key}DynamicUser=yes
RuntimeDirectory=corral-{name}.judge
RuntimeDirectoryPreserve=restart
{sandbox}{network}"""

# heal counts the ends: a clock sees none of a model that loads for long, and too many while a driver is late.
SERVER_DROP_IN = """\
[Unit]
Wants={judge}
ConditionPathExists=!{root}/gave-up
StartLimitIntervalSec=0

[Service]
# A start may wait: for a GPU that is late, after an end, and for the sums of a large model.
TimeoutStartSec=3600
RestartSec=10
ExecStartPre=+{heal} begin {name}
# Counted first: where the lock cannot be removed nothing comes after that.
ExecStopPost=
ExecStopPost=-+{heal} ended {name}
ExecStopPost=+{root}/bin/lock off {name}
"""
