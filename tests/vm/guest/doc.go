// Package guest is what runs inside the emulated machine: its first process,
// and beside it a server on the second serial line that starts programs, looks
// at them, switches virtual terminals and puts the machine to sleep, for the
// tests outside (package vm). What is tested, and what must come out, is none
// of its business. net/rpc's exported methods are the protocol:
//
//	test (outside)                    vminit serve (inside)
//	  │          "ready\n"               │
//	  │◀─────────────────────────────────┤
//	  │ JSON-RPC, any number at once     │
//	  ├─────────────────────────────────▶│
package guest
