"""What HAProxy is told of a gateway, as a whole, and what is reckoned from its audit."""

import json
from datetime import UTC, datetime
from pathlib import Path

from deploy.gateway import haproxy
from deploy.gateway.gateway_options import GatewayOptions
from deploy.gateway.haproxy_config import Server, config
from deploy.gateway.keys import Key, KeyLimits, entry, hashed, made, map_text
from deploy.gateway.usage import KeyUsage, of_persons
from infra.onhost import audit
from infra.onhost.gatekeeper import as_configured

GOLDEN = Path(__file__).parent / "data" / "gateway" / "haproxy.cfg"
SERVERS = (Server("scout-1", "10.0.0.1", 8000), Server("scout-2", "10.0.0.2", 8000))
NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


def test_the_whole_file() -> None:
    """Regenerate by hand what was meant to change: the file is read by people."""
    asked = GatewayOptions(host="::", port=8443, metrics_port=9101, max_tokens=4096, queue_s=1.5)
    assert config(asked, SERVERS, "sk-engine") == GOLDEN.read_text()


def test_loopback_has_no_tls_and_no_figures_unless_they_are_asked_for() -> None:
    plain = config(GatewayOptions(), SERVERS, "sk-engine").splitlines()
    assert "  bind 127.0.0.1:8080" in plain
    assert "frontend metrics" not in plain
    assert "  setenv CORRAL_MAX_TOKENS 0" in plain


def test_a_key_is_what_its_hash_is_of_and_its_limits_go_before_the_gateways() -> None:
    kept, shown = made("alice", KeyLimits(expires="8h", model=("a", "b/c"), requests_per_minute=7), NOW)
    assert (kept.sha256, kept.id) == (hashed(shown.key), f"alice-{kept.sha256[:8]}")
    assert len(shown.key) == len("sk-corral-") + 43
    until = int(NOW.timestamp()) + 8 * 3600
    assert entry(kept, GatewayOptions(tokens_per_month=9)) == f"{kept.id}|{until}|7|64|9|a,b/c"
    ended = kept.model_copy(update={"revoked_at": NOW})
    assert map_text((kept, ended), GatewayOptions()) == f"{kept.sha256} {kept.id}|{until}|7|64|0|a,b/c\n"
    assert (kept.state(NOW), ended.state(NOW), kept.state(NOW.replace(day=1, month=12))) == (
        "good", "revoked", "expired",
    )  # fmt: skip


def test_what_is_reckoned_from_an_audit(tmp_path: Path) -> None:
    said = [
        {"time": "2026-11-30T10:00:00Z", "key": "a-1", "server": "s", "input_tokens": 5, "output_tokens": 7,
         "events": 9, "bytes_in": 1, "bytes_out": 2},
        {"time": "2026-11-30T10:00:01Z", "key": "a-1", "server": "s", "input_tokens": 0, "output_tokens": 0,
         "events": 4, "bytes_in": 1, "bytes_out": 2},
        {"time": "2026-11-30T10:00:02Z", "key": "a-1", "server": "<NOSRV>", "status": 429},
        {"time": "2026-12-01T00:00:00Z", "key": "a-1", "server": "s", "output_tokens": 1},
        {"time": "2026-12-01T00:00:00Z", "key": "-", "server": "<NOSRV>"},
        {"time": 5},
    ]  # fmt: skip
    file = tmp_path / "audit"
    file.write_text("\n".join(["Proxy gateway stopped", *map(json.dumps, said), '{"time": "2026-12', "[1]"]))
    assert of_persons(audit.sums(file, tmp_path / "sums"), {"a-1": "a"}) == (
        KeyUsage(
            month="2026-11", key="a-1", person="a", requests=3, refused=1, input_tokens=5, output_tokens=7,
            estimated_output_tokens=4, bytes_in=2, bytes_out=4,
        ),
        KeyUsage(month="2026-12", key="a-1", person="a", requests=1, output_tokens=1),
    )  # fmt: skip
    assert audit.sums(tmp_path / "none", tmp_path / "sums of none") == {}


def test_a_key_without_limits_has_the_gateways() -> None:
    key = Key(id="a-1", person="a", sha256="0" * 64, created_at=NOW)
    assert entry(key, GatewayOptions()) == "a-1|0|600|64|0|"


def test_what_haproxy_does_not_take_is_told_by_the_first_of_its_alerts() -> None:
    said = (
        "[NOTICE]   (7) : haproxy version is 2.6.12-1+deb12u2\n"
        "[ALERT]    (7) : config : parsing [haproxy.cfg:3] : unknown keyword 'gobal' out of section.\n"
        "[ALERT]    (7) : config : Fatal errors found in configuration.\n"
    )
    refused = haproxy.not_taken(said)
    assert (refused.message, refused.hint) == (
        "HAProxy does not take that: config : parsing [haproxy.cfg:3] : unknown keyword 'gobal' out of section.",
        "See what it would be told: the same command with --dry-run",
    )


def test_a_change_keeps_who_is_out_of_rotation_and_neither_an_old_port_nor_plain_http() -> None:
    """In the words of HAProxy 2.6.12, which takes all of it for what is to hold."""
    head = (
        "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight "
        "srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state "
        "bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr "
        "srv_agent_addr srv_agent_port\n"
    )
    row = "4 engines {} {} 10.0.0.{} 2 8 1 1 9 6 3 4 6 0 0 0 - {} - {} 0 - - 0\n".format
    state = head + row(1, "a", 1, 8000, 0) + row(2, "b", 2, 8000, 0) + row(3, "gone", 3, 8000, 0)
    servers = (Server("a", "10.0.0.1", 8000), Server("b", "10.0.0.2", 8443, True, "b"))
    now = as_configured(state, config(GatewayOptions(), servers, "sk-engine"))
    assert now == head + row(1, "a", 1, 8000, 0) + row(2, "b", 2, 8443, 1) + row(3, "gone", 3, 8000, 0)
    assert as_configured("1\n", "") == "1\n"
