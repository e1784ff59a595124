// Package display tells when a display is gone. It holds the liveness state
// machine (Machine, pure), the loop that feeds it from sockets (one epoll for
// any number of displays) and Watch, the one-display face of both. How X11 is
// spoken is in package x11; what follows an end is the caller's business, and
// so is logging: the package only reports.
//
// The rule behind everything here: where anything else can be known, a missed
// answer never means 'gone' by itself. A server that is stopped, swapped out or
// grabbed does not answer, and yet its session lives.
//
//	          answer                        socket: EOF, RST, error
//	┌──────────────────────────── OK ─────────────────────────────┐
//	│                              │ no answer                    ▼
//	├── BUSY     the peer's kernel ├──▶  lives ◀──┐            CONFIRM ── same token ──▶ OK
//	├── SUSPECT  the link may be   ├──▶  silent ──┼─ dead? ──▶    │
//	└── BLIND    nothing else can  └──▶  be known │               └── other token, nobody ──▶ GONE
//	                 │ blind-after                └── no, it lives
//	                 └──────────▶ GONE
//
//	LTSP_XEXIT ──▶ ENDED          leader gone and only watchers connected ──▶ LEFT
package display
