"""PURE but for looking at this machine's files: what a dry run says of machines you own."""

from deploy.targets.deployment import Deployment
from deploy.targets.ssh.fleet import checked_hosts
from deploy.targets.ssh.host_checks import listen_check
from deploy.targets.ssh.host_setup import brought, sent
from deploy.targets.ssh.options import SshOptions

OUTCOMES = {"ok": "ok", "warning": "warning", "failed": "would be refused"}


def outlined(deployment: Deployment, wishes: SshOptions) -> tuple[str, ...]:
    """Which hosts, what leaves this machine, to whom, as the run says it, and a server that is open to the network."""
    hosts = checked_hosts(deployment)
    together = "one server over them" if deployment.plan.machine.hosts > 1 else "a server on each"
    return (
        f"where: {', '.join(hosts)}{f' ({together})' if len(hosts) > 1 else ''}",
        *(f"leaves this machine: {line}" for line in sent(deployment, brought(deployment))),
        *(
            f"{OUTCOMES[check.outcome]}: {check.name} {check.found}. {check.fix}"
            for check in listen_check(deployment)
        ),
    )
