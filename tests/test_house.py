"""The house: folders import folders below them and no others, files in no circle; each outside world has one door."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOORS = ("infra", "serving", "deploy")

# From the ground up. A folder imports only folders before it here: so none imports another that imports it.
FOLDERS = (
    "infra",
    "infra.fetch",
    "infra.onhost",
    "infra.aws",
    "serving",
    "serving.vllm",
    "serving.model",
    "serving.probe",
    "serving.quality",
    "serving.sizing",
    "serving.simulation",
    "deploy.targets",
    "deploy.targets.local",
    "deploy.targets.ssh",
    "deploy.targets.ec2",
    "deploy.gateway",
    "deploy.costs",
    "deploy.report",
    "deploy.export",
    "deploy.bundle",
    "deploy.demo",
    "deploy.releases",
    "deploy",
    "deploy.fetch",
    "deploy.cli",
)

# Module -> the files that may import it. A new file here is a new door: is the old one not enough?
DOORS = {
    # ssh_client.py holds no lock: it seals a file, so that a client can write no more to it.
    # layouts.py and gatekeeper.py run on hosts, without the rest of infra.
    "fcntl": {
        "infra/locks.py",
        "infra/ssh_client.py",
        "infra/fetch/layouts.py",
        "infra/onhost/gatekeeper.py",
    },
    # The probe asks by a wire of its own, the measuring instrument; hub.py catches what huggingface_hub lets through.
    "httpx2": {"serving/vllm/http_door.py", "serving/model/hub.py"},
    "matplotlib": {"infra/figure.py"},
    "boto3": {"infra/aws/boto.py"},
    "botocore": {"infra/aws/boto.py"},
    "huggingface_hub": {"serving/model/hub.py", "infra/onhost/fetch.py"},
    "pynvml": {"infra/gpus.py"},
    "tokenizers": {"serving/probe/tokenizer_file.py"},
    "tomllib": {"infra/data.py"},
    "uvloop": {"serving/probe/process.py"},
    "importlib.resources": {"infra/data.py"},
    "vllm": set[str](),
}


def modules() -> dict[str, Path]:
    """Every module of ours by its dotted name."""
    found = {}
    for floor in FLOORS:
        for path in sorted((ROOT / floor).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(path: Path, known: set[str]) -> Iterator[str]:
    """Every name a file imports, wherever in the file, as the module it comes from."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in known else node.module


@pytest.fixture(scope="module")
def graph() -> dict[str, set[str]]:
    """Module -> what it imports."""
    found = modules()
    return {name: set(imported(path, set(found))) for name, path in found.items()}


def test_every_folder_has_its_place() -> None:
    found = {path.parent.relative_to(ROOT).as_posix().replace("/", ".") for path in modules().values()}
    assert found == set(FOLDERS)


def test_folders_import_only_what_is_below_them(graph: dict[str, set[str]]) -> None:
    paths = modules()

    def folder(name: str) -> str:
        return ".".join(paths[name].relative_to(ROOT).parent.parts)

    upward = [
        f"{name} imports {other}"
        for name, others in graph.items()
        for other in others & graph.keys()
        if FOLDERS.index(folder(other)) > FOLDERS.index(folder(name))
    ]
    assert upward == []


def test_imports_make_no_circle(graph: dict[str, set[str]]) -> None:
    left = {name: others & graph.keys() - {name} for name, others in graph.items()}
    while leaves := [name for name, others in left.items() if not others]:
        for leaf in leaves:
            del left[leaf]
        left = {name: others - set(leaves) for name, others in left.items()}
    assert left == {}


# Names that two files may have, because they are the same thing of two places.
SAME_OF_EACH_PLACE = {"egress", "options", "place", "replicas", "tunnels"}


def test_no_two_files_have_one_name_but_for_a_verb_and_the_same_thing_of_each_place() -> None:
    """A file of deploy/cli is a verb, and has the name of what it asks for."""
    where: dict[str, list[str]] = {}
    for name, path in modules().items():
        folder, _, last = name.rpartition(".")
        if path.name != "__init__.py" and folder != "deploy.cli":
            where.setdefault(last, []).append(folder)
    twice = {name: folders for name, folders in where.items() if len(folders) > 1}
    places = {name: folders for name, folders in twice.items() if name in SAME_OF_EACH_PLACE}
    assert {name: folders for name, folders in twice.items() if name not in places} == {}
    assert all(folder.startswith("deploy.targets") for folders in places.values() for folder in folders)


# What a library calls by its name: PyYAML's dumper, the formatter of help.
CALLED_FROM_OUTSIDE = {"ignore_aliases", "format_commands"}


def test_everything_is_used_by_something_that_is_no_test() -> None:
    """But for a verb, which is told by its file's name, and what a decorator uses: a check of a record."""
    sources = {path: path.read_text(encoding="utf-8") for path in modules().values()}
    scripts = [path.read_text(encoding="utf-8") for path in (ROOT / "scripts").rglob("*.py")]
    told = Counter(word for text in (*sources.values(), *scripts) for word in re.findall(r"\w+", text))
    unused = {
        node.name
        for path, text in sources.items()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        if told[node.name] == 1 and not node.decorator_list and not node.name.startswith("__")
        if node.name != path.stem
    }
    assert unused == CALLED_FROM_OUTSIDE


# What takes a text apart or looks into it.
JUDGES = {
    "startswith", "endswith", "removeprefix", "removesuffix", "partition", "rpartition", "split", "rsplit",
    "find", "index", "count", "match", "search", "fullmatch", "findall", "lower", "casefold",
}  # fmt: skip


def caught(tree: ast.AST) -> set[str]:
    """The names that errors are caught under."""
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler) and node.name}


def is_message(node: ast.expr, errors: set[str]) -> bool:
    """Whether it is the text of an error: its message, its hint, or the error as a string."""
    if isinstance(node, ast.Attribute):
        return node.attr in ("message", "hint")
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "str"
        and any(isinstance(part, ast.Name) and part.id in errors for part in node.args)
    )


def decided_by_wording(path: Path) -> Iterator[int]:
    """The lines that compare an error's text with words, or look for words in it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    errors = caught(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.expr):
            continue
        texts: list[ast.expr] = []
        if isinstance(node, ast.Compare):
            texts = [node.left, *node.comparators]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in JUDGES:
            # split() without words only joins lines.
            texts = [node.func.value, *node.args] if node.func.attr != "split" or node.args else []
        if any(is_message(text, errors) for text in texts):
            yield node.lineno


# AWS has one code for several refusals: only its words tell them apart.
THEIR_WORDS = {"infra/aws/failures.py"}


def test_no_decision_hangs_on_the_wording_of_an_error() -> None:
    deciding = {
        path.relative_to(ROOT).as_posix(): lines
        for path in modules().values()
        if (lines := list(decided_by_wording(path)))
    }
    assert {name: lines for name, lines in deciding.items() if name not in THEIR_WORDS} == {}
    assert set(deciding) == THEIR_WORDS


# GNU tar says only so that a file changed while it was read; AWS, when a machine ended.
THEIR_PHRASES = {"file changed as we read it", " GMT)"}


def literals(trees: list[ast.AST]) -> set[str]:
    """The values that fields may have: all that stand in a Literal."""
    return {
        value.value
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == "Literal"
        for value in ast.walk(node.slice)
        if isinstance(value, ast.Constant) and isinstance(value.value, str)
    }


def phrases_decided_by(tree: ast.AST) -> Iterator[str]:
    """The phrases, several words that is, that something is compared with or looked for in."""
    for node in ast.walk(tree):
        words: list[ast.expr] = []
        if isinstance(node, ast.Compare):
            words = [node.left, *node.comparators]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in JUDGES:
            words = node.args
        for word in words:
            if isinstance(word, ast.Constant) and isinstance(word.value, str):
                yield from [word.value] if re.search(r"[^\W\d_].* |  *[^\W\d_]", word.value.rstrip()) else []


def test_no_decision_hangs_on_a_phrase_but_those_that_a_field_may_hold() -> None:
    trees: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8")) for path in modules().values()]
    phrases = {phrase for tree in trees for phrase in phrases_decided_by(tree)}
    assert phrases - literals(trees) == THEIR_PHRASES


def test_a_decision_by_wording_is_found(tmp_path: Path) -> None:
    path = tmp_path / "judging.py"
    path.write_text(
        "try:\n    act()\n"
        "except CorralError as error:\n"
        "    if 'died' in error.message:\n        raise\n"
        "    if str(error).startswith('no'):\n        raise\n"
        "    if re.search('late', error.hint):\n        raise\n"
        "    raise Other(error.message, str(error)) from None\n"
    )
    assert list(decided_by_wording(path)) == [4, 6, 8]


@pytest.mark.parametrize("outside", sorted(DOORS))
def test_each_outside_world_has_its_door(outside: str, graph: dict[str, set[str]]) -> None:
    paths = modules()
    users = {
        paths[name].relative_to(ROOT).as_posix()
        for name, others in graph.items()
        if any(other == outside or other.startswith(f"{outside}.") for other in others)
    }
    assert users == DOORS[outside]
