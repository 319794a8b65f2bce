"""`corral export --to terraform` in the real `terraform validate`, by the schema of the real AWS provider."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from test_export import DATA

from deploy.cli.main import run

GRPCIO = "1.85.3"
PROVIDER = Path(__file__).parent / "data" / "terraform_provider.py"


@pytest.fixture(scope="module")
def validate(
    need: Callable[[str, str], NoReturn], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[Path], list[str]]]:
    """What terraform has against a folder, in short; nothing where it is valid."""
    kept = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "corral-tests"
    if not (terraform := shutil.which("terraform")):
        need("terraform", "terraform is not installed")
    if not (kept / f"grpcio-{GRPCIO}" / "complete").exists():
        need("grpcio", "grpcio is not installed; run: scripts/ci-exporters")
    home = tmp_path_factory.mktemp("tf")
    socket = home / "p"
    words = [kept / f"grpcio-{GRPCIO}" / "bin" / "python", PROVIDER, DATA / "terraform-aws.json", socket]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as provider:
        try:
            assert provider.stdout is not None
            assert provider.stdout.readline() == "ready\n"
            at = {"Network": "unix", "String": str(socket)}
            known = {"Protocol": "grpc", "ProtocolVersion": 5, "Pid": provider.pid, "Test": True, "Addr": at}
            environment = {
                "HOME": str(home),
                "CHECKPOINT_DISABLE": "1",
                "TF_CLI_CONFIG_FILE": "/dev/null",
                "TF_REATTACH_PROVIDERS": json.dumps({"registry.terraform.io/hashicorp/aws": known}),
            }

            def validated(folder: Path) -> list[str]:
                done = subprocess.run(
                    [terraform, "validate", "-json"],
                    cwd=folder, env=environment, capture_output=True, text=True, check=False,
                )  # fmt: skip
                told = json.loads(done.stdout)
                found = [each["summary"] for each in told["diagnostics"]]
                assert told["valid"] is not bool(found)
                return found

            yield validated
        finally:
            provider.kill()


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    words = ["--region", "us-east-1", "--weights", "s3://bucket/scout/", "--hf-token-parameter", "/hf/token"]
    assert run(["export", str(DATA / "scout-int4.json"), "--to", "terraform", *words, "-o", str(folder)]) == 0
    return folder


def test_terraform_finds_it_valid(exported: Path, validate: Callable[[Path], list[str]]) -> None:
    assert validate(exported) == []


@pytest.mark.parametrize(
    ("written", "instead", "refused"),
    [
        ('"http_tokens"', '"http_token"', "Extraneous JSON object property"),
        ('"policy": ', '"policies": ', "Missing required argument"),
        ('"self": false', '"self_too": false', "Incorrect attribute value type"),
        ("data.aws_vpc.default.id", "data.aws_vpc.default.ids", "Unsupported attribute"),
        ("aws_security_group.server.id", "aws_security_group.servers.id", "Reference to undeclared resource"),
        ('"volume_type": "gp3"', '"volume_type": ["gp3"]', "Incorrect attribute value type"),
    ],
)
def test_and_would_refuse_what_the_provider_does_not_have(
    written: str,
    instead: str,
    refused: str,
    exported: Path,
    validate: Callable[[Path], list[str]],
    tmp_path: Path,
) -> None:
    """By so much the file is held."""
    shutil.copy(exported / "user-data.yaml", tmp_path)
    text = (exported / "main.tf.json").read_text()
    assert written in text
    (tmp_path / "main.tf.json").write_text(text.replace(written, instead))
    assert refused in validate(tmp_path)
