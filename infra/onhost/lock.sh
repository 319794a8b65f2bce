#!/bin/sh
# lock on|off NAME: load or remove the table that lets the server's own user send to loopback and its peers alone.
# systemd runs it as root before the server starts, which without its lock or its key it does not, and after it ended.
set -eu
root=/opt/corral/$2
table=corral-$2
loaded=/run/$table.nft
# The unit's own user wrote its number a moment ago.
uid=$(cat "/var/lib/private/corral-$2/uid" 2>/dev/null) || uid=
case $uid in '' | *[!0-9]* | 0) uid=none ;; esac

rules() { # the peers are known after a join
    echo "define server = $uid"
    cat "$root/egress.nft" || return
    [ ! -e "$root/peers" ] || while read -r address; do
        case $address in *:*) kind=ipv6_addr ;; *) kind=ipv4_addr ;; esac
        echo "add element inet $table $kind { $address }"
    done <"$root/peers"
}

load() { # not piped into nft, which would load what there is of a file that cannot be read
    rules=$(rules) && printf '%s\n' "$rules" | nft -f - && nft --stateless list table inet "$table" >"$loaded"
}

refuse() { # told where the log, `corral status` and the cloud's console output show it
    "$root/bin/phase" "failed: start: $*" || true
    echo "corral: $*, so the server is not started" >&2
    exit 1
}

if [ "$1" = on ]; then
    # shellcheck disable=SC1091 # written by corral
    . "$root/setup.env"
    command -v nft >/dev/null || refuse "nft is missing"
    [ "$API_KEY" != generated ] || grep -qs '^VLLM_API_KEY=.' "$root/secrets.env" || refuse "the server's key is missing"
    nft delete table inet "$table" 2>/dev/null || true # an earlier start's is none of this one
    load || refuse "the egress lock cannot be loaded"
    case $(cat "$root/phase" 2>/dev/null) in "failed: start:"*) "$root/bin/phase" prepared ;; esac # what failed is mended
    exit
fi
# What the server left running would be unlocked: it goes first. Not this script, which is root's.
for process in /proc/[0-9]*; do
    grep -qs "/corral-$2\.service" "$process/cgroup" || continue
    if [ "$(stat -c %u "$process" 2>/dev/null)" = "$uid" ]; then kill -KILL "${process#/proc/}" || true; fi
done
nft delete table inet "$table" 2>/dev/null || true
rm -f "$loaded"
