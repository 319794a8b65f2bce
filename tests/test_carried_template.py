"""A plan's chat template where its file is not: on a rented box and in what is exported the command has its text."""

from pathlib import Path

import pytest
import yaml
from test_beside import ordered
from test_drafts import sized

from deploy.cli.main import run
from infra.errors import UsageError
from serving.sizing.plan import Plan
from serving.vllm import chat_template

TEXT = "{%- for message in messages -%}\n  {{ message['content'] }} 100%\n{%- endfor -%}\n"
ELSEWHERE = "lies neither below the plan's folder nor below the model's."


@pytest.fixture(scope="module")
def rented() -> Plan:
    return sized(machine="p5.48xlarge")


def with_template(plan: Plan, template: object) -> Plan:
    return plan.model_copy(
        update={"serve": plan.serve.model_copy(update={"chat_template": template and str(template)})}
    )


@pytest.fixture
def template(tmp_path: Path) -> Path:
    (tmp_path / "mine.jinja").write_text(TEXT)
    return tmp_path / "mine.jinja"


def test_the_user_data_of_a_box_has_the_template_in_its_unit(rented: Plan, template: Path) -> None:
    by_file, by_text = (ordered(with_template(rented, each))[1] for each in (template, TEXT))
    assert by_file == by_text
    assert (
        '"--chat-template" "{%%- for message in messages -%%}\\n  {{ message[\'content\'] }} 100%%\\n'
        '{%%- endfor -%%}\\n"' in by_file
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["provision", "--target", "ec2", "--region", "us-east-1", "--dry-run", "--json"],
            "message['content'] }} 100%%",
        ),
        (["export", "--to", "compose"], "message['content'] }} 100%"),
    ],
    ids=["ec2", "export"],
)
def test_only_a_template_beside_the_plan_is_taken_along(
    words: list[str], said: str, rented: Plan, template: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It may be somebody else's plan, that names a file of yours."""
    verb, *options = words
    folder = template.parent / "theirs"
    folder.mkdir()
    for place, code in ((template.parent, 0), (folder, 2)):
        with_template(rented, template).write(place / "plan.json")
        assert run([verb, str(place / "plan.json"), *options]) == code
    out, err = capsys.readouterr()
    assert said in out.replace("\\\\", "\\")
    assert f"error: The chat template {template} {ELSEWHERE}" in err.splitlines()


def test_compose_has_it_as_one_argument(
    rented: Plan, template: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with_template(rented, template).write(template.parent / "plan.json")
    assert (
        run(
            [
                "export",
                str(template.parent / "plan.json"),
                "--to",
                "compose",
                "-o",
                str(template.parent / "made"),
            ]
        )
        == 0
    )
    made = yaml.safe_load((template.parent / "made/compose.yaml").read_text())
    command = made["services"]["vllm"]["command"]
    assert command[command.index("--chat-template") + 1] == TEXT


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "The plan's chat template is not here: {path}."),
        ("no template", "{path} is no chat template: it is no Jinja template that reads the messages."),
        ("{{ messages }}\0", "{path} is no chat template: it is no text."),
        (
            "{{ messages }}" + "x" * 100_000,
            "The plan's chat template has more than 100,000 bytes, too many for a command.",
        ),
    ],
    ids=["none", "another file", "no text", "too long"],
)
def test_what_cannot_be_a_part_of_a_command_is_one_sentence(
    content: str | None, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "t.jinja"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UsageError) as caught:
        chat_template.text_of(str(path))
    assert caught.value.message == message.format(path=path)
    assert chat_template.text_of(None) is None
