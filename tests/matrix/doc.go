// Package matrix holds the fault matrix: every kind of display, every kind of
// fault, the installed xexit watching, and a naive watcher beside it. The
// table says what must happen, and what cannot be. How machines, servers and
// cables are made belongs to package machine.
package matrix
