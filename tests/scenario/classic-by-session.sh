#!/bin/sh
# What LTSP sites have long run when a thin client goes away: every process of
# this user that has this client's name in its environment is continued, asked
# to end, given three seconds, and killed. Each step goes to the log.
client="${LTSP_CLIENT_HOSTNAME:?not an LTSP session}"

processes() {
  ps -u "$(id -u)" eww -o pid= -o args= |
    grep " LTSP_CLIENT_HOSTNAME=$client\( \|\$\)" |
    awk -v self=$$ '$1 != self { print $1 }'
}

step() {
  for pid in $(processes); do
    kill "-$1" "$pid" 2>/dev/null && logger -t kill_desktop_session "$client: $1 to $pid"
  done
}

logger -t kill_desktop_session "$client: session over"
step CONT
step TERM
sleep 3
step KILL
logger -t kill_desktop_session "$client: done"
