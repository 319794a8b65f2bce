"""PURE: a gateway as HAProxy's configuration, for 2.6 and newer.

Four lines are there because of what was measured on the real engine with HAProxy 2.6.12 (2026-11-28): without
`http-no-delay` tokens 50 ms apart came in bunches of five; without `abortonclose` in `defaults` (in a backend it does
nothing) the engine went on for 20 s after a client was gone; buffers of 1 MB cost ten times the CPU of 64 KB; and 500
is not retried, for a request that always earns one would be tried on every server.
"""

import json
import re
from typing import NamedTuple

from deploy.gateway.gateway_options import GatewayOptions

GENERATING = ("/v1/completions", "/v1/chat/completions", "/v1/responses", "/v1/messages")
"""What a client may ask of the OpenAI and Anthropic APIs, beside the list of models. vLLM answers many more paths."""
COUNTING = "/v1/messages/count_tokens"
MODELS = "/v1/models"
BUFFER_BYTES = 65536
MIB = 2**20
CONNECTIONS = 16384
BODY_S, HEAD_S, IDLE_S = 30, 10, 60
"""How long a request's body (of 64 KB), its head, and a client without a request are waited for."""
BODY_BYTES_PER_S = 2**17
"""A longer body has a second more for each so many bytes, about 1 Mbit/s, and is cut then."""

AUDIT = (
    '{"time":"%[date,utime(%Y-%m-%dT%H:%M:%SZ)]","id":"%ID","key":"%[var(txn.key,)]","path":"%[var(txn.path,other)]",'
    '"status":%ST,"input_tokens":%[var(txn.input_tokens,0)],"output_tokens":%[var(txn.output_tokens,0)],'
    '"events":%[var(txn.events,0)],"bytes_in":%U,"bytes_out":%B,"queue_ms":%Tw,"first_byte_ms":%Tr,"ms":%Ta,'
    '"server":"%s","end":"%tsc"}'
)
"""A line of the audit, once the answer is out. `path` is one of those above, for a client may write a prompt into its
own; method and query are left out for that too. `events` are those of a stream, for one that was cut before it told its
usage."""
UNREADABLE = re.sub(r"%\[var\(txn\.\w+,(\w*)\)\]", r"\1", AUDIT).replace("%ID", "")
"""The same of what was no request, or had too many headers: nothing is known of it, and HAProxy would write "-" for a
number, which is no JSON."""


class Server(NamedTuple):
    """Where one engine answers."""

    name: str
    host: str
    port: int
    is_tunnelled: bool = False
    """Whether what is connected to is the end of a tunnel, or a listener: it takes a connection though no engine is
    there."""
    tls_name: str | None = None
    """The name that its listener's certificate must be for; None for what is asked over plain HTTP."""


CONFIG, LUA, KEYS_MAP, SPENT, STATE, TLS = (
    "haproxy.cfg",
    "gateway.lua",
    "keys.map",
    "spent",
    "servers.state",
    "tls.pem",
)
CLIENT, BETWEEN_CA = "client.pem", "between-ca.pem"
"""By what listeners on other hosts know the gateway, and it them."""
ADMIN, MASTER = "admin.sock", "master.sock"
"""What HAProxy reads and listens on, all in the folder that it runs in: a socket's whole path may be too long."""


class Error(NamedTuple):
    """What a client is answered in place of an engine."""

    status: int
    type: str
    code: str
    message: str
    retry_after: str = ""


ANSWERED = (
    Error(400, "invalid_request_error", "bad_request", "%[var(txn.why,the request cannot be read)]"),
    Error(408, "timeout_error", "request_timeout", "the request did not come in time"),
    Error(500, "api_error", "internal_error", "the gateway failed"),
    Error(502, "api_error", "bad_gateway", "the server broke off"),
    Error(503, "overloaded_error", "unavailable", "no server can take the request now", "5"),
    Error(504, "timeout_error", "gateway_timeout", "the server did not answer in time"),
)
"""What HAProxy says by itself, in the words of the APIs."""


def config(asked: GatewayOptions, servers: tuple[Server, ...], engine_key: str) -> str:
    """The whole file. It holds the engine's key, so it is for its owner alone."""
    return "\n".join(
        [
            "# Written by corral; do not edit. It holds the key of the engine.",
            *in_global(asked),
            "",
            *in_defaults(asked),
            "",
            *in_frontend(asked, engine_key),
            "",
            "backend keys",
            "  stick-table type string len 80 size 100k expire 2m store http_req_rate(60s),conn_cur",
            "",
            *in_backend(asked, servers),
            *metrics(asked),
            "",
        ]
    )


def in_global(asked: GatewayOptions) -> list[str]:
    """One thread: with two HAProxy 2.6.12 mixes up what filters in Lua keep, and aborts (256 streams, 2026-12-01)."""
    return [
        "global",
        "  nbthread 1",
        f"  fd-hard-limit {CONNECTIONS}",
        f"  tune.bufsize {BUFFER_BYTES}",
        "  tune.ssl.default-dh-param 2048",
        f"  hard-stop-after {asked.drain_s:.0f}s",
        f"  stats socket unix@{ADMIN} mode 600 level admin expose-fd listeners",
        "  stats timeout 60s",
        f"  setenv CORRAL_MAX_N {asked.max_n}",
        f"  setenv CORRAL_MAX_TOKENS {asked.max_tokens or 0}",
        f"  setenv CORRAL_SPENT {SPENT}",
        f"  setenv CORRAL_MASTER {MASTER}",
        f"  setenv CORRAL_BODY_S {BODY_S}",
        f"  setenv CORRAL_BODY_BYTES_PER_S {BODY_BYTES_PER_S}",
        f"  lua-load {LUA}",
        f"  server-state-file {STATE}",
        "  log stdout format raw local0",
    ]


def in_defaults(asked: GatewayOptions) -> list[str]:
    """What holds for both sides."""
    return [
        "defaults",
        "  mode http",
        "  option abortonclose",
        "  option dontlognull",
        "  option http-server-close",
        "  option redispatch 1",
        "  retries 2",
        "  retry-on conn-failure 503",
        "  timeout connect 2s",
        "  timeout client 300s",
        "  timeout server 3600s",
        f"  timeout http-request {HEAD_S}s",
        f"  timeout http-keep-alive {IDLE_S}s",
        f"  timeout queue {asked.queue_s * 1000:.0f}ms",
        "  load-server-state-from-file global",
        *(f"  http-error {answer(error)}" for error in ANSWERED),
    ]


def answer(error: Error) -> str:
    """What is answered, in the shape of the API that was asked: Anthropic's has a type around the error."""
    said = {"type": error.type, "message": error.message, "param": None, "code": error.code}
    body = "%[var(txn.open,{)]" + f'"error":{json.dumps(said)}' + "}"
    retry = f" hdr Retry-After {error.retry_after}" if error.retry_after else ""
    return f"status {error.status} content-type application/json lf-string {quoted(body)}{retry}"


def quoted(text: str) -> str:
    """One word of HAProxy's."""
    return "'" + text.replace("'", "'\\''") + "'"


def refuse(error: Error, condition: str) -> str:
    """A rule that answers so under a condition."""
    return f"  http-request return {answer(error)} {condition}"


def in_frontend(asked: GatewayOptions, engine_key: str) -> list[str]:
    """Every rule, in the order in which a request meets them."""
    paths = " ".join((*GENERATING, COUNTING, MODELS))
    tls = f" ssl crt {TLS} alpn http/1.1 ssl-min-ver TLSv1.2" if asked.has_tls else ""
    host = f"[{asked.host}]" if ":" in asked.host else asked.host
    entry = 'var(txn.entry),field({},"|")'.format
    return [
        "frontend gateway",
        f"  bind {host}:{asked.port}{' v4v6' if asked.host == '::' else ''}{tls}",
        "  log global",
        "  filter lua.meter",
        "  unique-id-format %[uuid()]",
        f"  log-format {quoted(AUDIT)}",
        f"  error-log-format {quoted(UNREADABLE)}",
        "  acl known path " + paths,
        f"  acl generates path {' '.join(GENERATING)}",
        f"  acl is_models path {MODELS}",
        '  http-request set-var-fmt(txn.open) \'{"type":"error",\' if { path -m beg /v1/messages }',
        '  http-request return status 200 content-type application/json string \'{"status":"ok"}\' '
        "if { path /health } { nbsrv(engines) gt 0 }",
        refuse(ANSWERED[4], "if { path /health }"),
        refuse(Error(404, "not_found_error", "not_found", "there is no such path here"), "unless known"),
        "  http-request set-var(txn.path) path",
        "  http-request set-var(txn.generates) int(1) if generates",
        f"  http-request return {answer(METHOD)} hdr Allow GET if is_models !METH_GET",
        f"  http-request return {answer(METHOD)} hdr Allow POST if !is_models !METH_POST",
        "  http-request set-var(txn.said) req.fhdr(authorization),regsub('^ *[Bb][Ee][Aa][Rr][Ee][Rr] +','') "
        "if { req.fhdr(authorization) -m reg -i '^ *bearer +[^ ]+ *$' }",
        f"  http-request set-var(txn.entry) var(txn.said),sha2(256),hex,lower,map({KEYS_MAP})",
        f"  http-request set-var(txn.entry) req.fhdr(x-api-key),sha2(256),hex,lower,map({KEYS_MAP}) "
        "unless { var(txn.entry) -m found }",
        refuse(UNKNOWN_KEY, "unless { var(txn.entry) -m found }"),
        f"  http-request set-var(txn.key) {entry(1)}",
        f"  http-request set-var(txn.expires) {entry(2)},add(0)",
        f"  http-request set-var(txn.per_minute) {entry(3)},add(0)",
        f"  http-request set-var(txn.at_once) {entry(4)},add(0)",
        f"  http-request set-var(txn.budget) {entry(5)},add(0)",
        f"  http-request set-var(txn.models) {entry(6)}",
        refuse(EXPIRED, "if { var(txn.expires) -m int gt 0 } { date,sub(txn.expires) ge 0 }"),
        refuse(LENGTH, "if !is_models !{ req.hdr(content-length) -m found }"),
        refuse(LENGTH, "if { req.hdr(transfer-encoding) -m found }"),
        refuse(too_large(asked), f"if {{ req.hdr_val(content-length) gt {asked.max_body_mib * MIB} }}"),
        "  http-request track-sc0 var(txn.key) table keys",
        refuse(AT_ONCE, "if { sc_conn_cur(0,keys),sub(txn.at_once) gt 0 }"),
        refuse(PER_MINUTE, "if { sc_http_req_rate(0,keys),sub(txn.per_minute) gt 0 }"),
        refuse(QUEUE, f"if {{ queue(engines) gt {asked.max_queue} }}"),
        f"  http-request wait-for-body time {BODY_S}s if !is_models",
        "  http-request lua.judge",
        refuse(MODEL, "if { var(txn.verdict) -m int 403 }"),
        refuse(OVER_BUDGET, "if { var(txn.verdict) -m int 429 }"),
        refuse(ANSWERED[0], "if { var(txn.verdict) -m found }"),
        "  http-request set-uri %[path]",
        f"  http-request set-header Authorization {quoted('Bearer ' + engine_key.replace('%', '%%'))}",
        *(f"  http-request del-header {name}" for name in FORGED),
        "  http-request set-header X-Request-Id %[unique-id]",
        "  http-response set-header X-Request-Id %[unique-id]",
        "  http-response del-header Server",
        "  default_backend engines",
    ]


FORGED = (
    "x-api-key",
    "cookie",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-proto",
    "x-real-ip",
)
"""What an engine behind is not to see, or to believe."""

METHOD = Error(405, "invalid_request_error", "method_not_allowed", "that path is not asked so")
UNKNOWN_KEY = Error(401, "authentication_error", "invalid_api_key", "no valid key")
EXPIRED = Error(401, "authentication_error", "expired_api_key", "this key has expired")
LENGTH = Error(411, "invalid_request_error", "length_required", "say the body's length: Content-Length")
AT_ONCE = Error(429, "rate_limit_error", "rate_limit_exceeded", "too many requests of this key at once", "1")
PER_MINUTE = Error(
    429, "rate_limit_error", "rate_limit_exceeded", "too many requests of this key a minute", "10"
)
QUEUE = Error(429, "rate_limit_error", "queue_full", "too many requests are waiting", "5")
MODEL = Error(403, "permission_error", "model_not_allowed", "%[var(txn.why)]")
OVER_BUDGET = Error(429, "rate_limit_error", "insufficient_quota", "%[var(txn.why)]", "%[var(txn.wait_s)]")


def too_large(asked: GatewayOptions) -> Error:
    """What is said of a body above the limit."""
    return Error(413, "request_too_large", "request_too_large", f"the body is above {asked.max_body_mib} MiB")


RETRIED = ("  retries 1", "  retry-on conn-failure empty-response 503")
"""Of a tunnel's end only the missing answer tells that no engine is there: that request goes to one other, and to no
third, for it may be what ended the first."""


def in_backend(asked: GatewayOptions, servers: tuple[Server, ...]) -> list[str]:
    """The engines: whoever has the fewest requests gets the next."""
    return [
        "backend engines",
        "  balance leastconn",
        "  option http-no-delay",
        "  option httpchk GET /health",
        *(RETRIED if len(servers) > 1 and any(each.is_tunnelled for each in servers) else ()),
        *(
            f"  server {each.name} {each.host}:{each.port}{mutual_tls(each)} check inter 1s fall 3 rise 1 "
            f"maxconn {asked.max_in_flight}"
            for each in servers
        ),
    ]


def mutual_tls(server: Server) -> str:
    """How the gateway and a listener know each other; the checks of its health go the same way."""
    if server.tls_name is None:
        return ""
    known = f"ca-file {BETWEEN_CA} verify required verifyhost {server.tls_name}"
    return f" ssl crt {CLIENT} {known} ssl-min-ver TLSv1.3"


def metrics(asked: GatewayOptions) -> list[str]:
    """HAProxy's own figures for Prometheus, for this machine alone."""
    if asked.metrics_port is None:
        return []
    return [
        "",
        "frontend metrics",
        f"  bind 127.0.0.1:{asked.metrics_port}",
        "  no log",
        "  http-request use-service prometheus-exporter if { path /metrics }",
        "  http-request return status 404",
    ]
