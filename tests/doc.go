// Package tests runs the scenarios: scripts that an admin can read, in
// scenario/*.txtar, on real X servers and real processes. README.md has their
// words. Each runs in a machine of its own (package machine), so that a fault
// in xexit can end nothing outside. What needs no real session is tested
// beside the code instead.
package tests
