// Package wayland is the client's side of as much of the Wayland wire protocol
// as a watcher speaks: wl_display.sync, its answer, and what else a compositor
// says of its own accord. There is no socket in it: bytes go in and out, in
// pieces of any size, and whatever a hostile compositor sends, memory is
// bounded. Where the socket is, is told by Path.
//
// A message (wayland.freedesktop.org, 'Wire Format') is words of the host's
// byte order:
//
//	┌───────────┬──────────────────┬───────────────┐
//	│ object id │ size<<16 | opcode│ arguments …   │   size counts all of it
//	└───────────┴──────────────────┴───────────────┘
//
//	wl_display (object 1)   ◀─ sync(new id)       request 0
//	                        ─▶ error(id, code, text)  event 0, fatal
//	                        ─▶ delete_id(id)      event 1: the id is free again
//	wl_callback (new id)    ─▶ done(serial)       event 0
//
// File descriptors that a message may carry are none of the bytes; whoever
// reads the socket with read(2) never sees them, and the kernel drops them.
package wayland
