#!/bin/sh
# release NAME ORDER ID [MARK [WEIGHTS]]: which release of a deployment this host serves. Run as root; safe to run again.
#   note   keep what is served now as that release, and make room for others
#   room   make room for that release; an engine of that MARK which is here is taken for it, and no room for it; so are
#          weights which came from that address, where one is named: of a box that is rented
#   turn   end what is served and serve that one, until the host starts again
#   keep   from now on that one starts, at a boot too
#   back   end what was turned to; what was kept is what starts
#   look   say what of it is not here any more
#   which  say which one starts (kept=ID), and which was turned to and not kept (trial=ID)
# A unit in system.control goes before one of its name in /etc, and is gone after a boot.
set -eu
umask 022
name=$1 order=$2 id=$3 mark=${4:-} weights=${5:-}
root=/opt/corral/$name
releases=/opt/corral/.releases/$name
release=$releases/$id
kept=/etc/systemd/system
trial=/run/systemd/system.control
unit=corral-$name.service

put() { # put FILE PLACE, in one step
    cp "$1" "$2.new"
    mv "$2.new" "$2"
}

drop_trial() { rm -f "$trial/corral-$name."*; }

units() { # those that a release has of its own
    for each in service judge.service prepare.service; do
        [ ! -e "$1/corral-$name.$each" ] || echo "$1/corral-$name.$each"
    done
}

case $order in
note)
    [ ! -e "$release/units" ] || exit 0
    rm -rf "$release.new"
    mkdir -p "$release.new/units"
    chmod a+rx /opt/corral/.releases "$releases"
    for each in $(units "$kept"); do cp "$each" "$release.new/units/"; done
    cp "$root/record.json" "$release.new/record.json"
    mkdir -p "$release"
    mv "$release.new/record.json" "$release/record.json"
    mv "$release.new/units" "$release/units"
    rmdir "$release.new"
    ;;
room)
    mkdir -p "$release"
    chmod a+rx /opt/corral/.releases "$releases" "$release"
    for each in "$root/engine" "$releases"/*/engine; do
        if [ -e "$release/engine/.complete" ]; then break; fi
        [ "$(cat "$each/.complete" 2>/dev/null)" = "$mark" ] || continue
        rm -rf "$release/engine" "$release/engine.new"
        cp -al "$each" "$release/engine.new" # the same files, under a second name
        mv "$release/engine.new" "$release/engine"
    done
    for each in "$root" "$releases"/*; do
        if [ -z "$weights" ] || [ -e "$release/model.complete" ]; then break; fi
        [ "$(cat "$each/model.complete" 2>/dev/null)" = "$weights" ] || continue
        [ -e "$each/model/config.json" ] || continue
        rm -rf "$release/model"
        ln -s "$(readlink -f "$each/model")" "$release/model"
        [ ! -e "$each/weights.sums" ] || cp "$each/weights.sums" "$release/weights.sums"
        cp "$each/model.complete" "$release/model.complete"
    done
    ;;
turn)
    [ -e "$release/units/$unit" ] || { echo "the release $id is not on this host" >&2; exit 1; }
    drop_trial
    systemctl enable --quiet "$unit"
    mkdir -p "$trial"
    for each in $(units "$release/units"); do put "$each" "$trial/${each##*/}"; done
    systemctl daemon-reload
    systemctl stop "$unit"
    rm -f "$root/gave-up" "$root/ends" "$root/first-cause" "/run/corral-$name/ends"
    systemctl reset-failed "$unit" 2>/dev/null || true
    systemctl --no-block start "$unit"
    ;;
keep)
    [ -e "$release/units/$unit" ] || { echo "the release $id is not on this host" >&2; exit 1; }
    for each in $(units "$release/units"); do [ "${each##*/}" = "$unit" ] || put "$each" "$kept/${each##*/}"; done
    put "$release/units/$unit" "$kept/$unit" # from here on it is this one
    put "$release/record.json" "$root/record.json"
    drop_trial
    systemctl daemon-reload
    ;;
back)
    drop_trial
    systemctl daemon-reload
    systemctl stop "$unit"
    ;;
look)
    [ -e "$release/units/$unit" ] || { echo "its files"; exit 0; }
    own=$root
    ! grep -q "^ConditionPathExists=/opt/corral/\.releases/" "$release/units/$unit" || own=$release
    [ -e "$own/engine/.complete" ] || echo "its engine $own/engine"
    model=$(sed -n 's|^ExecStart=.*"serve" "\([^"]*\)".*|\1|p' "$release/units/$unit")
    case $model in */"$name/model" | */"$id/model") model=$own/model ;; esac
    [ -e "$model/config.json" ] || echo "its model $model"
    # What was brought beside it, as its unit names it; both may be links to what deployments share.
    sed -n 's|^ExecStart=||p' "$release/units/$unit" |
        grep -o '\\"/opt/corral/[^"\]*/\(draft\|adapters/[^"\/]*\)\\"' | tr -d '\\"' |
        while read -r beside; do
            [ -e "$beside/config.json" ] || [ -e "$beside/adapter_config.json" ] || echo "its files in $beside"
        done
    ;;
which)
    sed -n 's/^  "release": "\([0-9a-f]*\)".*/kept=\1/p' "$root/record.json" 2>/dev/null || true
    [ -e "$trial/$unit" ] || exit 0
    for each in "$releases"/*/units/"$unit"; do
        cmp -s "$each" "$trial/$unit" || continue
        each=${each%/units/*}
        echo "trial=${each##*/}"
    done
    ;;
esac
