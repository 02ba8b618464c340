#!/usr/bin/env bash
# Installs and starts the real parts that tests run on: Docker's engine, Apptainer, a Slurm with munge
# and accounting on this machine (which also plays a second node, for trainings on two), a small base
# image with Python and CPU torch to build on, and the browser that pages are looked at in.
#
# For a throw-away Debian machine (a CI runner, a VM), as root. It takes packages from the mirrors that
# the apt configuration names. Doing it again installs nothing and starts what does not run.
#
#     tests/infra/setup.sh              everything
#     tests/infra/setup.sh docker slurm some parts: docker, base (needs docker), apptainer, slurm, chromium
#
# What it keeps is under /var/lib/minilingua-infra; the daemons' logs are in its log/.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(cd "$HERE/../.." && pwd)
STATE=/var/lib/minilingua-infra
LOG=$STATE/log
NUMPY=numpy==1.26.4 # what NGC 25.04 has

say() { printf 'setup: %3d s: %s\n' "$SECONDS" "$*" >&2; }
die() {
    say "$*"
    exit 2
}
have() { command -v "$1" >/dev/null 2>&1; }

# await SECONDS COMMAND.. : until the command succeeds.
await() {
    local tries=$(($1 * 5))
    shift
    until "$@" >/dev/null 2>&1; do
        tries=$((tries - 1))
        ((tries > 0)) || return 1
        sleep 0.2
    done
}

# start NAME COMMAND.. : a daemon that outlives this script, with a log of its own.
start() {
    local name=$1
    shift
    say "starting $name"
    setsid nohup "$@" </dev/null >>"$LOG/$name.log" 2>&1 9>&- &
}

# stop PIDFILE : ends a daemon of ours and waits for it.
stop() {
    local pid
    pid=$(cat "$1" 2>/dev/null) || return 0
    kill "$pid" 2>/dev/null || return 0
    local tries=100
    while kill -0 "$pid" 2>/dev/null && ((tries-- > 0)); do sleep 0.1; done
}

# running PIDFILE : does the daemon that wrote it live?
running() {
    local pid
    pid=$(cat "$1" 2>/dev/null) && kill -0 "$pid" 2>/dev/null
}

# Address of the mirror that apt takes the distribution itself from.
mirror() {
    apt-get indextargets --format '$(CREATED_BY) $(CODENAME) $(SITE)' |
        awk -v codename="$CODENAME" '$1 == "Packages" && $2 == codename {print $3; exit}'
}

update_done=
install_packages() {
    local missing=() package
    for package in "$@"; do
        dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null |
            grep -qx installed || missing+=("$package")
    done
    ((${#missing[@]})) || return 0
    if [[ -z $update_done ]]; then
        apt-get -qq -o Acquire::Retries=3 update || say "apt-get update: not every index is there"
        update_done=yes
    fi
    say "installing ${missing[*]}"
    # The daemons are started below, with configurations of their own.
    local policy=/usr/sbin/policy-rc.d kept=
    if [[ -e $policy ]]; then
        kept=$(mktemp)
        cp --preserve=all "$policy" "$kept"
    fi
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    local status=0
    DEBIAN_FRONTEND=noninteractive apt-get -qq -o Acquire::Retries=3 -o Dpkg::Use-Pty=0 \
        install --yes --no-install-recommends "${missing[@]}" >>"$LOG/apt.log" 2>&1 || status=$?
    rm -f "$policy"
    [[ -z $kept ]] || mv "$kept" "$policy"
    ((status == 0)) || die "apt-get install failed: $(tail -n 1 "$LOG/apt.log") ($LOG/apt.log)"
}

setup_docker() {
    if have docker && docker info >/dev/null 2>&1; then
        say "docker: a daemon answers"
        return
    fi
    have dockerd || install_packages docker.io
    # No bridge and no rules: builds here need no network, and the machine's firewall is left alone.
    start dockerd dockerd --bridge=none --iptables=false --ip-masq=false --exec-root="$STATE/docker-exec" \
        --data-root="$STATE/docker" --pidfile="$STATE/dockerd.pid"
    await 60 docker info || die "dockerd does not answer: $(tail -n 1 "$LOG/dockerd.log")"
}

# Debian has Apptainer in unstable only, linked against a newer C library than that of a stable
# release: its two programs are given that library as a private one.
setup_apptainer() {
    if have apptainer; then
        say "apptainer: $(apptainer --version)"
        return
    fi
    install_packages squashfs-tools uidmap fakeroot ca-certificates libseccomp2 libsqlite3-0 \
        containernetworking-plugins
    if apt-cache policy apptainer | grep -q 'Candidate: [0-9]'; then
        install_packages apptainer
    else
        apptainer_from_unstable
    fi
    # A container machine may lack the right to raise limits, which root's containers ask for. Running
    # does without when told to; building gets all rights in a user namespace of its own.
    if ! has_sys_resource && [[ ! -e /usr/local/bin/apptainer ]]; then
        local file
        for file in /etc/subuid /etc/subgid; do
            grep -qs '^root:' "$file" || echo 'root:0:65536' >>"$file"
        done
        sed -i 's/^root default capabilities = .*/root default capabilities = no/' \
            /etc/apptainer/apptainer.conf
        printf '#!/bin/sh\n[ "$1" != build ] || exec unshare --user --map-users=0,0,65536 --map-groups=0,0,65536 %s "$@"\nexec %s "$@"\n' \
            /usr/bin/apptainer /usr/bin/apptainer >/usr/local/bin/apptainer
        chmod 755 /usr/local/bin/apptainer
    fi
    apptainer --version >/dev/null || die "apptainer does not run"
}

setup_chromium() {
    have chromium || have chromium-browser || install_packages chromium
}

has_sys_resource() {
    local effective
    effective=$(awk '$1 == "CapEff:" {print $2}' /proc/self/status)
    (((16#$effective >> 24) & 1))
}

apptainer_from_unstable() {
    install_packages patchelf
    local work=$STATE/apptainer site libc=/opt/minilingua-infra-libc architecture
    site=$(mirror)
    [[ -n $site ]] || die "apptainer: the apt configuration names no mirror of $CODENAME"
    architecture=$(dpkg --print-architecture)
    rm -rf "$work"
    mkdir -p "$work/lists/partial" "$work/root"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $site sid main" >"$work/sources.list"
    local apt=(-qq -o Acquire::Retries=3 -o Dir::State::Lists="$work/lists" -o Dir::Etc::sourceparts=/dev/null
        -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache=
        -o APT::Sandbox::User=root)
    say "taking apptainer from unstable"
    apt-get "${apt[@]}" update >>"$LOG/apt.log" 2>&1 || die "apptainer: $(tail -n 1 "$LOG/apt.log")"
    (cd "$work" && apt-get "${apt[@]}" download apptainer/sid libc6/sid) >>"$LOG/apt.log" 2>&1 ||
        die "apptainer: $(tail -n 1 "$LOG/apt.log")"
    dpkg-deb --extract "$work"/apptainer_*_"$architecture".deb "$work/root"
    rm -rf "$libc"
    mkdir -p "$libc"
    dpkg-deb --extract "$work"/libc6_*_"$architecture".deb "$libc"
    local loader libraries program
    loader=$(find "$libc" -name 'ld-linux*.so.*' | head -n 1)
    libraries=$(dirname "$(find "$libc" -name libc.so.6 | head -n 1)")
    for program in usr/bin/apptainer $(cd "$work/root" && find usr -name starter -type f); do
        patchelf --set-interpreter "$loader" \
            --set-rpath "$libraries:/usr/lib/$(gcc_triplet):/lib/$(gcc_triplet)" "$work/root/$program"
    done
    cp --archive "$work/root/." /
    mkdir -p /var/lib/apptainer/mnt/session
    rm -rf "$work"
}

gcc_triplet() { dpkg-architecture -q DEB_HOST_MULTIARCH 2>/dev/null || echo "$(uname -m)-linux-gnu"; }

setup_slurm() {
    if [[ -e /etc/slurm/slurm.conf ]] && ! grep -q 'minilingua infra' /etc/slurm/slurm.conf; then
        die "slurm: /etc/slurm/slurm.conf is not ours"
    fi
    # With what judges the generated scripts.
    install_packages munge slurmctld slurmd slurm-client slurmdbd slurm-wlm-mysql-plugin mariadb-server \
        shellcheck
    local run=$STATE/slurm host memory file node changed=
    mkdir -p /etc/slurm "$run/ctld" "$run/mysql" /run/munge
    host=$(hostname -s)
    memory=$(awk '$1 == "MemTotal:" {print int($2 / 1024 * 0.9)}' /proc/meminfo)
    for file in slurm.conf slurmdbd.conf gres.conf cgroup.conf; do
        sed -e "s|@HOST@|$host|g" -e "s|@CPUS@|$(nproc)|g" -e "s|@MEMORY@|$memory|g" \
            -e "s|@RUN@|$run|g" -e "s|@LOG@|$LOG|g" "$HERE/slurm/$file" >"$run/$file"
        cmp -s "$run/$file" "/etc/slurm/$file" || changed=yes
        install -m 600 "$run/$file" "/etc/slurm/$file"
    done
    chmod 644 /etc/slurm/slurm.conf /etc/slurm/gres.conf /etc/slurm/cgroup.conf
    if [[ -z $changed ]] && timeout 10 sinfo >/dev/null 2>&1 && nodes_are_up; then
        say "slurm: $(sinfo --version) answers"
        return
    fi
    if [[ -n $changed ]]; then
        stop "$run/slurmctld.pid"
        for file in "$run"/slurmd*.pid; do stop "$file"; done
    fi
    # What stands for GPUs: they can be asked for and are counted, and are as good as /dev/null.
    local device
    for device in 0 1; do
        [[ -c $run/gpu$device ]] || mknod "$run/gpu$device" c 1 3
    done

    [[ -e /etc/munge/munge.key ]] || die "munge: /etc/munge/munge.key is missing"
    chown munge: /run/munge
    chmod 755 /run/munge
    munge --no-input >/dev/null 2>&1 || start munged runuser -u munge -- munged --foreground
    await 20 munge --no-input || die "munged does not answer: $(tail -n 1 "$LOG/munged.log")"

    start_database "$run/mysql"
    accounting_answers >/dev/null 2>&1 || start slurmdbd slurmdbd -D
    await 40 accounting_answers || die "slurmdbd does not answer: $(tail -n 1 "$LOG/slurmdbd.log")"
    sacctmgr --noheader --parsable2 list cluster format=cluster | grep -qx infra ||
        sacctmgr --immediate --quiet add cluster infra >>"$LOG/sacctmgr.log" 2>&1
    timeout 10 scontrol ping | grep -q 'is UP' || start slurmctld slurmctld -D
    await 40 sinfo || die "slurmctld does not answer: $(tail -n 1 "$LOG/slurmctld.log")"
    for node in "$host" "$host-b"; do
        running "$run/slurmd-$node.pid" || start "slurmd-$node" slurmd -D -N "$node"
    done
    # A node that was away, or was killed in a test, is taken back.
    await 5 nodes_are_up ||
        scontrol update nodename="$host,$host-b" state=resume 2>/dev/null || true
    await 60 nodes_are_up || die "slurmd does not answer: $(tail -n 1 "$LOG/slurmd-$host.log")"
    say "slurm: $(sinfo --noheader | tr -s ' ' | head -n 1)"
}

accounting_answers() { timeout 10 sacctmgr --noheader list cluster; }
nodes_are_up() {
    (($(sinfo --noheader --Node --partition pair --format %t | grep -Ecx 'idle|mix|alloc') == 2))
}

# A database of our own on loopback: accounting is what verdicts over jobs come from.
start_database() {
    local data=$1 socket=$1/socket
    if mysqladmin --socket="$socket" ping >/dev/null 2>&1; then
        return
    fi
    chown -R mysql: "$data"
    [[ -d $data/data/mysql ]] || mysql_install_db --user=mysql --datadir="$data/data" --skip-test-db \
        --auth-root-authentication-method=socket >>"$LOG/mysql.log" 2>&1
    start mysql mariadbd --no-defaults --user=mysql --datadir="$data/data" --socket="$socket" \
        --bind-address=127.0.0.1 --port=16819 --innodb-buffer-pool-size=64M --innodb-lock-wait-timeout=900
    await 40 mysqladmin --socket="$socket" ping || die "mariadbd does not answer: $(tail -n 1 "$LOG/mysql.log")"
    # Reachable from this machine only, with nothing in it but the jobs of tests.
    mysql --socket="$socket" --execute="CREATE DATABASE IF NOT EXISTS slurm_acct_db;
        CREATE USER IF NOT EXISTS slurm@localhost IDENTIFIED BY 'slurm', slurm@'127.0.0.1' IDENTIFIED BY 'slurm';
        GRANT ALL ON slurm_acct_db.* TO slurm@localhost, slurm@'127.0.0.1';"
}

run_pip() {
    local python=$1
    shift
    "$python" -m pip --disable-pip-version-check --quiet "$@" 2>>"$LOG/pip.log" ||
        die "pip $1 failed: $(tail -n 1 "$LOG/pip.log")"
}

# The base that stands for NGC's: Debian, Python, torch, and the wheels of the recipe's lock, so that
# the very Dockerfile and definition file are built without a network.
setup_base() {
    local lock=$ROOT/containers/requirements.txt python torch content tag
    python=$ROOT/.venv/bin/python
    [[ -x $python ]] || python=$(command -v python3)
    torch=$(grep '^torch==' "$ROOT/requirements.lock")
    content=$({ cat "$lock"; echo "$torch $NUMPY"; declare -f setup_base; } | sha256sum | cut -c 1-12)
    tag=minilingua-test-base:$content
    if docker image inspect "$tag" >/dev/null 2>&1; then
        say "base: $tag is there"
    else
        local root=$STATE/base wheels=$STATE/wheels site
        site=$(mirror)
        # One that was interrupted has left it mounted.
        mountpoint --quiet "$root/proc" && umount "$root/proc"
        rm -rf --one-file-system "$root"
        say "base: debootstrap $CODENAME"
        debootstrap --variant=minbase --include=python3,ca-certificates "$CODENAME" "$root" "$site" \
            >"$LOG/debootstrap.log" 2>&1 || die "debootstrap failed: $(tail -n 1 "$LOG/debootstrap.log")"
        local version
        version=$(chroot "$root" python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        say "base: wheels for Python $version"
        rm -rf "$wheels"
        local target=(--python-version "$version" --only-binary=:all:)
        run_pip "$python" download "${target[@]}" --no-deps --dest "$wheels" --requirement "$lock"
        run_pip "$python" download "${target[@]}" --dest "$wheels" \
            "$(grep -o 'hatchling==[0-9.]*' "$ROOT/pyproject.toml")"
        run_pip "$python" install "${target[@]}" \
            --target "$root/usr/local/lib/python$version/dist-packages" "$torch" "$NUMPY" pip
        # What only compiling against torch, or testing it, needs.
        (cd "$root/usr/local/lib/python$version/dist-packages/torch" && rm -rf include test share bin/*test*)
        mv "$wheels" "$root/opt/wheels"
        printf '[global]\nno-index = true\nfind-links = /opt/wheels\n' >"$root/etc/pip.conf"
        rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
        say "base: $tag"
        tar --create --directory "$root" --numeric-owner . | docker import - "$tag" >/dev/null
        rm -rf "$root"
    fi
    docker tag "$tag" minilingua-test-base:current
}

[[ $(id -u) == 0 ]] || die "has to run as root: it installs packages and starts daemons"
have apt-get || die "needs Debian's apt-get"
CODENAME=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
mkdir -p "$LOG"
# Two of these at once would take each other's files away.
exec 9>"$STATE/setup.lock"
flock 9
parts=("$@")
((${#parts[@]})) || parts=(docker base apptainer slurm chromium)
base=
for part in "${parts[@]}"; do
    case $part in
    docker | apptainer | slurm | chromium) "setup_$part" ;;
    base) # beside the others: most of its time goes into unpacking
        have debootstrap || install_packages debootstrap
        setup_base &
        base=$!
        ;;
    *) die "unknown part '$part'; there are: docker, base, apptainer, slurm, chromium" ;;
    esac
done
[[ -z $base ]] || wait "$base"
# A machine may let daemons start and then forbid what they are for.
for part in "${parts[@]}"; do
    case $part in
    base)
        docker run --rm --network none minilingua-test-base:current true 2>>"$LOG/try.log" ||
            die "docker runs nothing: $(tail -n 1 "$LOG/try.log")"
        ;;
    slurm)
        timeout 60 srun --quiet --time=1 true 2>>"$LOG/try.log" ||
            die "slurm runs nothing: $(tail -n 1 "$LOG/try.log")"
        ;;
    esac
done
say "ready"
