// Package x11 is the X11 wire protocol as far as watching a display needs it:
// display names, Xauthority files, and a codec that turns the server's bytes
// into typed messages and requests into bytes. It does no I/O of its own and
// knows neither clocks nor sessions; sockets, time-outs and what a message
// means for a session belong to package display.
//
// The server is not trusted. Whatever it sends, the codec neither panics nor
// keeps more than MaxKept bytes of it.
//
//	client                                server
//	  set-up request (cookie)    ─────▶
//	                             ◀─────   SetupDone | Refused
//	  InternAtom, QueryExtension ─────▶
//	                             ◀─────   AtomReply, ExtensionReply
//	  GetProperty (ping and poll)─────▶
//	                             ◀─────   PropertyReply | Absent | ErrorReply
//	                             ◀─────   PropertyNotify, at any time
//
// The protocol is in 'X Window System Protocol, X Version 11' (X.Org), with
// the encoding in its appendix B; X-Resource 1.2 is in resproto.txt.
package x11
