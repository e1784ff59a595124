// Package control is the test of what users ask the daemon: real logins of
// several users, through ssh, PAM and logind, in a container that the daemon's
// own unit serves. What the daemon does with logins is tested elsewhere.
package control
