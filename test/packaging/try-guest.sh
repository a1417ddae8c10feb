#!/bin/bash
# The part of try-deb.sh that runs inside, under systemd. Each command is shown with what it prints;
# each "check" must hold.
set -uo pipefail
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
cd /try || exit 1

say() {
    printf '\n# %s\n' "$*"
}

# Shows a command, and what it prints.
run() {
    printf '$ %s\n' "$*"
    bash -c "$*" 2>&1 | sed '/^Selecting previously\|^(Reading database\|^Preparing to/d'
}

# The command must succeed.
check() {
    printf '$ %s\n' "$*"
    bash -c "$*" 2>&1 || {
        echo "FAILED: $*"
        journalctl -u nsqd --no-pager | tail -n 30
        exit 1
    }
}

# The same, tried for some seconds.
await() {
    local i
    for i in $(seq 100); do
        bash -c "$*" >/dev/null 2>&1 && break
        sleep 0.1
    done
    check "$@"
}

pid() {
    systemctl show -P MainPID nsqd
}

say 'Install: the daemon runs, as its user, and starts with the machine.'
run apt-get install -qq -y ./nsqd-c.deb
check systemctl is-enabled nsqd
check systemctl is-active nsqd
run systemctl show -p Type,StatusText,TasksMax,LimitNOFILE,WatchdogUSec nsqd
check "curl -s http://127.0.0.1:4151/ping | grep -x OK"
check "stat -c '%U:%G %a %n' /var/lib/nsq | grep -x 'nsq:nsq 750 /var/lib/nsq'"
check "ps -o user=,args= -p $(pid) | grep '^nsq '"
run "grep -E '^Max (open files|processes)' /proc/$(pid)/limits"
check "systemctl is-enabled nsqd.socket | grep -x disabled"
run "systemd-analyze security nsqd --no-pager | tail -n 1"

say 'A daemon that hangs: the watchdog ends it, and it starts anew.'
mkdir -p /run/systemd/system/nsqd.service.d
printf '[Service]\nWatchdogSec=2s\n' >/run/systemd/system/nsqd.service.d/short.conf
run 'systemctl daemon-reload && systemctl restart nsqd'
hung=$(pid)
check "sleep 5 && test $(pid) = $hung && echo 'five seconds later it is the same process'"
run "kill -STOP $hung"
await "test \$(systemctl show -P NRestarts nsqd) = 1"
await systemctl is-active nsqd
check "journalctl -u nsqd --no-pager -o cat | grep 'Watchdog timeout'"
rm -r /run/systemd/system/nsqd.service.d
run 'systemctl daemon-reload && systemctl restart nsqd'

say 'A stop writes what is in memory, within a moment.'
check "seq 5000 | curl -s --data-binary @- 'http://127.0.0.1:4151/mpub?topic=orders'; echo"
began=$(date +%s%N)
run systemctl stop nsqd
took=$((($(date +%s%N) - began) / 1000000))
check "test $took -lt 5000 && echo 'the stop took less than 5 s'"
check "journalctl -u nsqd --no-pager -o cat | grep -c 'NSQ: bye'"
check "systemctl show -P Result nsqd | grep -x success"
check "ls /var/lib/nsq"
run systemctl start nsqd
depth="curl -s 'http://127.0.0.1:4151/stats?format=json&topic=orders' | grep -o '\"depth\":[0-9]*'"
check "$depth | head -n 1 | grep -x '\"depth\":5000'"

say 'Upgrade: flags and config of the operator stay, the new daemon runs, no message is lost.'
check "echo 'NSQD_OPTS=\"--max-rdy-count=77\"' >/etc/default/nsqd"
check "echo 'log_level = \"debug\"' >>/etc/nsq/nsqd.cfg"
before=$(pid)
run 'apt-get install -qq -y -o Dpkg::Options::=--force-confold ./newer.deb'
check "dpkg-query -W nsqd-c | grep '+1$'"
await systemctl is-active nsqd
check "test $(pid) != $before && echo 'another process'"
check "grep -x 'NSQD_OPTS=\"--max-rdy-count=77\"' /etc/default/nsqd"
check "grep debug /etc/nsq/nsqd.cfg"
check "$depth | head -n 1 | grep -x '\"depth\":5000'"
check "curl -s http://127.0.0.1:4151/config/max_rdy_count | grep -x 77"

say 'A config that cannot be ends the start, and the reason is in the journal.'
run "echo 'nonsense' >>/etc/nsq/nsqd.cfg; systemctl restart nsqd; systemctl is-active nsqd"
check "journalctl -u nsqd --no-pager -o cat | grep -m 1 'FATAL.*nsqd.cfg'"
run "sed -i '/^nonsense/d' /etc/nsq/nsqd.cfg; systemctl reset-failed nsqd; systemctl start nsqd"
check systemctl is-active nsqd

say 'Sockets of systemd: the first client starts the daemon, and a restart refuses nobody.'
run 'systemctl stop nsqd && systemctl start nsqd.socket; systemctl is-active nsqd'
check "curl -s http://127.0.0.1:4151/ping | grep -x OK"
check systemctl is-active nsqd
check "journalctl -u nsqd --no-pager -o cat | grep 'TCP: listening on' | tail -n 1"
# (curl says 7 where nobody listens. A request that comes as the daemon stops may be cut off: 52, 56.)
(for _ in $(seq 300); do
    curl -s -o /dev/null http://127.0.0.1:4151/ping
    echo $?
done >codes) &
for _ in 1 2 3; do systemctl restart nsqd; done
wait
check "grep -c -x 0 codes"
check "! grep -x 7 codes && echo '300 requests during 3 restarts: none was refused'"
run 'systemctl stop nsqd.socket nsqd && systemctl start nsqd'
check systemctl is-active nsqd

say 'Remove: the daemon and its sockets have stopped, messages and config stay.'
run 'systemctl stop nsqd && systemctl start nsqd.socket && curl -s http://127.0.0.1:4151/ping; echo'
run apt-get remove -qq -y nsqd-c
check "! pgrep -x nsqd"
check "! systemctl is-active nsqd.socket"
check "test -e /var/lib/nsq/nsqd.dat -a -e /etc/nsq/nsqd.cfg && echo 'they are there'"
run apt-get install -qq -y ./newer.deb
await systemctl is-active nsqd
check "$depth | head -n 1 | grep -x '\"depth\":5000'"

say 'Purge: what is the package'"'"'s is gone; what is not stays.'
check "echo mine >/var/lib/nsq/mine"
run apt-get purge -qq -y nsqd-c
check "ls -A /var/lib/nsq | grep -x mine"
check "test \"\$(ls -A /var/lib/nsq)\" = mine"
check "rm /var/lib/nsq/mine"
run 'apt-get install -qq -y ./nsqd-c.deb && apt-get purge -qq -y nsqd-c'
check "! ls -d /var/lib/nsq /etc/nsq /etc/default/nsqd /usr/bin/nsqd"
check "! find / -xdev -path /try -prune -o -path /proc -prune -o -path /var/log -prune -o -name '*nsqd*' -print | grep ."
check "getent passwd nsq"

echo 'tried: all as it should be'
