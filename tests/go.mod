// The scenarios and benchmarks, in a module of their own: what they need stays
// out of the shipped module graph.
module xexit/tests

go 1.26.0

require (
	github.com/rogpeppe/go-internal v1.16.0
	golang.org/x/sys v0.49.0
)

require (
	github.com/coreos/go-systemd/v22 v22.7.0 // indirect
	github.com/godbus/dbus/v5 v5.1.0 // indirect
)

require (
	golang.org/x/tools v0.26.0 // indirect
	xexit v0.0.0
)

replace xexit => ../
