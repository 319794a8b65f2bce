"""`corral egress verify`: a report that was kept, its signature, what served, and the page of it."""

import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from html import unescape
from pathlib import Path
from typing import Any, NoReturn

import pytest
from bundling import a_bundle, a_key, a_plan, an_engine
from test_egress import STOPPED, counted, proof
from test_report import check_layout

from deploy.bundle.manifest import Bundle
from deploy.cli.main import run
from deploy.report.egress_page import page
from deploy.targets.deployment import folder, make
from deploy.targets.prove_egress import keep
from deploy.targets.show_egress import described
from deploy.verify_egress import VerifyOptions, verify
from infra import egress_rules
from infra.egress_checks import Expected, Verified, digests
from infra.egress_proof import LIMITS, Egress, Served
from infra.errors import HostError
from infra.onhost.egress_look import engine_of, over
from serving.sizing.plan import Plan

RULES = egress_rules.rules("scout", has_peers=False, listens_outside=False)
RULES_SHA256 = hashlib.sha256(RULES.encode()).hexdigest()
SERVED = Served(
    vllm_version="0.33.0",
    engine_sha256="ab" * 32,
    model={"config.json": "cd" * 32, "model.safetensors": "ef" * 32},
    rules_sha256=RULES_SHA256,
)
MADE_AT = datetime(2026, 11, 26, 12, tzinfo=UTC)


def a_report(served: Served | None = SERVED, **changes: Any) -> Egress:
    """A proof of one host."""
    there = {"served": served, "sockets": (), "rules": RULES, "rules_at_start": RULES}
    host = proof(there, there, peers=())
    made = Egress(
        name="scout",
        made_at=MADE_AT,
        verdict="proved",
        problems=(),
        hosts=(host,),
        completions=5,
        limits=LIMITS,
    )
    return made.model_copy(update=changes).sealed()


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The operator's key, a stranger's, and the list of whose signature counts: the operator's, until 2027."""
    place = tmp_path_factory.mktemp("keys")
    public, _ = a_key(place / "ops"), a_key(place / "stranger")
    (place / "signers").write_text(f'ops@bank valid-before="20261127" {public}')
    return place


@pytest.fixture
def path(tmp_path: Path, keys: Path) -> Path:
    """A report that the operator signed."""
    keep(a_report(), tmp_path / "egress.json", keys / "ops")
    return tmp_path / "egress.json"


Verify = Callable[..., tuple[int, dict[str, Any], list[str]]]


@pytest.fixture
def verified(path: Path, keys: Path, capsys: pytest.CaptureFixture[str]) -> Verify:
    """Verify the report as signed by the operator; the exit code, what was found, and what was said of it."""

    def call(*more: str) -> tuple[int, dict[str, Any], list[str]]:
        who = ["--allowed-signers", str(keys / "signers"), "--identity", "ops@bank"]
        code = run(["egress", "verify", str(path), *who, *more, "--json"])
        out, err = capsys.readouterr()
        return code, json.loads(out), [line for line in err.splitlines() if line.startswith("error: ")]

    return call


def fingerprint(key: Path) -> str:
    """As ssh-keygen says it."""
    done = subprocess.run(["ssh-keygen", "-lf", str(key)], capture_output=True, text=True, check=True)
    return done.stdout.split()[1]


def test_a_signed_report_holds_and_says_whose_it_is_after_the_key_has_expired(
    verified: Verify, path: Path, keys: Path
) -> None:
    """The key was allowed when the report was made, as git takes a commit's."""
    good = f'Good "corral-egress" signature for ops@bank with ED25519 key {fingerprint(keys / "ops.pub")}'
    assert verified() == (
        0,
        {
            "name": "scout",
            "made_at": "2026-11-26T12:00:00Z",
            "verdict": "proved",
            "file_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "signer": "ops@bank",
            "findings": [
                {"what": "verdict", "holds": True, "said": "proved follows from the counters of 1 host"},
                {"what": "signature", "holds": True, "said": good},
                {
                    "what": "rules",
                    "holds": True,
                    "said": f"gpu-1: those that this corral writes ({RULES_SHA256[:12]})",
                },
            ],
        },
        [],
    )


def test_what_is_not_signed_is_said_to_be_and_shown_to_a_person(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path.with_name("egress.json.sig").unlink()
    assert run(["egress", "verify", str(path)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{path}: scout, proved, 2026-11-26 12:00:00 UTC",
        f"  sha256     holds        {json.loads(path.read_text())['sha256']} (as the report says of itself)",
        f"  file                    {hashlib.sha256(path.read_bytes()).hexdigest()} (sha256sum {path})",
        "  verdict    holds        proved follows from the counters of 1 host",
        "  signature  not checked  unsigned: its sha256 shows damage to it, not who wrote it",
        f"  rules      holds        gpu-1: those that this corral writes ({RULES_SHA256[:12]})",
    ]


def edited(path: Path, keys: Path) -> None:
    """As a forger does who knows how the sum is made."""
    forged = a_report(name="eagle")
    path.write_text(forged.text())


def signed_by_a_stranger(path: Path, keys: Path) -> None:
    keep(a_report(), path, keys / "stranger")


def signed_as_something_else(path: Path, keys: Path) -> None:
    path.with_name("egress.json.sig").unlink()
    sign = ["ssh-keygen", "-q", "-Y", "sign", "-f", str(keys / "ops"), "-n", "file", str(path)]
    subprocess.run(sign, check=True, capture_output=True)


def made_when_the_key_was_not_allowed(path: Path, keys: Path) -> None:
    keep(a_report(made_at=datetime(2027, 3, 1, tzinfo=UTC)), path, keys / "ops")


def made_before_all_clocks(path: Path, keys: Path) -> None:
    text = a_report().model_dump_json().replace("2026-11-26T12:00:00Z", "0001-01-01T00:00:00+14:00")
    report = Egress.model_validate_json(text).sealed()
    keep(report, path, keys / "ops")


def not_signed(path: Path, keys: Path) -> None:
    path.with_name("egress.json.sig").unlink()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (
            edited,
            "is no signature of that file by ops@bank, as .* has it: Signature verification failed: incorrect",
        ),
        (signed_by_a_stranger, "is no signature of that file by ops@bank"),
        (signed_as_something_else, "is no signature of that file by ops@bank"),
        (made_when_the_key_was_not_allowed, "is no signature of that file by ops@bank"),
        (made_before_all_clocks, "is no signature of that file by ops@bank"),
        (not_signed, "is not signed: there is no .*egress.json.sig"),
        (lambda path, keys: path.with_name("egress.json.sig").write_text(""), "is no signature of that file"),
        (lambda path, keys: path.write_text(path.read_text()[:-99]), "is not an egress report this version"),
        (
            lambda path, keys: path.write_text(path.read_text().replace(": 5", ": 6")),
            "was changed: its sha256",
        ),
        (
            lambda path, keys: path.write_text(
                path.read_text().replace('"schema_version": 1', '"schema_version": 2')
            ),
            "was written by another version of corral .schema 2, this one reads 1",
        ),
        (lambda path, keys: path.write_text("no JSON"), "is not a"),
        (lambda path, keys: path.write_bytes(bytes(range(256))), "is not text, so it is no egress report"),
        (lambda path, keys: path.write_text("[" * 3_000_000), "it holds more than 1,000,000 values"),
        (lambda path, keys: path.unlink(), "There is no egress report at"),
        (lambda path, keys: (path.unlink(), path.mkdir()), "is a folder, not an egress report"),
    ],
)
def test_what_is_no_report_as_it_was_signed_is_one_sentence(
    spoil: Callable[[Path, Path], object],
    said: str,
    path: Path,
    keys: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spoil(path, keys)
    who = ["--allowed-signers", str(keys / "signers"), "--identity", "ops@bank"]
    assert run(["egress", "verify", str(path), *who]) == 4
    out, err = capsys.readouterr()
    error, hint = err.splitlines()
    assert (out, hint.startswith("hint: ")) == ("", True)
    assert re.search(said, error)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "is signed, and nobody says whose signature counts."),
        (["--identity", "ops@bank"], "--allowed-signers and --identity go together"),
        (["--allowed-signers", "signers"], "--allowed-signers and --identity go together"),
    ],
)
def test_whose_signature_counts_must_be_said(
    words: list[str], said: str, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["egress", "verify", str(path), *words]) == 2
    assert said in capsys.readouterr().err


def test_a_list_of_signers_that_is_missing_is_one_sentence(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--allowed-signers", "/nowhere/signers", "--identity", "ops@bank"]
    assert run(["egress", "verify", str(path), *words]) == 4
    assert capsys.readouterr().err.startswith("error: /nowhere/signers cannot be read: No such file")


OPEN = {"lock": counted(150, 9)}


@pytest.mark.parametrize(
    ("report", "code", "said"),
    [
        (a_report(hosts=()), 4, "it says proved, and that does not follow: it holds no host that answered"),
        (a_report(completions=0), 4, "it says proved, and that does not follow: it holds no host"),
        (
            a_report(hosts=(proof({"rules": "none"}, OPEN),)),
            4,
            "it says proved, and that does not follow: the rules of the lock on gpu-1 were changed",
        ),
        (
            a_report(hosts=(a_report().hosts[0].model_copy(update={"rules_sha256": "0" * 64}),)),
            4,
            "it says proved, and that does not follow: the rules of gpu-1 are not those of its sha256",
        ),
        (
            a_report(verdict="not proved", problems=("the lock is not loaded on gpu-1",)),
            11,
            "Not proved: the lock",
        ),
        (a_report(verdict="observed", hosts=()), 11, "Not proved: it was only observed."),
    ],
)
def test_a_verdict_must_follow_from_what_the_report_holds(
    report: Egress, code: int, said: str, path: Path, keys: Path, verified: Verify
) -> None:
    keep(report, path, keys / "ops")
    got, _, errors = verified()
    assert got == code
    assert len(errors) == 1
    assert said in errors[0]


def findings(found: dict[str, Any], *kinds: str) -> list[tuple[str, bool | None, str]]:
    """Those of some kinds."""
    return [
        (each["what"], each["holds"], each["said"]) for each in found["findings"] if each["what"] in kinds
    ]


def test_rules_of_another_corral_are_told_and_refused_only_where_they_must_be_ours(
    path: Path, keys: Path, verified: Verify
) -> None:
    keep(a_report(SERVED.model_copy(update={"rules_sha256": "9" * 64})), path, keys / "ops")
    code, found, _ = verified()
    said = "gpu-1: its rules (999999999999) are not those that this corral writes: read them"
    assert (code, findings(found, "rules")) == (0, [("rules", None, said)])


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose engine has a list of its files, and whose weights are in parts."""
    root = tmp_path_factory.mktemp("bundled")
    prefix = an_engine(root / "engine", "0.33.0+cpu")
    (record,) = prefix.glob("lib/python3*/site-packages/vllm-*.dist-info")
    (record / "RECORD").write_text("vllm/__init__.py,sha256=47DEQpj8,0\n")
    a_plan(root)
    return a_bundle(root).folder


def served_from(root: Path) -> Served:
    """What a host says that was brought it."""
    version, engine = engine_of(root / "engine")
    names = {file.part_of or file.path for file in Bundle.read(root / "bundle/manifest.json").files}
    model = {name.removeprefix("model/") for name in names if name.startswith("model/")}
    return Served(
        vllm_version=version,
        engine_sha256=engine,
        model={name: hashlib.sha256((root / "model" / name).read_bytes()).hexdigest() for name in model},
        rules_sha256=RULES_SHA256,
    )


def test_engine_and_weights_are_those_of_the_bundle_or_another(
    bundle: Path, path: Path, keys: Path, verified: Verify
) -> None:
    served = served_from(bundle.parent)
    assert served.vllm_version == "0.33.0+cpu"
    keep(a_report(served), path, keys / "ops")
    code, found, _ = verified("--bundle", str(bundle))
    assert (code, findings(found, "engine", "weights")) == (
        0,
        [
            ("engine", True, f"gpu-1: vLLM 0.33.0+cpu is that of the bundle {bundle}"),
            ("weights", True, f"gpu-1: {len(served.model)} files are those of the bundle {bundle}"),
        ],
    )
    model = served.model | {"config.json": "0" * 64}
    keep(a_report(served.model_copy(update={"engine_sha256": "0" * 64, "model": model})), path, keys / "ops")
    code, found, errors = verified("--bundle", str(bundle))
    assert (code, findings(found, "engine", "weights")) == (
        4,
        [
            ("engine", False, f"gpu-1: vLLM 0.33.0+cpu is not that of the bundle {bundle}"),
            ("weights", False, f"gpu-1: config.json is not as in the bundle {bundle}"),
        ],
    )
    assert errors == [
        f"error: It does not hold: gpu-1: vLLM 0.33.0+cpu is not that of the bundle {bundle} (and 1 more)."
    ]


TUNED, DRAFT = {"adapter_config.json": "aa" * 32}, {"config.json": "bb" * 32}


@pytest.mark.parametrize(
    ("served", "wanted", "found"),
    [
        ({}, {}, []),
        (
            {"draft": DRAFT, "adapters/a": TUNED},
            {"draft": DRAFT, "adapters/a": TUNED},
            [
                ("adapter", True, "gpu-1: adapters/a, 1 file as in the deployment scout"),
                ("draft", True, "gpu-1: draft, 1 file as in the deployment scout"),
            ],
        ),
        (
            {"adapters/a": {"adapter_config.json": "cc" * 32}},
            {"adapters/a": TUNED},
            [("adapter", False, "gpu-1: adapters/a/adapter_config.json is not as in the deployment scout")],
        ),
        ({"adapters/a": TUNED}, {}, [("adapter", False, "gpu-1: it has adapters/a, unlike the deployment scout")]),
        ({}, {"draft": DRAFT}, [("draft", False, "gpu-1: it has no draft, unlike the deployment scout")]),
        (
            {"draft": DRAFT},
            {"draft": {}},
            [("draft", None, "gpu-1: draft, 1 file; what the deployment scout has is not known here")],
        ),
        (None, {}, []),
        (
            None,
            {"draft": DRAFT},
            [("draft", False, "gpu-1: an older corral made it, without digests of draft")],
        ),
    ],
    ids=["none", "same", "changed", "extra", "missing", "fetched", "older", "older-with"],
)  # fmt: skip
def test_a_draft_and_adapters_are_those_of_what_should_have_served(
    served: dict[str, dict[str, str]] | None, wanted: dict[str, dict[str, str]],
    found: list[tuple[str, bool | None, str]],
) -> None:  # fmt: skip
    report = a_report(SERVED.model_copy(update={"beside": served}))
    expected = Expected(where="the deployment scout", beside=wanted)
    judged = [each for each in digests(report, (expected,)) if each.what in ("draft", "adapter")]
    assert [(each.what, each.holds, each.said) for each in judged] == found


def sees(report: Egress) -> Verified:
    """What is found of a report that nothing is held against."""
    return Verified(
        name="scout",
        made_at=MADE_AT,
        verdict="proved",
        file_sha256="",
        signer="",
        findings=(*digests(report, ()),),
    )


def test_a_draft_and_adapters_are_shown_with_the_report() -> None:
    report = a_report(SERVED.model_copy(update={"beside": {"adapters/a": TUNED}}))
    assert f"  adapters/a {over(TUNED)[:12]} of 1 file" in described(report).splitlines()
    assert {over(TUNED), "aa" * 32} <= set(re.findall("[0-9a-f]{64}", page(report, sees(report))))


def test_a_bundle_whose_engine_is_not_what_was_packed_is_one_sentence(
    bundle: Path, path: Path, keys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoilt = shutil.copytree(bundle, tmp_path / "spoilt")
    (engine, *_) = spoilt.glob("engine.tar*")
    engine.write_bytes(engine.read_bytes().replace(b"import", b"imporT", 1))
    who = ["--allowed-signers", str(keys / "signers"), "--identity", "ops@bank"]
    assert run(["egress", "verify", str(path), *who, "--bundle", str(spoilt)]) == 4
    assert capsys.readouterr().err.startswith(f"error: {engine.name} is not what was packed.\n")


def test_engine_weights_and_rules_are_those_of_the_deployment(
    bundle: Path, path: Path, keys: Path, verified: Verify
) -> None:
    root = bundle.parent
    made = make(Plan.read(root / "plan.json"), "ssh", "scout")
    made = made.model_copy(update={"hosts": ("gpu-1",), "engine": str(root / "engine")})
    made.write(folder("scout") / "deployment.json")
    served = served_from(root)
    keep(a_report(served), path, keys / "ops")
    code, found, _ = verified("--deployment", "scout")
    kinds = ("rules", "engine", "weights")
    assert (code, [(what, holds) for what, holds, _ in findings(found, *kinds)]) == (
        0,
        [("rules", True), ("engine", True), ("weights", True)],
    )
    keep(a_report(served.model_copy(update={"rules_sha256": "9" * 64})), path, keys / "ops")
    assert verified("--deployment", "scout")[0] == 4
    keep(a_report(None), path, keys / "ops")
    code, _, errors = verified("--deployment", "scout")
    assert (code, errors) == (
        4,
        [
            "error: It does not hold: gpu-1: an older corral made it, without digests of engine, weights and rules."
        ],
    )


def test_what_the_hosts_fetched_is_said_to_be_unknown_and_refused_where_nothing_else_is_known(
    bundle: Path,
    path: Path,
    keys: Path,
    verified: Verify,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = bundle.parent
    plan = Plan.read(root / "plan.json")
    fetched = plan.model_copy(update={"serve": plan.serve.model_copy(update={"model": "meta-llama/scout"})})
    made = make(fetched, "ssh", "scout")
    made = made.model_copy(update={"hosts": ("gpu-1",), "engine": str(root / "engine")})
    made.write(folder("scout") / "deployment.json")
    served = served_from(root)
    keep(a_report(served), path, keys / "ops")
    code, found, errors = verified("--deployment", "scout")
    files = len(served.model)
    unknown = f"gpu-1: {files} files; those of the deployment scout are not known here"
    assert (code, findings(found, "engine", "weights"), errors) == (
        0,
        [
            ("engine", True, "gpu-1: vLLM 0.33.0+cpu is that of the deployment scout"),
            ("weights", None, unknown),
        ],
        [],
    )
    (tmp_path / "vllm-0.33.0-py3-none-any.whl").touch()
    made = made.model_copy(update={"engine": str(tmp_path)})
    made.write(folder("scout") / "deployment.json")
    who = ["--allowed-signers", str(keys / "signers"), "--identity", "ops@bank"]
    assert run(["egress", "verify", str(path), *who, "--deployment", "scout"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.splitlines()[-2:]) == (
        "",
        [
            "error: Neither the engine nor the weights of scout are known here: neither was brought from here.",
            "hint: Leave out --deployment, or hold the report against the bundle that was served: --bundle bundle",
        ],
    )
    code, found, _ = verified("--deployment", "scout", "--bundle", str(bundle))
    assert (code, findings(found, "engine", "weights")) == (
        0,
        [
            ("engine", True, f"gpu-1: vLLM 0.33.0+cpu is that of the bundle {bundle}"),
            ("weights", True, f"gpu-1: {files} files are those of the bundle {bundle}"),
            ("engine", None, "gpu-1: vLLM 0.33.0+cpu; that of the deployment scout is not known here"),
            ("weights", None, unknown),
        ],
    )


def test_a_deployment_of_another_name_is_a_wrong_question(
    path: Path, keys: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    who = ["--allowed-signers", str(keys / "signers"), "--identity", "ops@bank"]
    assert run(["egress", "verify", str(path), *who, "--deployment", "eagle"]) == 2
    assert capsys.readouterr().err == (
        "error: The report is of scout, not of eagle.\nhint: Name its own: --deployment scout\n"
    )


def test_what_should_have_served_is_known_of_hosts_over_ssh(
    bundle: Path, path: Path, keys: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = make(Plan.read(bundle.parent / "plan.json"), "local", "scout")
    made.write(folder("scout") / "deployment.json")
    who = ["--allowed-signers", str(keys / "signers"), "--identity", "ops@bank"]
    assert run(["egress", "verify", str(path), *who, "--deployment", "scout"]) == 2
    assert capsys.readouterr().err == (
        "error: What scout should serve from is known of hosts over SSH; it is on local.\n"
        "hint: Leave out --deployment.\n"
    )


# --- signing


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--sign-key", "egress.json.sig"], "error: --sign-key signs a file, and no report is kept."),
        (["--sign-key", "/nowhere/key", "-o", "egress.json"], "error: There is no key at /nowhere/key."),
        *(
            (
                ["--sign-key", "egress.json.sig", "-o", output],
                "error: The report or its signature would be written over the key egress.json.sig.",
            )
            for output in ("egress.json.sig", "egress.json")
        ),
    ],
)
def test_what_cannot_be_signed_is_refused_before_anything_is_tried(
    words: list[str],
    error: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "egress.json.sig").write_text("a key")
    assert run(["egress", "scout", *words]) == 2
    assert capsys.readouterr().err.splitlines()[0] == error
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"egress.json.sig": "a key"}


def test_a_key_that_is_none_leaves_the_report_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("deploy.targets.deployment.load", lambda name: name)
    monkeypatch.setattr("deploy.targets.prove_egress.prove", lambda name, destinations: a_report())
    (tmp_path / "key").write_text("no key")
    report = tmp_path / "egress.json"
    assert run(["egress", "scout", "-o", str(report), "--sign-key", str(tmp_path / "key")]) == 11
    out, err = capsys.readouterr()
    assert (out, Egress.read(report)) == ("", a_report())
    assert err.startswith(f"error: ssh-keygen did not sign with {tmp_path / 'key'}: ")
    assert err.splitlines()[1] == f"hint: Try the key by hand: ssh-keygen -y -f {tmp_path / 'key'}"


def test_an_earlier_signature_does_not_stay_beside_a_report_that_is_not_signed(
    path: Path, keys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It would make an honest report look forged."""
    later = a_report(made_at=datetime(2026, 11, 26, 13, tzinfo=UTC))
    keep(later, path, None)
    assert {each.name for each in tmp_path.iterdir()} == {"egress.json"}
    assert run(["egress", "verify", str(path)]) == 0
    keep(a_report(), path, keys / "ops")
    (tmp_path / "key").write_text("no key")
    with pytest.raises(HostError, match="ssh-keygen did not sign"):
        keep(later, path, tmp_path / "key")
    assert {each.name for each in tmp_path.iterdir()} == {"egress.json", "key"}
    assert Egress.read(path) == later


def test_an_earlier_signature_that_cannot_be_removed_is_named_and_the_report_kept(
    path: Path, tmp_path: Path
) -> None:
    path.with_name("egress.json.sig").unlink()
    (tmp_path / "egress.json.sig").mkdir()
    later = a_report(made_at=datetime(2026, 11, 26, 13, tzinfo=UTC))
    with pytest.raises(HostError) as refused:
        keep(later, path, None)
    beside = tmp_path / "egress.json.sig"
    assert refused.value.message.startswith(
        f"An earlier report's signature is left, and is none of {path}: file {beside}: "
    )
    assert Egress.read(path) == later


# --- the page


def test_the_page_is_not_written_over_what_is_verified(
    bundle: Path, path: Path, keys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "again").symlink_to(tmp_path)
    who = ["--allowed-signers", str(keys / "signers"), "--identity", "ops@bank", "--bundle", str(bundle)]
    read = (path, path.with_name("egress.json.sig"), keys / "signers", bundle / "manifest.json")
    before = [each.read_bytes() for each in read]
    for html in (*read, tmp_path / "again" / "egress.json", bundle / "egress.html"):
        assert run(["egress", "verify", str(path), *who, "--html", str(html)]) == 2
        assert capsys.readouterr() == (
            "",
            f"error: The page would change what is verified: {html}.\n"
            "hint: Name another file: --html egress.html\n",
        )
    assert [each.read_bytes() for each in read] == before
    assert not (bundle / "egress.html").exists()
    # A link to itself is nobody's evidence.
    (tmp_path / "loop").symlink_to("loop")
    assert run(["egress", "verify", str(path), *who[:4], "--html", str(tmp_path / "loop")]) == 0


def text_of(html: str) -> str:
    """What a reader sees of a page."""
    return " ".join(unescape(re.sub("<style>.*?</style>|<[^>]+>", " ", html, flags=re.DOTALL)).split())


def test_the_page_tells_an_auditor_what_was_tried_what_served_and_what_it_does_not_prove(
    verified: Verify, tmp_path: Path, keys: Path
) -> None:
    assert verified("--html", str(tmp_path / "egress.html"))[0] == 0
    html = (tmp_path / "egress.html").read_text()
    assert re.findall(r"<(?:script|link|img|iframe|object)|https?:|url\(|@import", html) == []
    seen = text_of(html)
    attempt = f"{STOPPED.target} stopped by the lock {STOPPED.said} {STOPPED.dropped}"
    for words in (
        "Proved: what was tried from inside the server on gpu-1 was stopped by the kernel",
        attempt,
        fingerprint(keys / "ops.pub"),
        SERVED.engine_sha256,
        "model.safetensors " + "ef" * 32,
        "to itself, over loopback 50",
        *LIMITS,
        "udp dport 53 counter name dropped reject",
    ):
        assert words in seen, words


def test_what_does_not_hold_is_loud_on_the_page_and_a_name_is_no_markup(tmp_path: Path) -> None:
    evil = SERVED.model_copy(update={"model": {"<script>alert(1)</script>": "00"}})
    path = tmp_path / "egress.json"
    a_report(evil, hosts=(), problems=("<b>x</b>",)).write(path)
    report, found = verify(path, VerifyOptions())
    html = page(report, found)
    assert '<p class="verdict no">This report does not hold.</p>' in html
    assert (
        '<p class="loud">It says proved, and that does not follow: it holds no host that answered.</p>'
        in html
    )
    a_report(evil).write(path)
    html = page(*verify(path, VerifyOptions()))
    assert "<script" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html


@pytest.mark.parametrize(
    ("served", "lists"),
    [
        (None, []),
        (SERVED, ["The weights on gpu-1"]),
        (SERVED.model_copy(update={"model": {}}), []),
        (
            SERVED.model_copy(update={"beside": {"draft": {"a.safetensors": "00"}}}),
            ["The weights on gpu-1", "draft on gpu-1"],
        ),
    ],
    ids=["nobody tells", "a model", "no model", "a draft"],
)
def test_the_page_lists_what_each_host_served(
    served: Served | None, lists: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "egress.json"
    a_report(served).write(path)
    html = page(*verify(path, VerifyOptions()))
    assert re.findall(r"<h2[^>]*>([^<]* on gpu-1)<", html) == [*lists, "The rules on gpu-1"]
    assert ("What served" in html) == (served is not None)


@pytest.mark.browser
@pytest.mark.parametrize("width", [360, 1000])
def test_a_browser_lays_the_page_out_within_its_window(
    width: int, tmp_path: Path, need: Callable[[str, str], NoReturn]
) -> None:
    a_report().write(tmp_path / "egress.json")
    check_layout(page(*verify(tmp_path / "egress.json", VerifyOptions())), width, tmp_path, need)
