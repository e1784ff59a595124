// Package logins has the suite of tests that every source of logins passes, in
// a container that a real systemd boots: with logind, and without it. What the
// daemon makes of a login is tested elsewhere.
package logins
