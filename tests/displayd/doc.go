// Package displayd tests system mode with displays, in a container that a real
// systemd boots: the daemon, its display worker and openers as their units have
// them, and a login whose X server is killed.
package displayd
