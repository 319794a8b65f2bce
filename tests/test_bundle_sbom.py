"""The bundle's bill of materials: CycloneDX 1.6, whole, and equal each time."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from bundling import PYTHON, a_bundle, a_plan, an_engine

from deploy.bundle import sbom
from deploy.bundle.manifest import read
from deploy.bundle.sources import Sources
from infra.fetch.checksums import Kept, Manifest, write
from infra.fetch.layouts import in_folder
from serving.model.checkpoint_files import own_files
from serving.sizing.plan import Plan
from serving.vllm.engine import Engine

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SUM = "5" * 64
OTHERS = {"README.md": 1}


def head(components: list[object]) -> dict[str, object]:
    """The document around its components."""
    corral = {"type": "application", "name": "corral", "version": version("corral")}
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "tools": {"components": [corral]},
            "component": {"type": "application", "bom-ref": "bundle", "name": "model-bf16"},
        },
        "components": components,
    }


def of(where: str) -> list[dict[str, str]]:
    """Where it lies."""
    return [{"name": "corral:path", "value": where}]


VLLM = {
    "type": "library",
    "bom-ref": "engine.tar#pkg:pypi/vllm@0.32.0%2Bcpu",
    "name": "vllm",
    "version": "0.32.0+cpu",
    "purl": "pkg:pypi/vllm@0.32.0%2Bcpu",
    "properties": of("engine.tar"),
}


def test_a_bundle_has_one_of_its_engine_and_model_and_its_manifest_lists_it(tmp_path: Path) -> None:
    folder = a_bundle(tmp_path).folder
    model = {
        "type": "machine-learning-model",
        "bom-ref": "model",
        "name": "model",
        "licenses": [{"license": {"name": "model/LICENSE"}}],
        "components": files("model", folder.parent / "model"),
        "properties": of("model"),
    }
    parts = {each.path for each in read(folder).bundle.files if each.part_of}
    assert "model/model-00001-of-00002.safetensors.part-0001" in parts
    content = (folder / "sbom.cdx.json").read_bytes()
    assert json.loads(content) == head([model, VLLM])
    assert content.decode() == json.dumps(json.loads(content), indent=2) + "\n"  # for people to read too
    (listed,) = (file for file in read(folder).bundle.files if file.path == "sbom.cdx.json")
    assert listed.sha256 == hashlib.sha256(content).hexdigest()
    (folder.parent / "other").mkdir()
    again = a_bundle(folder.parent / "other").folder / "sbom.cdx.json"
    assert again.read_bytes() == content


def fetched(
    folder: Path, changed: str = "", commit: str = COMMIT, others: Mapping[str, int] | None = OTHERS
) -> None:
    """What `corral fetch` notes of a folder, but for one file which is another since."""
    sums = {name: SUM if name == changed else summed for name, summed in sums_of(folder).items()}
    kept = {name: Kept(1, summed, summed, 1) for name, summed in sums.items() if name != "LICENSE"}
    layout = in_folder(folder)
    layout.own.mkdir(exist_ok=True)
    write(layout.manifest, Manifest("someone/Tiny", commit, kept, others=others))


def sums_of(folder: Path) -> dict[str, str]:
    """The sum of each file of a checkpoint."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in own_files(folder)}


def files(where: str, folder: Path) -> list[dict[str, object]]:
    """The files of weights as they are listed."""
    return [
        {
            "type": "file",
            "bom-ref": f"{where}/{name}",
            "name": name,
            "hashes": [{"alg": "SHA-256", "content": summed}],
        }
        for name, summed in sums_of(folder).items()
    ]


def test_a_commit_is_named_only_of_the_files_that_corral_fetched_at_it(tmp_path: Path) -> None:
    a_plan(tmp_path)
    model = tmp_path / "model"
    sums = {f"model/{name}": summed for name, summed in sums_of(model).items()}

    def named() -> tuple[str, str | None, str | None]:
        found = sbom.weights("model", model, sbom.called("meta/Scout", model), sums)
        return found["name"], found.get("version"), found.get("purl")

    assert named() == ("model", None, None)
    fetched(model)
    assert named() == ("someone/Tiny", COMMIT, f"pkg:huggingface/someone/Tiny@{COMMIT}")
    for spoiled in ({"changed": "config.json"}, {"commit": ""}, {"others": None}):
        fetched(model, **spoiled)
        assert named() == ("model", None, None)
    (model / ".corral/manifest.json").write_text("{}")
    assert named() == ("model", None, None)
    fetched(model)
    sums["model/chat_template.json"] = SUM
    assert named() == ("model", None, None)


def test_packages_wheels_a_commit_a_draft_and_adapters_are_named(tmp_path: Path) -> None:
    prefix = an_engine(tmp_path / "engine")
    (prefix / "lib" / f"python{PYTHON}" / "site-packages" / "flashinfer_python-0.7.2.dist-info").mkdir()
    a_plan(tmp_path)
    (tmp_path / "model" / "LICENSE").write_text("Llama 4 Community License Agreement\n")
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / "typing_extensions-4.15.0-py3-none-any.whl").write_bytes(b"a wheel")
    fetched(tmp_path / "model")
    plan = Plan.read(tmp_path / "plan.json")
    draft = {"method": "eagle3", "model": "/home/me/head", "num_speculative_tokens": 3}
    serve = plan.serve.model_copy(
        update={"model": "someone/Tiny", "revision": COMMIT, "speculative_config": draft}
    )
    sources = Sources(
        name="model-bf16",
        plan=plan.model_copy(update={"serve": serve}),
        engine=Engine(vllm=prefix / "bin" / "vllm", version="0.32.0+cpu", origin="CORRAL_VLLM"),
        prefix=prefix,
        model=tmp_path / "model",
        chat_template=None,
        draft=tmp_path / "draft",
        adapters={"tuned": tmp_path / "tuned"},
    )
    shutil.copytree(tmp_path / "model", tmp_path / "draft")
    shutil.rmtree(tmp_path / "draft/.corral")
    sums = {
        f"{at}/{name}": summed for at in ("model", "draft") for name, summed in sums_of(tmp_path / at).items()
    }
    sums |= {
        "adapters/tuned/adapter_config.json": SUM,
        "wheels/typing_extensions-4.15.0-py3-none-any.whl": SUM,
    }
    licence = [{"license": {"name": "Llama 4 Community License"}}]
    wheel = "wheels/typing_extensions-4.15.0-py3-none-any.whl"
    assert json.loads(sbom.text(sources, tmp_path / "wheels", sums)) == head(
        [
            {
                "type": "machine-learning-model",
                "bom-ref": "model",
                "name": "someone/Tiny",
                "version": COMMIT,
                "purl": f"pkg:huggingface/someone/Tiny@{COMMIT}",
                "components": files("model", tmp_path / "model"),
                "licenses": licence,
                "properties": of("model"),
            },
            {
                "type": "machine-learning-model",
                "bom-ref": "draft",
                "name": "draft",
                "components": files("draft", tmp_path / "draft"),
                "licenses": licence,
                "properties": of("draft"),
            },
            {
                "type": "machine-learning-model",
                "bom-ref": "adapters/tuned",
                "name": "tuned",
                "components": [
                    {
                        "type": "file",
                        "bom-ref": "adapters/tuned/adapter_config.json",
                        "name": "adapter_config.json",
                        "hashes": [{"alg": "SHA-256", "content": SUM}],
                    }
                ],
                "properties": of("adapters/tuned"),
            },
            {
                "type": "library",
                "bom-ref": "engine.tar#pkg:pypi/flashinfer-python@0.7.2",
                "name": "flashinfer-python",
                "version": "0.7.2",
                "purl": "pkg:pypi/flashinfer-python@0.7.2",
                "properties": of("engine.tar"),
            },
            VLLM,
            {
                "type": "library",
                "bom-ref": f"{wheel}#pkg:pypi/typing-extensions@4.15.0",
                "name": "typing-extensions",
                "version": "4.15.0",
                "purl": "pkg:pypi/typing-extensions@4.15.0",
                "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(b"a wheel").hexdigest()}],
                "properties": of(wheel),
            },
        ]
    )
