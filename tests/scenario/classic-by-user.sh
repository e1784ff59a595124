#!/bin/sh
# The same outside of LTSP: all that the user has on this machine, in all of
# his sessions, except for this script.
processes() {
  ps -u "$(id -u)" -o pid= | awk -v self=$$ '$1 != self { print $1 }'
}

step() {
  for pid in $(processes); do
    kill "-$1" "$pid" 2>/dev/null && logger -t kill_user_session "$USER: $1 to $pid"
  done
}

logger -t kill_user_session "$USER: session over"
step CONT
step TERM
sleep 3
step KILL
logger -t kill_user_session "$USER: done"
