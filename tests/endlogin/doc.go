// Package endlogin tests the process that ends one login for the daemon, in a
// container that a real systemd boots: under the daemon's confinement, with
// hooks in transient units. What needs no systemd is tested in internal/ending.
package endlogin
