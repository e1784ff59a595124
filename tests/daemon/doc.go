// Package daemon tests `xexit daemon` as an installation has it: the unit in a
// container that a real systemd boots, with logind, PAM and sshd. What its
// pieces do alone belongs to their own tests, whole tables of logins and
// leftovers to package system.
package daemon
