#!/bin/bash
# Prepare this host for one deployment: the engine, the weights, the key. Run as root; safe to run again.
# Every value comes from setup.env, which corral quoted once; nothing here is generated.
# Mind that of an && list only the last ends it.
set -Eeuo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck disable=SC1091 # written beside us
. "$root/setup.env"

# Whatever the habit of this host or of who packed the engine: what root runs only root may write.
umask 022
chmod go-w "$root" "$root"/bin "$root"/bin/*
[[ ! -d $root/lib ]] || chmod -R go-w "$root/lib"

phase() { "$root/bin/phase" "$@"; }
trap 'no_more_percent; phase "failed: ${step:-start}, line $LINENO"' ERR

# pip and the Hub's client bring authorities of their own; those count that this host trusts, a proxy's among them.
for store in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt; do
    [[ ! -e $store ]] || export REQUESTS_CA_BUNDLE=$store SSL_CERT_FILE=$store
done

secret() { # a SecureString of SSM, or a secret of Secrets Manager, by its name
    if [[ $1 == arn:*:secretsmanager:* ]]; then
        aws secretsmanager get-secret-value --region "$REGION" --secret-id "$1" --query SecretString --output text
    else
        aws ssm get-parameter --region "$REGION" --with-decryption --name "$1" --query Parameter.Value --output text
    fi
}

local_copy() { # print a path on this host for a path, an s3:// address, or - for what comes in by SSH
    if [[ $1 != s3://* ]]; then
        printf '%s\n' "$1"
    elif [[ $1 == */ ]]; then
        aws s3 sync --only-show-errors --region "$REGION" "$1" "$root/download" && printf '%s\n' "$root/download"
    else
        aws s3 cp --only-show-errors --region "$REGION" "$1" "$root/download.tar" && printf '%s\n' "$root/download.tar"
    fi
}

unpacked_engine() { # a packed engine brings every package: no pip, no network
    local archive
    archive=$(local_copy "$ENGINE_ARCHIVE")
    "$ENGINE_PYTHON" -m venv --clear --without-pip "$1"
    tar -x --ignore-zeros --no-same-owner --no-same-permissions --file "$archive" --directory "$1"
    [[ $archive != - || -e $1/.whole ]] || { echo "the engine came in short" >&2; return 1; }
}

packages() { # install the first, which is missing, and the others; a host of somebody gets none
    [[ $RENTED == yes ]] || { echo "$1 is missing: apt-get install $1" >&2; return 1; }
    apt-get update -q
    DEBIAN_FRONTEND=noninteractive apt-get install -qy "$@"
}

installed_engine() {
    local source=()
    "$ENGINE_PYTHON" -c 'import ensurepip, venv' 2>/dev/null || packages python3-venv python3-dev gcc
    [[ -z $ENGINE_WHEELHOUSE ]] || source=(--no-index --find-links "$(local_copy "$ENGINE_WHEELHOUSE")")
    "$ENGINE_PYTHON" -m venv --clear "$1"
    if [[ -n $ENGINE_LOCK_SHA256 ]]; then
        locked_packages "$1"
    else
        "$1/bin/python" -m pip install --quiet --disable-pip-version-check "${source[@]}" "$ENGINE_REQUIREMENT"
    fi
}

locked_packages() { # those of the lock and no others, held by one digest over the hashes of all files
    local wheels=$root/wheels quiet=(--quiet --disable-pip-version-check --no-deps) found
    found=$("$1/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    if [[ $found != "$ENGINE_LOCK_PYTHON" ]]; then
        echo "the lock is for Python $ENGINE_LOCK_PYTHON; this is $found: bring a packed engine" >&2
        return 1
    fi
    rm -rf "$wheels"
    "$1/bin/python" -m pip download "${quiet[@]}" --only-binary :all: --dest "$wheels" --requirement "$root/engine.lock"
    found=$(sha256sum "$wheels"/* | cut -d ' ' -f 1 | LC_ALL=C sort | sha256sum | cut -d ' ' -f 1)
    if [[ $found != "$ENGINE_LOCK_SHA256" ]]; then
        echo "the packages of the index are not those that were locked" >&2
        return 1
    fi
    "$1/bin/python" -m pip install "${quiet[@]}" --no-index "$wheels"/*
    rm -rf "$wheels"
}

tell_percent() { # say once a minute how much of the weights is there, until this is ended
    local bytes sleeper
    trap 'kill "$sleeper"; exit' TERM
    while true; do
        sleep 60 &
        sleeper=$!
        wait "$sleeper"
        bytes=$(du -sDB1 "$root/model" | cut -f1) || continue
        # What is not counted in the plan, such as a tokenizer, comes too.
        phase "fetching the weights: $((bytes < WEIGHTS_BYTES ? 100 * bytes / WEIGHTS_BYTES : 99)) %" \
            "of $(((WEIGHTS_BYTES + (1 << 29)) >> 30)) GiB"
    done
}

teller=
no_more_percent() { # the last word is ours
    [[ -n $teller ]] || return 0
    kill "$teller" 2>/dev/null || :
    wait "$teller" || :
    teller=
}

step=lock
command -v nft >/dev/null || packages nftables

step=engine
wanted="$ENGINE_PYTHON $ENGINE_REQUIREMENT $ENGINE_WHEELHOUSE $ENGINE_ARCHIVE"
if [[ $(cat "$root/engine/.complete" 2>/dev/null) != "$wanted" ]]; then
    phase "installing the engine"
    if [[ -n $ENGINE_ARCHIVE ]]; then unpacked_engine "$root/engine"; else installed_engine "$root/engine"; fi
    "$root/engine/bin/python" -c 'import vllm' # packed for another Python, or half a wheelhouse: found here
    rm -rf "$root/download" "$root/download.tar"
    printf '%s\n' "$wanted" >"$root/engine/.complete"
fi

# A host that is brought its engine over SSH gets it by itself: what is read then is the archive, and no token.
[[ ${1:-} != engine ]] || exit 0

hub_token() {
    token=
    [[ -z $HF_TOKEN_PARAMETER ]] || token=$(secret "$HF_TOKEN_PARAMETER")
}

hub() { "$root/engine/bin/python" "$root/bin/fetch" "$@"; }

unchanged() { :; }

shared() { :; }

# shellcheck disable=SC1091 # written beside us
[[ $RENTED == yes ]] || . "$root/bin/owned"

brought() { # brought ADDRESS PLACE: what is not there yet below the root, or is not what came any more
    local place=$root/$2 fetched=$root/$2.complete what=${2/#model/weights} repository revision
    # After a stop the disk that the link leads to is empty.
    if [[ -L $place && ! -e $place ]]; then rm -f "$place" "$fetched"; fi
    shared "$1" "$place"
    if [[ $(cat "$fetched" 2>/dev/null) == "$1" ]] && unchanged "$1" "$place"; then return 0; fi
    phase "fetching the $what"
    rm -f "$root/${what//\//-}.sums" # of what was here before
    # The Deep Learning AMI mounts the instance's own NVMe here: faster and larger than the root volume.
    if [[ $2 == model && $1 != /* ]] && mountpoint -q /opt/dlami/nvme && [[ ! -e $place ]]; then
        disk=${root##*/"$NAME"} # /ID of a release, which lies beside those of others
        disk=/opt/dlami/nvme/corral-$NAME${disk/\//-}
        mkdir -p "$disk"
        ln -s "$disk" "$place"
    fi
    if [[ $2 == model && $WEIGHTS_BYTES != 0 ]]; then tell_percent >/dev/null 2>&1 9>&- & teller=$!; fi
    case $1 in
    s3://*) aws s3 sync --only-show-errors --region "$REGION" "$1" "$place" ;;
    hf://*)
        hub_token
        IFS=@ read -r repository revision <<<"${1#hf://}"
        # It goes from one input to the next: into no environment, no argument, nowhere on the disk.
        printf '%s\n' "$token" | hub "$repository" "${revision:-main}" "$place"
        ;;
    *) ln -sfn "$1" "$place"; test -e "$place/config.json" ;;
    esac
    no_more_percent
    printf '%s\n' "$1" >"$fetched"
}

step=weights
[[ -z $WEIGHTS ]] || brought "$WEIGHTS" model
while read -r place address <&3; do # a draft, adapters
    [[ -n $place ]] || break
    step=$place
    brought "$address" "$place"
done 3<<<"$BESIDE"
unset token
step=adapters
[[ -z $SUMS ]] || (cd "$root" && sha256sum --check --strict --quiet <<<"$SUMS")

step=key
if [[ $API_KEY == generated && ! -s $root/secrets.env ]]; then
    key=$(head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n')
    (umask 077 && printf 'VLLM_API_KEY=%s\n' "$key" >"$root/secrets.env")
fi

step=units
systemctl daemon-reload
# A rented box comes by here at every boot, and what it has is not read anew; elsewhere somebody brings it on purpose.
[[ $RENTED == yes ]] || rm -f "$root"/*.sums
# What was given up is not started at a boot, and goes on saying so; that is noted of no one release.
gave_up=${root/.releases\/"$NAME"\/*/$NAME}/gave-up
if [[ -s $gave_up ]]; then phase "failed: start: $(cat "$gave_up")"; else phase "prepared"; fi
