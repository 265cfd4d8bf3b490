# Played inside the machine, as root; it plays itself once more as an ordinary user who has logged in.
# Each row is printed as ROW|user|name|verdict|claim, and `cargo xtask machine` makes a table of them.

who=${1:-root}
work=/tmp/$who/work
scopes="/sys/fs/cgroup"
mkdir -p "$work" && echo hello > "$work/a.txt"

row() {
    name=$1 claim=$2
    shift 2
    if why=$("$@" 2>&1); then verdict=holds; else verdict="FAILS $(echo "$why" | tail -n 5 | tr '\n|' '  ')"; fi
    echo "ROW|$who|$name|$verdict|$claim"
}

doctor() { /check/bin/cofferdam doctor --workspace "$work"; }

# expect TEXT STRENGTH COMMAND…: what `doctor` says of cgroups, and how well memory and CPU are held.
expect() {
    text=$1 strength=$2
    shift 2
    said=$("$@" 2>&1 < /dev/null | sed 's/\x1b\[[0-9;]*m//g')
    echo "$said" | grep -E "cgroups:|memory  |cpu  |failed|cannot"
    echo "$said" | grep -qE "cgroups: .*$text" || return 1
    for budget in memory cpu; do echo "$said" | grep -qE "$strength +$budget " || return 1; done
}

scope_of() { sed -n 's/^0:://p' "/proc/$1/cgroup"; }

# until SECONDS COMMAND…: succeeds as soon as the command does.
until_() {
    left=$(($1 * 5))
    shift
    until "$@"; do
        left=$((left - 1))
        [ $left -gt 0 ] || return 1
        sleep 0.2
    done
}

# A sandbox that was prepared ahead waits there, with its first process in it.
prepared() { grep -l . "$scopes${1%/server}"/*-*-*/*/cgroup.procs 2>/dev/null | head -n 1; }
is_prepared() { [ -n "$(prepared "$1")" ]; }
ask() {
    echo '{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"check","version":"1"}}}'
    echo '{"jsonrpc":"2.0","method":"notifications/initialized"}'
    echo '{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"read_file","arguments":{"path":"a.txt"}}}'
}
answered() { grep -q hello "$1"; }
in_its_scope() { scope_of "$1" | grep -qE '/cofferdam-.*\.scope/cofferdam/server$'; }
nothing_is_left() {
    ! find /sys/fs/cgroup -name 'cofferdam*' | grep . && ! grep -qs cofferdam-guest /proc/[0-9]*/cmdline \
        && ! systemctl $1 list-units --all --plain --no-legend 'cofferdam-*' | grep .
}

servers_come_and_go() {
    for number in 1 2; do
        rm -f /tmp/$who/in$number && mkfifo /tmp/$who/in$number
        /check/bin/cofferdam serve --workspace "$work" < /tmp/$who/in$number > /tmp/$who/out$number 2>&1 &
        eval "server$number=$!"
    done
    exec 3> /tmp/$who/in1 4> /tmp/$who/in2
    ask >&3
    ask >&4
    for number in 1 2; do
        until_ 60 answered /tmp/$who/out$number || { cat /tmp/$who/out$number; return 1; }
    done
    in_its_scope "$server1" && in_its_scope "$server2" || { echo "no scope"; return 1; }
    one=$(scope_of "$server1") two=$(scope_of "$server2")
    [ "$one" != "$two" ] || { echo "both are in $one"; return 1; }
    until_ 20 is_prepared "$one" && until_ 20 is_prepared "$two" || { echo "nothing was born there"; return 1; }
    sandbox=$(dirname "$(prepared "$one")")
    quota=$(($(nproc) * 90000))
    for pair in "memory.oom.group=1" "cpu.max=$quota 100000"; do
        [ "$(cat "$sandbox/${pair%%=*}")" = "${pair#*=}" ] || { echo "$pair does not hold"; return 1; }
    done
    for file in memory.max pids.max; do
        grep -qE '^[0-9]+$' "$sandbox/$file" || { echo "$file is $(cat "$sandbox/$file")"; return 1; }
    done
    kill -9 "$server1" "$server2"
    exec 3>&- 4>&-
    until_ 5 nothing_is_left "$1" || { nothing_is_left "$1"; return 1; }
}

conformance() {
    home=/tmp/$who/conformance/player
    rm -rf /tmp/$who/conformance && mkdir -p "$home" /tmp/$who/conformance/bin && cp /check/bin/probe /tmp/$who/conformance/bin/
    touch /tmp/$who/conformance/settings.lock
    cd "$home" || return 1
    HOME=$home/home COFFERDAM_CONFORMANCE_ROWS=$2 COFFERDAM_CONFORMANCE_ORDER=$1:$home \
        timeout 300 /check/bin/conformance --exact the_committed_table_holds --nocapture < /dev/null > out 2>&1
    cat results
    [ "$(cut -f2 results | sort -u)" = holds ] && [ "$(wc -l < results)" = "$(echo "$2" | tr , '\n' | wc -l)" ]
}

as_user_in_session() { expect 'delegated: /user.slice/user-1000.slice/user@1000.service/app.slice/cofferdam-.*scope$' enforced doctor; }

if [ "$who" = root ]; then
    export HOME=/root
    row scope "a server of root gets a scope of its own, in its slice" \
        expect 'delegated: /system.slice/cofferdam-.*\.scope$' enforced doctor
    row service "a service without Delegate= is not left, and doctor says so" \
        expect 'is a service for this server: add Delegate=yes' watched \
        systemd-run --pipe --wait -q -E HOME=/root /check/bin/cofferdam doctor --workspace "$work"
    row delegated "a service with Delegate= is used as it is" \
        expect 'delegated: /system.slice/run-.*\.service$' enforced \
        systemd-run --pipe --wait -q -E HOME=/root -p Delegate=yes /check/bin/cofferdam doctor --workspace "$work"
    row container "a private, writable cgroup v2 is used by its first process" \
        expect 'delegated: /$' enforced \
        systemd-run --pipe --wait -q -E HOME=/root -p Delegate=yes unshare -C -m \
        sh -c "umount -l /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup; exec /check/bin/cofferdam doctor --workspace $work"
    row company "beside other processes it hands nothing on, and doctor says so" \
        expect 'other processes are in its cgroup v2' watched \
        systemd-run --pipe --wait -q -E HOME=/root -p Delegate=yes unshare -C -m \
        sh -c "umount -l /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup; /check/bin/cofferdam doctor --workspace $work; :"
    # As somebody else's login would: the user's bus is there, and still the service is the machine's.
    systemctl start user@1000.service
    row machine "an ordinary user is not taken out of a service of the machine's" \
        expect "is not this user's to leave" watched \
        systemd-run --pipe --wait -q --uid=agent -E HOME=/home/agent sh -c \
        'mkdir -p /tmp/w; /check/bin/cofferdam doctor --workspace /tmp/w; :'
    row given "a delegated service of the machine's is its user's to use" \
        expect 'delegated: /system.slice/run-.*\.service$' enforced \
        systemd-run --pipe --wait -q --uid=agent -E HOME=/home/agent -p Delegate=yes /check/bin/cofferdam doctor --workspace /tmp/w
    row kill "two servers have two scopes with all budgets, and kill -9 leaves nothing" servers_come_and_go --system
    row rows "P35, P37, P43 and P61 are enforced" conformance root P35,P37,P43,P61
    su -l agent -c 'sh /check/run user'
else
    row session "a server in a login session gets a scope of its own" as_user_in_session
    row delegated "a delegated scope from outside is used as it is" \
        expect 'delegated: .*/run-.*\.scope$' enforced \
        systemd-run --user --scope -q -p Delegate=yes /check/bin/cofferdam doctor --workspace "$work"
    row limited "a delegated scope with a limit is used as it is, below its limit" \
        expect 'delegated: .*/run-.*\.scope$' enforced \
        systemd-run --user --scope -q -p Delegate=yes -p MemoryMax=900M /check/bin/cofferdam doctor --workspace "$work"
    row limit "a scope with a limit is not left, and doctor says so" \
        expect 'would lift its limit memory.max of run-' watched \
        systemd-run --user --scope -q -p MemoryMax=900M /check/bin/cofferdam doctor --workspace "$work"
    row shell "a delegated scope that a shell is in is left for one of its own" \
        expect 'delegated: .*/app.slice/cofferdam-.*\.scope$' enforced \
        systemd-run --user --scope -q -p Delegate=yes sh -c "/check/bin/cofferdam doctor --workspace $work; :"
    row service "a service of the user's without Delegate= is not left" \
        expect 'is a service for this server: add Delegate=yes' watched \
        systemd-run --user --pipe --wait -q /check/bin/cofferdam doctor --workspace "$work"
    row bus "without a user bus budgets are watched, and doctor says why" \
        expect 'there is no user bus' watched \
        env -u DBUS_SESSION_BUS_ADDRESS XDG_RUNTIME_DIR=/nowhere /check/bin/cofferdam doctor --workspace "$work"
    row kill "two servers have two scopes with all budgets, and kill -9 leaves nothing" servers_come_and_go --user
    row rows "P32, P35, P36, P37, P43, P45 and P61 are enforced" conformance ordinary P32,P35,P36,P37,P43,P45,P61
    row again "after all that a server gets a scope as before" as_user_in_session
fi
