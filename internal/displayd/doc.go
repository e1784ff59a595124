// Package displayd watches the displays of all logins for the daemon of system
// mode, without root's rights and without the user's. Three processes, and none
// of them trusts another more than it must:
//
//	daemon (root) ◀── SOCK_SEQPACKET, JSON ──▶ worker (a user of its own, no rights)
//	   │    "the display of login 4 ended, because …"        one display.Set for all logins
//	   │    ◀── open 4 ── a descriptor ──▶                        ▲
//	   └── starts ──▶ opener (the session's user, 3 s)            │
//	                     finds display and cookie, connects ──────┘
//	                     descriptor, cookie (SCM_RIGHTS)
//
// The daemon makes a pair of sockets for each connection that the worker asks
// for, and hands one end to each of the two; what goes over it the daemon does
// not see. So nothing that an X server says, and nothing that is in a user's
// files or processes, is ever read by root. The worst that a worker in an X
// server's hands can do is to tell a wrong end of a display that it watches.
//
// The Client is the daemon's side. What an end leads to is the caller's
// business, and so is logging; which logins have a display to watch is, too.
package displayd
