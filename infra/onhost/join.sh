#!/bin/bash
# join RANK ADDRESS...: make this host one rank of an engine over the hosts with these addresses, the first of which
# leads, and start its server, now and at every boot. Run as root; safe to run again.
set -Eeuo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck disable=SC1091 # written beside us
. "$root/setup.env"
unit=corral-$NAME.service

refuse() {
    echo "corral: $NAME: not joined: $*" >&2
    exit 1
}
rank=${1:-}
shift || true
[[ $rank =~ ^[0-9]{1,4}$ && $rank -lt $# ]] || refuse "rank '$rank' of $#"
for address; do
    [[ $address =~ ^[0-9a-fA-F:.]+$ ]] || refuse "'$address' is no address"
done

peers=("$@")
mine=${peers[rank]}
interface=$(ip -o address show to "$mine" | awk 'NR == 1 { print $2 }')
[[ -n $interface ]] || refuse "no interface here has the address $mine"
# vLLM's own way over several hosts (no Ray): every rank gets the same options, and only the first an API.
arguments="--nnodes $# --node-rank $rank --master-addr $1"
rm -f "$root/first"
if ((rank > 0)); then
    arguments+=" --headless"
    printf '%s\n' "$1" >"$root/first" # whom the watch and the spot notice ask about
fi

put() { # put FILE: write standard input there; note whether that changed anything
    local new
    new=$(cat)
    [[ $(cat "$1" 2>/dev/null) == "$new" ]] || { printf '%s\n' "$new" >"$1" && changed=yes; }
}
changed=
watch=/etc/systemd/system/corral-$NAME.watch.service
mkdir -p "/etc/systemd/system/$unit.d"
rm -rf "$watch.d"
if [[ -e $watch ]] && ((rank > 0)); then
    mkdir -p "$watch.d"
    printf '[Service]\nIPAddressAllow=%s\n' "$1" >"$watch.d/node.conf"
fi
# With NCCL_DEBUG the log tells which network NCCL took: it falls back to TCP without a word.
put "$root/node.env" <<END
NODE_ARGUMENTS="$arguments"
VLLM_HOST_IP="$mine"
GLOO_SOCKET_IFNAME="$interface"
NCCL_SOCKET_IFNAME="$interface"
NCCL_DEBUG="INFO"
END
put "$root/peers" < <(printf '%s\n' "$@") # whom the egress lock lets the server reach
put "/etc/systemd/system/$unit.d/node.conf" <<END
[Service]
EnvironmentFile=$root/node.env
IPAddressAllow=$*
END

systemctl daemon-reload
# What was given up does not start again before it is told to forget.
rm -f "$root/gave-up" "$root/ends" "$root/first-cause" "/run/corral-$NAME/ends"
systemctl reset-failed "$unit" 2>/dev/null || true
systemctl enable --quiet "$unit"
# Not waited for: a server with another rank may have requests to end first.
systemctl --no-block "$([[ -n $changed ]] && echo restart || echo start)" "$unit"
echo "corral: $NAME: rank $rank of $#"
