"""PURE: a report of `corral egress` as one page for whoever must believe it."""

from collections.abc import Iterator

from markupsafe import Markup

from deploy.report.html import environment, resource
from deploy.report.sections import Section
from deploy.report.tables import Table
from infra.egress_checks import Verified
from infra.egress_proof import Egress, Proof, Served, moved
from infra.onhost.egress_look import over

OUTCOMES = {
    "stopped": "stopped by the lock",
    "reached": "REACHED",
    "not stopped": "not reached, and not by the lock",
    "no way": "the host has no way there",
}
COUNTERS = {
    "loopback": "to itself, over loopback",
    "peers": "to the other hosts of one engine",
    "replies": "answers to who asked from outside",
    "dropped": "stopped",
}
AGAIN = (
    "Who has corral checks the file again: corral egress verify FILE --allowed-signers SIGNERS --identity NAME. Who "
    "has not: ssh-keygen -Y verify -f SIGNERS -I NAME -n corral-egress -s FILE.sig < FILE"
)
HELD = {True: "yes", False: "NO", None: "not checked"}


def page(report: Egress, verified: Verified) -> str:
    """The whole page; it loads nothing and runs nothing."""
    return (
        environment()
        .get_template("egress.html.j2")
        .render(
            title=f"Does anything leave? The server {report.name}",
            made_at=f"{report.made_at:%Y-%m-%d %H:%M:%S}",
            report=report,
            verified=verified,
            is_proved=report.verdict == "proved" and not verified.problems,
            answer="This report does not hold." if verified.problems else answer(report),
            loud=(*map(capital, verified.problems), *map(capital, report.problems)),
            sections=tuple(sections(report, verified)),
            style=Markup(resource("report.css")),
            plots={},
            placeholder="",
        )
    )


def capital(text: str) -> str:
    """A sentence begins so."""
    return f"{text[:1].upper()}{text[1:]}."


def answer(report: Egress) -> str:
    """The verdict in a sentence."""
    hosts = ", ".join(proof.host for proof in report.hosts)
    if report.verdict == "proved":
        return (
            f"Proved: what was tried from inside the server on {hosts} was stopped by the kernel, and while it "
            f"answered {report.completions} requests nothing but answers left."
        )
    if report.verdict == "observed":
        return f"Only observed: there is no lock; {len(report.observed)} connections were seen."
    return "Not proved."


def sections(report: Egress, verified: Verified) -> Iterator[Section]:
    """What was checked, each host, what it does not show, and how to check it again."""
    rows = [(each.what, HELD[each.holds], each.said) for each in verified.findings]
    yield Section("What was checked", tables=(Table("What was checked", (("of", "holds", "found"), *rows)),))
    for proof in report.hosts:
        yield host(proof)
    if report.observed:
        ends = tuple((end,) for end in report.observed)
        yield Section("Connections that were seen", tables=(Table("", (("address and port",), *ends)),))
    yield Section("What this does not prove", points=report.limits)
    yield Section("To check it again", paragraphs=(AGAIN,))
    for proof in report.hosts:
        if proof.before.served and proof.before.served.model:
            yield weights(f"The weights on {proof.host}", proof.before.served.model)
        for folder, files in (proof.before.served.beside or {} if proof.before.served else {}).items():
            yield weights(f"{folder} on {proof.host}", files)


def host(proof: Proof) -> Section:
    """What was tried there, what was counted, and what served."""
    before, after = proof.before, proof.after
    said = (
        f"{proof.unit}, process {before.pid} of user {before.uid}, on {before.hostname} (Linux {before.kernel}, boot "
        f"{before.boot_id}). The attempts were made with the server's user, from inside its unit."
    )
    tried = tuple(
        (each.target, OUTCOMES[each.outcome], each.said, str(each.dropped)) for each in before.attempts
    )
    counts = moved(before.lock.counters, after.lock.counters) if before.lock and after.lock else {}
    sent = tuple((COUNTERS.get(name, name), str(packets)) for name, packets in counts.items())
    return Section(
        f"On {proof.host}",
        paragraphs=(said,),
        tables=(
            Table("What was tried", (("to", "outcome", "the system said", "packets stopped"), *tried)),
            Table(f"What it sent during {proof.completions} completions", (("packets", "count"), *sent)),
            *((served(before.served),) if before.served else ()),
        ),
    )


def served(what: Served) -> Table:
    """What the server was started from."""
    rows = (
        ("vLLM", what.vllm_version, "as its package says"),
        (
            "engine",
            what.engine_sha256,
            "in site-packages: sha256sum *.dist-info/RECORD | LC_ALL=C sort | sha256sum",
        ),
        ("weights", over(what.model), "in their folder: sha256sum FILES | LC_ALL=C sort | sha256sum"),
        *((folder, over(files), "in the same way") for folder, files in (what.beside or {}).items()),
        ("rules", what.rules_sha256, "sha256sum of the text they were loaded from"),
    )
    return Table("What served", (("what", "version or sha256", "how it is made"), *rows))


def weights(title: str, model: dict[str, str]) -> Section:
    """The sum of each file, to be held against those of whoever published them."""
    rows = tuple((name, summed or "written since it was noted") for name, summed in sorted(model.items()))
    return Section(title, tables=(Table(title, (("file", "sha256"), *rows)),))
