#!/bin/sh
# lock on|check|off NAME: load, judge or remove the table that lets the server's own user speak over loopback with
# itself, to its peers, and with nobody else. systemd runs it as root: on before the server starts, which without its
# lock or its key it does not; check every few seconds while it runs; off after it ended. Nothing that the server can
# write is read here: whose the lock is, systemd says.
set -eu
name=$2
root=/opt/corral/$name
unit=corral-$name.service
table=corral-$name
loaded="$root/loaded.nft" # not in /run, of which the unit has its own

ask() { # what systemd knows: the number of the user of this start, none where it has none of its own, and of its process
    uid=none pid=0 state=
    while IFS='=' read -r property value; do
        case $property=$value in
        UID=*[!0-9]* | UID= | UID=0 | UID=4294967295) ;;
        UID=*) grep -qs "^[^:]*:[^:]*:$value:" /etc/passwd || uid=$value ;;
        MainPID=*) pid=$value ;;
        SubState=*) state=$value ;;
        esac
    done <<END
$(systemctl show --property=UID --property=MainPID --property=SubState "$unit")
END
}

rules() { # the peers are known after a join
    echo "define server = $uid"
    cat "$root/egress.nft" || return
    [ ! -e "$root/peers" ] || while read -r address; do
        case $address in *:*) kind=ipv6_addr ;; *) kind=ipv4_addr ;; esac
        echo "add element inet $table $kind { $address }"
    done <"$root/peers"
}

listed() { # the table as the kernel has it, without what it counts and notes by itself
    listing=$(nft --numeric --stateless list table inet "$table") || return
    printf '%s\n' "$listing" |
        awk '/flags dynamic/ { noted = 1 } /^\t}/ { noted = 0 } noted && /elements = / { hide = 1 } !hide; hide && /}/ { hide = 0 }'
}

judges() { # judges TABLE: whether it is for the user of this start
    printf '%s\n' "$1" | grep -qx "[[:space:]]*meta skuid $uid goto server"
}

load() { # not piped into nft, which would load what there is of a file that cannot be read
    rules=$(rules) && printf '%s\n' "$rules" | nft -f - && rules=$(listed) && judges "$rules"
}

keep() { # keep the rules as they are loaded: after an end, too, so that a full disk keeps no server from starting again
    [ "$rules" = "$(cat "$loaded" 2>/dev/null)" ] || printf '%s\n' "$rules" >"$loaded"
}

fault() { # fault PID: say what is wrong with the lock of the server whose first process that is; nothing when it is whole
    rules=$(listed) || rules=
    if [ -z "$rules" ]; then
        echo "the egress lock is gone"
    elif [ "$rules" != "$(cat "$loaded" 2>/dev/null)" ]; then
        echo "the rules of the egress lock were changed"
    elif [ "$(awk '/^Uid:/ { print $2, $3, $4, $5 }' "/proc/$1/status")" != "$uid $uid $uid $uid" ] || ! judges "$rules"; then
        echo "the egress lock is not for the server's user"
    fi
}

left() { # the processes of the server that live, by their folders
    grep -ls "^Uid:.*[[:space:]]${uid}[[:space:]]" /proc/[0-9]*/status | while read -r status; do
        process=${status%/status}
        grep -qs "/$table\.service" "$process/cgroup" || continue
        # Of a zombie with threads the threads live.
        if ! grep -qs '^State:[[:space:]]*Z' "$status" || ! grep -qs '^Threads:[[:space:]]*1$' "$status"; then echo "$process"; fi
    done
}

end_all() { # end what the server left running; fails where it multiplies faster than this
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        processes=$(left)
        [ -n "$processes" ] || return 0
        for process in $processes; do kill -KILL "${process##*/}" 2>/dev/null || true; done
    done
    return 1
}

refuse() { # told where the log, `corral status` and the console output of the cloud show it
    "$root/bin/phase" "failed: start: $*" || true
    # For bin/heal. In memory too, which no full disk takes away: the host's, as the unit has a /run of its own.
    echo "$*" >"$root/refused" || true
    # shellcheck disable=SC2016 # the inner shell's own
    nsenter --target 1 --mount -- sh -c 'mkdir -p "$1" && echo "$2" >"$1/refused"' sh "/run/corral-$name" "$*" || true
    echo "corral: $*, so the server is not started" >&2
    exit 1
}

case $1 in
on)
    # shellcheck disable=SC1091 # written by corral
    . "$root/setup.env"
    command -v nft >/dev/null || refuse "nft is missing"
    [ "$API_KEY" != generated ] || grep -qs '^VLLM_API_KEY=.' "$root/secrets.env" || refuse "the server's key is missing"
    ask
    [ "$uid" != none ] || refuse "the server has no user of its own"
    end_all || refuse "an earlier server cannot be ended"
    nft delete table inet "$table" 2>/dev/null || true # that of an earlier start is none of this one
    load || refuse "the egress lock cannot be loaded"
    keep || refuse "$root takes nothing more, so the lock's rules cannot be kept; make room there (df -h $root), and it starts by itself"
    case $(cat "$root/phase" 2>/dev/null) in "failed: start:"* | "failed: lock:"*) "$root/bin/phase" prepared || true ;; esac # what failed is mended
    ;;
check)
    ask
    [ "$state" = running ] && why=$(fault "$pid") && [ -n "$why" ] || exit 0
    was=$pid
    ask # one that has ended meanwhile has no lock to have
    [ "$state" = running ] && [ "$pid" = "$was" ] && why=$(fault "$pid") && [ -n "$why" ] || exit 0
    "$root/bin/phase" "failed: lock: $why, so the server was stopped" || true
    systemctl --no-block stop "$unit" || true
    # What it would do while it drains, it would do without its lock.
    systemctl kill --signal=KILL --kill-who=main "$unit" || true
    echo "corral: $why, so the server was stopped" >&2
    exit 1
    ;;
off)
    # What the server left running would be unlocked: it goes first. Not this script, which is root's.
    ask
    if [ "$uid" != none ] && ! end_all; then
        echo "corral: what the server left still runs, so its lock stays" >&2
        exit 1
    fi
    case $(cat "$root/phase" 2>/dev/null) in "failed: lock:"*) echo "corral: $(cat "$root/phase")" ;; esac
    nft delete table inet "$table" 2>/dev/null || true
    ;;
esac
