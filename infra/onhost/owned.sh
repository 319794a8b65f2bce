#!/bin/bash
# What bin/prepare does otherwise on a host of somebody's own than on a rented box; it reads this.
# shellcheck disable=SC2034,SC2154 # of what reads us

hub_token() { # the first line of the input, once
    [[ -n ${token+known} ]] || IFS= read -r token || :
}

hub() { # hub REPOSITORY COMMIT FOLDER
    (cd "$root/lib" && exec "$root/engine/bin/python" -s -m infra.fetch "$@")
}

unchanged() { # unchanged ADDRESS FOLDER: whether what was fetched is what came: a disk that lies changes no time
    [[ $1 == hf://* ]] || return 0
    phase "verifying what lies in $2: every byte of $(du -sDh "$2" | cut -f1) is read"
    (cd "$root/lib" && exec "$root/engine/bin/python" -s -m infra.fetch --again "$2")
}

shared() { # shared ADDRESS FOLDER: there is one copy for every deployment that serves it; nobody's `down` takes it away
    [[ $1 == hf://* ]] || return 0
    local copy=${1#hf://}
    copy=/opt/corral/weights/${copy//\//--}
    fetched=$copy/.complete
    mkdir -p "$copy"
    [[ -L $2 ]] || rm -rf "$2"
    ln -sfn "$copy" "$2"
    exec 9>"$copy.lock"
    flock 9 # two deployments may want them at once
}
