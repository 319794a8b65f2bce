"""A GPU that the user describes: on the command line or in the home; what cannot be one is refused in a sentence."""

import json
from datetime import date
from pathlib import Path

import pytest

from deploy.cli.main import run
from infra import catalog, own_gpus
from infra.errors import CorralError, DocumentError, UsageError
from infra.hardware import Gpu

L20 = "name=L20,memory_gib=48,memory_gb_per_s=864,bf16_tflops=119,fp8_tflops=239,compute_capability=8.9"
ROW = """
[gpu.L20]
memory_mib = 49140
torch_gib = 47.4
memory_gb_per_s = 864
bf16_tflops = 119
compute_capability = 8.9
link = "pcie"
nvml_names = ["L20"]
aliases = ["my card"]
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CORRAL_HOME", str(tmp_path))
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1764374400")
    monkeypatch.setenv(own_gpus.VARIABLE, "")
    return tmp_path


def test_a_gpu_of_the_command_line_is_a_row_like_any(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(own_gpus.VARIABLE, L20)
    assert catalog.machine("2xl-20").gpu == Gpu(
        name="L20",
        family="L20",
        memory_mib=49152,
        torch_gib=46.08,
        torch_gib_error=2.16,
        torch_gib_source="estimated: 91.5 to 100.5 % of the nominal size",
        compute_capability=8.9,
        memory_gb_per_s=864,
        bf16_tflops=119,
        fp8_tflops=239,
        link="pcie",
        link_gb_per_s=24,
        source="yours",
        checked_on=date(2025, 11, 29),
    )


def test_a_gpu_of_the_home_is_known_by_all_its_names(home: Path) -> None:
    (home / "gpus.toml").write_text(ROW)
    for name in ("2xL20", "2xmy card"):
        gpu = catalog.machine(name).gpu
        assert gpu is not None
        assert (gpu.name, gpu.torch_gib, gpu.torch_gib_error, gpu.torch_gib_source) == (
            "L20",
            47.4,
            0.1,
            "yours",
        )
    assert catalog.gpu_reported("NVIDIA L20", 49_140) == gpu


def test_links_and_numbers_are_taken_as_people_write_them(monkeypatch: pytest.MonkeyPatch) -> None:
    typed = "name=X1,memory_gib=1TiB,memory_gb_per_s=8k,bf16_tflops=2.5k,compute_capability=9.4,link=xgmi,vendor=amd"
    monkeypatch.setenv(own_gpus.VARIABLE, typed)
    gpu = catalog.gpus()["X1"]
    assert (gpu.memory_mib, gpu.memory_gb_per_s, gpu.bf16_tflops) == (1 << 20, 8000, 2500)
    assert (gpu.link, gpu.link_gb_per_s, gpu.vendor) == ("nvlink", 300, "amd")


def test_it_is_planned_for_where_any_gpu_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["size", "scout", "--precision", "int4", "--on", "4xL20", "--json", "--gpu", L20]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["machine"] == {
        "name": "4xL20",
        "gpu": "L20",
        "gpu_count": 4,
        "hosts": 1,
        "instance_type": None,
    }
    assert (
        "L20 is planned for as you described it: what torch sees of its memory is known to 2.2 GiB either way, and "
        "nobody measured its speed."
    ) in plan["notes"]
    asked = ["capacity", "scout", "--requests-per-s", "1", "--on", "4xL20", "--usd-per-hour", "5", "--json"]
    assert run([f"--gpu={L20}", *asked]) == 0
    assert "4xL20" in capsys.readouterr().out


def test_it_is_among_every_machine_and_those_that_only_a_name_asks_for_are_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["--gpu", L20, "size", "scout", "--precision", "int4", "--json"]) == 0
    gpus = {plan["machine"]["gpu"] for plan in json.loads(capsys.readouterr().out)["machines"]}
    assert "L20" in gpus
    assert gpus.isdisjoint({"MI300X", "RTX-4090", "H20", "GB10"})


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ("memory_gb_per_s=0", "--gpu: memory_gb_per_s 0 is not between 1 and 1,000,000."),
        ("memory_gb_per_s=nan", "--gpu: memory_gb_per_s nan is no finite number."),
        ("memory_gb_per_s=inf", "--gpu: memory_gb_per_s inf is no finite number."),
        ("memory_gb_per_s=-864", "--gpu: memory_gb_per_s -864 is not between 1 and 1,000,000."),
        ("memory_gb_per_s=fast", "--gpu: memory_gb_per_s fast is no number."),
        ("bf16_tflops=0", "--gpu: bf16_tflops 0 is not between 1 and 1,000,000."),
        ("fp8_tflops=0", "--gpu: fp8_tflops 0 is not above 0 and at most 1,000,000."),
        ("memory_gib=0", "--gpu: memory_gib 0 is not between 1 and 4,096."),
        ("memory_gib=48GB", "--gpu: memory_gib 48GB is ambiguous: GB are fewer than GiB."),
        ("memory_gib=", "--gpu 'WHOLE' is no list of KEY=VALUE, each once."),
        ("compute_capability=0", "--gpu: compute_capability 0 is not between 3 and 20."),
        ("link=usb", "--gpu: link 'usb' is unknown."),
        ("link=none", "--gpu: GPUs without a link are alone in their hosts."),
        ("vendor=intel", "--gpu: vendor 'intel' is unknown."),
        ("torch_gib=20", "--gpu: torch_gib 20 is not what torch sees of 48 GiB."),
        ("memory_mib=49140", "--gpu: Its memory is said by memory_gib or by memory_mib, one of them."),
        ("max_per_host=1.5", "--gpu: max_per_host 1.5 is no whole number."),
        ("watts=300", "--gpu: 'watts' is unknown."),
        ("name=H100", "--gpu: corral knows H100 itself."),
        ("name=h-100", "--gpu: corral knows H100 itself."),
        ("name=-x", "--gpu: name -x: it begins with a hyphen, so a program would take it for an option."),
        ("L21", "--gpu 'WHOLE' is no list of KEY=VALUE, each once."),
    ],
)
def test_a_description_that_cannot_be_meant_is_refused(
    changed: str, said: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key, _, _ = changed.partition("=")
    text = ",".join([each for each in L20.split(",") if not each.startswith(f"{key}=")] + [changed])
    assert run(["size", "scout", "--on", "4xL20", "-o", str(home / "plan.json"), "--gpu", text]) == 2
    error, hint = capsys.readouterr().err.splitlines()
    assert error == f"error: {said.replace('WHOLE', text)}"
    assert hint.startswith("hint: ")
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("name", "name is missing."),
        ("memory_gb_per_s", "memory_gb_per_s is missing."),
        ("memory_gib", "Its memory is said by memory_gib or by memory_mib, one of them."),
    ],
)
def test_what_cannot_be_left_out_is_asked_for(key: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    left = ",".join(each for each in L20.split(",") if not each.startswith(f"{key}="))
    monkeypatch.setenv(own_gpus.VARIABLE, left)
    with pytest.raises(CorralError) as refused:
        catalog.gpus()
    assert refused.value.message == f"--gpu: {said}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "describes no GPU."),
        ("[gpu", "is not TOML with tables [gpu.NAME]: "),
        ("gpu = 5", "is not TOML with tables [gpu.NAME]: "),
        ("gpu.L20 = 5", "is not TOML with tables [gpu.NAME]: "),
        (ROW.replace("864", "0"), ", [gpu.L20]: memory_gb_per_s 0 is not between 1 and 1,000,000."),
        (ROW.replace("864", "nan"), ", [gpu.L20]: memory_gb_per_s nan is no finite number."),
        (ROW.replace('"pcie"', "true"), ", [gpu.L20]: link "),
        (ROW.replace("864", "[864]"), ", [gpu.L20]: memory_gb_per_s "),
    ],
)
def test_a_file_of_the_home_that_is_something_else_is_refused(text: str, said: str, home: Path) -> None:
    (home / "gpus.toml").write_text(text)
    with pytest.raises(CorralError) as refused:
        catalog.machine("2xL20")
    assert refused.value.message.startswith(f"{home / 'gpus.toml'}")
    assert said in refused.value.message


@pytest.mark.parametrize("number", ["0x" + "F" * 5000, "0b" + "1" * 20_000])
def test_a_number_that_python_does_not_spell_is_refused(number: str, home: Path) -> None:
    (home / "gpus.toml").write_text(ROW.replace("memory_mib = 49140", f"memory_mib = {number}"))
    assert number in (home / "gpus.toml").read_text()
    with pytest.raises(UsageError) as refused:
        catalog.gpus()
    assert refused.value.message.endswith("memory_mib is beyond any number that is meant here.")


def test_a_file_that_is_no_text_is_refused(home: Path) -> None:
    (home / "gpus.toml").write_bytes(b"\xff")
    with pytest.raises(DocumentError, match="is not TOML"):
        catalog.gpus()


def test_memory_that_is_the_machines_too_is_not_all_counted_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["size", "scout", "--precision", "int4", "--on", "1xGB10", "--json"]) == 0
    memory = json.loads(capsys.readouterr().out)["memory"]
    assert memory["kv_cache_less_gib"] > memory["total_error_gib"] == pytest.approx(8.0 * 0.92)


@pytest.mark.parametrize("words", [["provision"], ["up"], ["serve"], ["export", "--to", "compose"]])
def test_amds_are_planned_for_and_not_served(
    words: list[str], home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = home / "plan.json"
    assert run(["size", "scout", "--on", "8xMI300X", "-o", str(plan)]) == 0
    capsys.readouterr()
    assert run([words[0], str(plan), *words[1:]]) == 2
    assert capsys.readouterr().err.splitlines()[0] == (
        "error: MI300X is AMD's: corral plans for it, and prepares, serves and exports for NVIDIA's alone (driver, "
        "CUDA, NVIDIA's container runtime)."
    )
    assert list(home.iterdir()) == [plan]


HINT = f"For example: --gpu '{own_gpus.EXAMPLE}'"
FIELDS = (
    "One of: name, memory_gib, memory_mib, torch_gib, memory_gb_per_s, bf16_tflops, fp8_tflops, fp4_tflops, "
    "compute_capability, link, link_gb_per_s, max_per_host, family, aliases, nvml_names, vendor"
)


@pytest.mark.parametrize(
    ("changed", "hint"),
    [
        ("L21", HINT),
        ("memory_gib=", HINT),
        ("memory_mib=49140", HINT),
        ("watts=300", FIELDS),
        ("memory_gb_per_s=0", "For example: memory_gb_per_s=864"),
        ("link=none", "Add max_per_host=1, or say link=pcie"),
        ("torch_gib=20", "Leave it out."),
        ("name=H100", "Call yours otherwise: name=my-H100"),
    ],
)
def test_what_is_refused_has_a_hint_of_its_own(
    changed: str, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, _, _ = changed.partition("=")
    text = ",".join([each for each in L20.split(",") if not each.startswith(f"{key}=")] + [changed])
    monkeypatch.setenv(own_gpus.VARIABLE, text)
    with pytest.raises(UsageError) as refused:
        catalog.gpus()
    assert refused.value.hint == hint


@pytest.mark.parametrize(
    ("text", "said", "hint"),
    [
        ("", "describes no GPU.", "Begin each with its name: [gpu.L20]"),
        (
            "gpu = 5",
            "is not TOML with tables [gpu.NAME]: 'int' object has no attribute 'items'.",
            "Mend that line.",
        ),
    ],
)
def test_a_file_of_the_home_that_is_something_else_has_a_hint(
    text: str, said: str, hint: str, home: Path
) -> None:
    (home / "gpus.toml").write_text(text)
    with pytest.raises(DocumentError) as refused:
        catalog.gpus()
    assert (refused.value.message, refused.value.hint) == (f"{home / 'gpus.toml'} {said}", hint)


def test_a_number_beyond_any_is_refused_and_the_largest_that_is_none_is_a_number() -> None:
    with pytest.raises(UsageError) as refused:
        own_gpus.as_typed("memory_mib", 1 << 128)
    assert (refused.value.message, refused.value.hint) == (
        "memory_mib is beyond any number that is meant here.",
        HINT,
    )
    assert own_gpus.as_typed("memory_mib", (1 << 128) - 1) == str((1 << 128) - 1)
    assert own_gpus.as_typed("aliases", "a") == ("a",)
    assert own_gpus.as_typed("name", "a") == "a"
    assert own_gpus.as_typed("aliases", ["a"]) == ["a"]


@pytest.mark.parametrize(
    ("torch_gib", "is_meant"), [(38.39, False), (38.41, True), (48.47, True), (48.49, False)]
)
def test_what_torch_sees_is_80_to_101_per_cent_of_the_nominal_size(
    torch_gib: float, is_meant: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(own_gpus.VARIABLE, f"{L20},torch_gib={torch_gib}")
    if is_meant:
        gpu = catalog.gpus()["L20"]
        assert (gpu.torch_gib, gpu.torch_gib_error) == (torch_gib, 0.1)
    else:
        with pytest.raises(UsageError, match="is not what torch sees of 48 GiB"):
            catalog.gpus()


@pytest.mark.parametrize(
    ("link", "taken", "gb_per_s"),
    [
        ("pcie", "pcie", 24.0),
        ("nvlink", "nvlink", 300.0),
        ("xgmi", "nvlink", 300.0),
        ("infinity-fabric", "nvlink", 300.0),
        ("none,max_per_host=1", "none", 12.5),
        ("pcie,link_gb_per_s=50", "pcie", 50.0),
    ],
)
def test_a_link_has_its_usual_speed(
    link: str, taken: str, gb_per_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(own_gpus.VARIABLE, f"{L20},link={link}")
    gpu = catalog.gpus()["L20"]
    assert (gpu.link, gpu.link_gb_per_s) == (taken, gb_per_s)
    assert sorted(own_gpus.LINKS) == ["infinity-fabric", "none", "nvlink", "pcie", "xgmi"]
