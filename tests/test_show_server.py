"""What serve and status say, whole."""

from pathlib import Path

from deploy.targets.deployment import make
from deploy.targets.place import Status
from deploy.targets.show_server import command, endpoint, status
from serving.sizing.plan import Plan
from serving.vllm.endpoint import Endpoint

PLAN = Plan.read(Path(__file__).parent / "data" / "export" / "scout-int4.json")
THERE = Endpoint(
    base_url="http://127.0.0.1:8000", served_model_name="scout", api_key_file=Path("/h/scout/api-key")
)


def test_an_endpoint_comes_with_lines_to_paste() -> None:
    assert endpoint(make(PLAN, "local", "s"), THERE) == (
        "scout answers at http://127.0.0.1:8000\n"
        'ask:      curl http://127.0.0.1:8000/v1/chat/completions -H "Authorization: Bearer $(cat /h/scout/api-key)" '
        "-H 'Content-Type: application/json' "
        '-d \'{"model": "scout", "messages": [{"role": "user", "content": "Hello"}]}\'\n'
        "look:     corral status s; corral logs -f s\n"
        "end:      corral stop s"
    )


def test_what_is_rented_is_given_back_by_the_last_line_not_only_stopped() -> None:
    assert endpoint(make(PLAN, "ec2", "s"), THERE).splitlines()[-2:] == [
        "pause:    corral stop s  # its volume still costs",
        "end:      corral down s",
    ]


def test_a_status_is_one_line() -> None:
    found = Status(
        name="s",
        target="ec2",
        state="serving",
        detail="well",
        endpoint=THERE,
        usd_so_far=1.5,
        expires_at="18:00",
    )
    assert status(found) == "s (ec2): serving at http://127.0.0.1:8000, $1.50 so far, until 18:00: well"


def test_a_command_with_blanks_and_quotes_can_be_pasted_and_other_requests_are_json() -> None:
    request: dict[str, object] = {
        "argv": ["vllm", "serve", "/a b/it's"],
        "environment": {"A": "1", "B": "$x y"},
    }
    assert command([request], as_json=False) == "A=1 \\\nB='$x y' \\\nvllm serve '/a b/it'\"'\"'s'"
    assert command([{"call": "RunInstances"}], as_json=False) == '{\n  "call": "RunInstances"\n}'
